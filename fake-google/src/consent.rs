//! Google's consent page: which account, and whether it allows what is asked for.

use std::fmt::Write as _;

use http::Response;

use crate::accounts::{Challenge, Consent, SCOPES};
use crate::fake::FakeGoogle;
use crate::form::{Form, encode};
use crate::reply::{self, Body};

/// The `login_hint` of somebody who always says no.
const DENIES: &str = "denies@example.com";

/// What a request carries, and its pages hand on.
const FIELDS: [&str; 10] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
    "access_type",
    "prompt",
    "code_challenge",
    "code_challenge_method",
    "login_hint",
];

/// `GET /o/oauth2/v2/auth` shows a page: the accounts, or with a `login_hint` (or a single account) the consent.
/// That page posts the same fields with a `decision`, `allow` or `deny`, and the browser is sent back.
pub(crate) fn answer(fake: &FakeGoogle, query: &Form, posted: &Form) -> Response<Body> {
    let decision = posted.get("decision");
    let asked = if decision.is_some() { posted } else { query };
    let (Some(client_id), Some(redirect_uri)) = (asked.get("client_id"), asked.get("redirect_uri"))
    else {
        let missing = "Required parameter is missing: client_id or redirect_uri";
        return refused(400, "invalid_request", missing);
    };
    let accounts = fake.ledger().accounts.of_client(client_id);
    if accounts.is_empty() {
        return refused(401, "invalid_client", "The OAuth client was not found.");
    }
    if !may_return_to(fake, redirect_uri) {
        let told = format!(
            "If you're the app developer, register the redirect URI in the Google Cloud Console. \
             redirect_uri={redirect_uri}"
        );
        return refused(400, "redirect_uri_mismatch", &told);
    }
    let back = Back::of(asked, redirect_uri);
    if asked.get("response_type") != Some("code") {
        return back.with("error=unsupported_response_type");
    }
    let account = match (asked.get("login_hint"), accounts.as_slice()) {
        (Some(DENIES), _) => return back.with("error=access_denied"),
        (Some(hint), accounts) => accounts.iter().find(|account| *account == hint),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    match (account, decision) {
        (None, _) => reply::page(200, chooser(asked, &accounts)),
        (Some(account), None) => reply::page(200, consent(asked, account)),
        (Some(account), Some("allow")) => allowed(fake, asked, &back, account),
        (Some(_), Some(_)) => back.with("error=access_denied"),
    }
}

fn allowed(fake: &FakeGoogle, asked: &Form, back: &Back<'_>, account: &str) -> Response<Body> {
    let challenge = asked.get("code_challenge").map(|challenge| {
        if asked.get("code_challenge_method") == Some("S256") {
            Challenge::S256(challenge.to_owned())
        } else {
            Challenge::Plain(challenge.to_owned())
        }
    });
    let scope = asked.get("scope").unwrap_or(SCOPES);
    let consent = Consent {
        client_id: asked.get("client_id").unwrap_or_default(),
        redirect_uri: back.redirect_uri,
        challenge,
        scope,
        offline: asked.get("access_type") == Some("offline"),
    };
    let code = {
        let mut ledger = fake.ledger();
        let now = ledger.now();
        ledger.accounts.authorize(account, consent, now)
    };
    match code {
        Some(code) => back.with(&format!("code={}&scope={}", encode(&code), encode(scope))),
        None => refused(401, "invalid_client", "The OAuth client was not found."),
    }
}

/// A client of the type "Desktop app" is sent back to loopback, whatever the port.
fn may_return_to(fake: &FakeGoogle, redirect_uri: &str) -> bool {
    if let Some(registered) = &fake.config().redirect_uris {
        return registered.iter().any(|own| own == redirect_uri);
    }
    let Some(rest) = redirect_uri.strip_prefix("http://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|host| {
        let port = authority.strip_prefix(host);
        port.is_some_and(|port| port.is_empty() || port.starts_with(':'))
    })
}

/// The way back to the client.
struct Back<'a> {
    redirect_uri: &'a str,
    state: Option<&'a str>,
}

impl<'a> Back<'a> {
    fn of(asked: &'a Form, redirect_uri: &'a str) -> Self {
        Self {
            redirect_uri,
            state: asked.get("state"),
        }
    }

    fn with(&self, answer: &str) -> Response<Body> {
        let Self {
            redirect_uri,
            state,
        } = self;
        let join = if redirect_uri.contains('?') { '&' } else { '?' };
        let state = state.map_or_else(String::new, |state| format!("state={}&", encode(state)));
        reply::redirect(&format!("{redirect_uri}{join}{state}{answer}"))
    }
}

fn refused(status: u16, error: &str, told: &str) -> Response<Body> {
    let body = format!(
        "<h1>Access blocked: authorization error</h1>\n<p>{}\n<p>Error {status}: {error}\n",
        escaped(told)
    );
    reply::page(status, page(&format!("Error {status}: {error}"), &body))
}

/// One button an account.
fn chooser(asked: &Form, accounts: &[String]) -> String {
    let mut body = "<h1>Choose an account</h1>\n".to_owned();
    for account in accounts {
        let account = escaped(account);
        // Writing to a String cannot fail.
        let _ = writeln!(
            body,
            "<form method=get>{}<button name=login_hint value=\"{account}\">{account}</button></form>",
            hidden(asked, &["login_hint"])
        );
    }
    page("Sign in - Fake Google Accounts", &body)
}

fn consent(asked: &Form, account: &str) -> String {
    let mut body = format!(
        "<h1>{} wants access to your account</h1>\n<p>{}\n<ul>\n",
        escaped(asked.get("client_id").unwrap_or_default()),
        escaped(account)
    );
    for scope in asked.get("scope").unwrap_or_default().split(' ') {
        let _ = writeln!(body, "<li>{}", escaped(scope));
    }
    let _ = writeln!(
        body,
        "</ul>\n<form method=post action=\"/o/oauth2/v2/auth\">{}\
         <input type=hidden name=login_hint value=\"{}\">\
         <button name=decision value=deny id=deny>Cancel</button> \
         <button name=decision value=allow id=allow>Allow</button></form>",
        hidden(asked, &["login_hint"]),
        escaped(account)
    );
    page("Sign in - Fake Google Accounts", &body)
}

fn hidden(asked: &Form, but: &[&str]) -> String {
    let mut fields = String::new();
    for name in FIELDS.iter().filter(|name| !but.contains(name)) {
        if let Some(value) = asked.get(name) {
            let value = escaped(value);
            let _ = write!(fields, "<input type=hidden name={name} value=\"{value}\">");
        }
    }
    fields
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=en>\n<meta charset=utf-8>\n<title>{}</title>\n{body}",
        escaped(title)
    )
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}
