//! The status page at `/` of the admin listener: how the gateway and the pool are, at a glance, and
//! what an operator does about it most often.
//!
//! Whoever wants to see it shows the operators' token, which the token-service judges (`login`), and
//! gets a session (`session`); nothing else is served without one. What is seen comes from the
//! token-service (`pool`) and from this gateway's own last hours, and is drawn (`figures`, `ledger`,
//! `plot`, `projects`, `advice`, `words`) into templates (`page`); `actions` changes something.
//! `guard` keeps other pages out, `throttle` those who guess.

mod actions;
mod advice;
mod figures;
mod form;
mod guard;
mod ledger;
mod login;
mod page;
mod plot;
mod pool;
mod projects;
mod session;
mod throttle;
mod words;

use std::{net::SocketAddr, panic::AssertUnwindSafe, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, Version, header},
    middleware::{self, Next},
    routing::{get, post},
};
use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use self::{
    pool::Pool,
    projects::Filter,
    session::{Session, Sessions},
    throttle::Throttle,
};
use crate::{http::Gateway, tokens::operator::OperatorError};

/// Sent by the page's script: nobody has come to it anew.
const REFRESHES: &str = "x-refresh";

/// What the page's handlers work with.
#[derive(Debug)]
pub struct Status {
    gateway: Arc<Gateway>,
    pool: Pool,
    sessions: Sessions,
    throttle: Throttle,
    /// The name of our cookie.
    cookie: String,
    /// Whether the listener speaks TLS.
    tls: bool,
    /// Whether the listener is for this machine alone.
    on_loopback: bool,
}

impl Status {
    /// The page of a gateway whose admin listener is at `address`.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, address: SocketAddr, tls: bool) -> Arc<Self> {
        let clock = gateway.config.clock.clone();
        // Browsers do not tell ports apart: gateways of one machine have cookies of their own.
        let name = format!("antigravity-status-{}", address.port());
        Arc::new(Self {
            pool: Pool::new(Arc::clone(&gateway.tokens), clock.clone()),
            sessions: Sessions::new(clock.clone()),
            throttle: Throttle::new(clock),
            // Which no other host and nothing in the clear can set.
            cookie: if tls { format!("__Host-{name}") } else { name },
            tls,
            on_loopback: guard::is_loopback(address.ip()),
            gateway,
        })
    }

    /// Forgets sessions that are over, until `ended`.
    pub async fn forget(self: Arc<Self>, ended: CancellationToken) {
        self.sessions.clone().forget(ended).await;
    }

    /// What our cookie has. There may be several: whatever else is at this host, on any port and
    /// below any path, can set one of the same name, which browsers send along.
    fn shown<'h>(&self, headers: &'h HeaderMap) -> impl Iterator<Item = &'h str> {
        let cookies = headers.get_all(header::COOKIE).iter();
        let pairs = cookies
            .filter_map(|cookies| cookies.to_str().ok())
            .flat_map(|cookies| cookies.split(';'));
        pairs.filter_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == self.cookie).then_some(value)
        })
    }

    fn session(&self, headers: &HeaderMap) -> Option<(String, Session)> {
        let mut shown = self.shown(headers);
        shown.find_map(|shown| Some((shown.to_owned(), self.sessions.of(shown)?)))
    }
}

/// Everything of the page.
pub fn router(status: Arc<Status>) -> Router {
    Router::new()
        .route("/", get(overview))
        .route("/login", get(login::back).post(login::login))
        .route("/logout", post(login::logout))
        .route("/project", post(actions::change))
        .route("/status.css", get(style))
        .route("/status.js", get(script))
        .route("/icon.svg", get(icon))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(Arc::clone(&status), around))
        .with_state(status)
}

/// Around everything that the admin listener has: names that are none of ours are turned away. The
/// figures at `/metrics` are as little a stranger's page's as those that are drawn.
pub async fn by_our_name(
    State(status): State<Arc<Status>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let asked_by = guard::asked_by(request.uri(), request.headers());
    let is_ours = guard::is_of_this_machine(asked_by.unwrap_or_default());
    if !status.on_loopback || status.tls || is_ours {
        return next.run(request).await;
    }
    let mut response = message(
        StatusCode::MISDIRECTED_REQUEST,
        "Not by this name",
        "This is for this machine alone, and was asked for by another name. Open it at \
         http://localhost with its port; a proxy in front of it has to send that as Host.",
    );
    guard::put_on(response.headers_mut());
    response
}

/// What is around every request of the page: other pages' forms are turned away, every answer has
/// the headers that hold browsers back, and a defect of ours harms no other request.
async fn around(State(status): State<Arc<Status>>, request: Request, next: Next) -> Response<Body> {
    let http1 = request.version() < Version::HTTP_2;
    let asked_by = guard::asked_by(request.uri(), request.headers()).map(str::to_owned);
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = if changes && !guard::is_of_our_page(asked_by.as_deref(), request.headers())
    {
        tracing::debug!(
            path = request.uri().path(),
            "another page asked the status page to do something, and was refused"
        );
        message(
            StatusCode::FORBIDDEN,
            "Not from another page",
            "This was sent by a page that is not this one, and nothing was done. Go back to the \
             page and press the button there.",
        )
    } else {
        match AssertUnwindSafe(next.run(request)).catch_unwind().await {
            Ok(response) => response,
            Err(_) => {
                tracing::error!("a handler of the status page panicked");
                message(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "A defect",
                    "The gateway has a defect here; its log says more.",
                )
            }
        }
    };
    let headers = response.headers_mut();
    guard::put_on(headers);
    if http1 && status.gateway.shutdown.drain.is_cancelled() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn message(status: StatusCode, title: &str, text: &str) -> Response<Body> {
    page::html(status, &page::Message { title, text })
}

fn form(status: StatusCode, message: &str) -> Response<Body> {
    page::html(status, &page::Login { message })
}

/// Sends the browser on to a page that it gets. Where it is stands as seen from `/`, so that a
/// proxy may put all of it below a path of its own.
fn see_other(query: &str, place: Option<&str>) -> Response<Body> {
    let mut location = "./".to_owned();
    for (mark, part) in [("?", query), ("#", place.unwrap_or_default())] {
        if !part.is_empty() {
            location.push_str(mark);
            location.push_str(part);
        }
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

async fn overview(
    State(status): State<Arc<Status>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let Some((shown, session)) = status.session(&headers) else {
        let ended = status.shown(&headers).next().is_some();
        let why = if ended { login::ENDED } else { "" };
        return form(StatusCode::OK, why);
    };
    let told = status.pool.ask(&session.token).await;
    if let Err(OperatorError::WrongToken | OperatorError::GatewayToken) = told {
        status.sessions.end(&shown);
        return form(StatusCode::OK, login::NO_LONGER);
    }
    // Whoever asks for the head alone, or by himself, shows it to nobody.
    let notice = if headers.contains_key(REFRESHES) || method == Method::HEAD {
        None
    } else {
        status.sessions.notice(&shown)
    };
    let filter = Filter::read(uri.query().unwrap_or_default());
    let drawn = tokio::task::spawn_blocking(move || {
        // Of ten thousand projects it takes milliseconds, for which no stream is to wait.
        let gateway = &status.gateway;
        let now = gateway.config.clock.now();
        let recent = gateway.metrics.recent();
        let overview = page::Overview::of(page::Seen {
            now,
            minutes: recent.minutes(now),
            failures: recent.failures(),
            standing: gateway.metrics.standing(),
            tokens_in_hand: gateway.tokens.in_hand(),
            told,
            filter,
            csrf: session.csrf,
            notice,
            token_service: gateway.config.token_service_urls.join(", "),
        });
        page::html(StatusCode::OK, &overview)
    });
    drawn.await.unwrap_or_else(|_| {
        message(
            StatusCode::INTERNAL_SERVER_ERROR,
            "A defect",
            "The page cannot be drawn; the gateway's log says why.",
        )
    })
}

async fn style() -> Response<Body> {
    asset("text/css; charset=utf-8", include_str!("status.css"))
}

async fn script() -> Response<Body> {
    asset("text/javascript; charset=utf-8", include_str!("status.js"))
}

async fn icon() -> Response<Body> {
    asset("image/svg+xml", include_str!("icon.svg"))
}

fn asset(kind: &'static str, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

async fn method_not_allowed(uri: Uri) -> Response<Body> {
    let mut response = message(
        StatusCode::METHOD_NOT_ALLOWED,
        "Not this way",
        "This address is for the buttons of the page.",
    );
    let allowed = match uri.path() {
        "/login" => "GET, HEAD, POST",
        "/logout" | "/project" => "POST",
        _ => "GET, HEAD",
    };
    let allowed = HeaderValue::from_static(allowed);
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}
