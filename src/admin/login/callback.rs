//! The port of this machine that the browser comes back to: one answer, one page.

use std::{
    convert::Infallible,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use antigravity_proto::v1::finish_login_response::Done;
use antigravity_runtime::secret;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, oneshot},
};

use crate::{failure::Failure, stack};

const PATH: &str = "/oauth-callback";
/// A browser on the same machine sends its request at once.
const HEADERS: Duration = Duration::from_secs(10);
/// For the last page to reach the browser.
const FLUSH: Duration = Duration::from_secs(2);

/// Where the browser is sent back to.
pub(super) fn redirect_uri(port: u16) -> String {
    format!("http://{}:{port}{PATH}", Ipv4Addr::LOCALHOST)
}

/// A listener that waits for the browser.
pub(super) struct Callback {
    listener: TcpListener,
    port: u16,
}

/// A browser that has come back, and waits for its page.
pub(super) struct Browser {
    /// The address that it was sent to: the code is in it.
    pub(super) answer: SecretString,
    page: Option<oneshot::Sender<Page>>,
    shown: Arc<Notify>,
}

/// What all connections share.
struct Desk {
    port: u16,
    /// Of the login that waits here.
    state: SecretString,
    /// Taken by the first answer.
    first: Mutex<Option<oneshot::Sender<Browser>>>,
    shown: Arc<Notify>,
}

impl Callback {
    /// Listens on loopback; port 0 takes a free one.
    ///
    /// # Errors
    /// A port that is taken.
    pub(super) async fn listen(port: u16) -> Result<Self, Failure> {
        let listener = stack::bind((Ipv4Addr::LOCALHOST, port).into(), "--port").await?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port })
    }

    pub(super) fn redirect_uri(&self) -> String {
        redirect_uri(self.port)
    }

    /// Waits for the browser. Whatever else comes is answered, and waited on.
    pub(super) async fn browser(self, state: SecretString) -> Browser {
        let (sender, mut browser) = oneshot::channel();
        let desk = Arc::new(Desk {
            port: self.port,
            state,
            first: Mutex::new(Some(sender)),
            shown: Arc::default(),
        });
        loop {
            tokio::select! {
                Ok(browser) = &mut browser => return browser,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        tokio::spawn(serve(stream, Arc::clone(&desk)));
                    }
                    // Out of descriptors, for a moment.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
            }
        }
    }
}

impl Browser {
    /// Shows the last page, and waits until it is there.
    pub(super) async fn show(&mut self, page: Page) {
        let shown = self.shown.notified();
        if let Some(sender) = self.page.take()
            && sender.send(page).is_ok()
        {
            // A browser that does not take it has been closed.
            let _ = tokio::time::timeout(FLUSH, shown).await;
        }
    }
}

async fn serve(stream: TcpStream, desk: Arc<Desk>) {
    let answers = AtomicBool::new(false);
    let service = service_fn(|request| answer(request, &desk, &answers));
    // What breaks is the browser's affair: it asks again, or does not.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if answers.load(Ordering::Relaxed) {
        desk.shown.notify_one();
    }
}

async fn answer(
    request: Request<Incoming>,
    desk: &Desk,
    answers: &AtomicBool,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let uri = request.uri();
    if uri.path() != PATH {
        return Ok(Page::plain("There is nothing here.").into_response(StatusCode::NOT_FOUND));
    }
    if request.method() != Method::GET {
        let page = Page::plain("Only a browser that Google sent back is expected here.");
        return Ok(page.into_response(StatusCode::METHOD_NOT_ALLOWED));
    }
    let query = uri.query().unwrap_or_default();
    let names = query.split('&').filter_map(|field| field.split('=').next());
    if !names
        .into_iter()
        .any(|name| name == "code" || name == "error")
    {
        let page = Page::plain("Google's answer is missing from this address.");
        return Ok(page.into_response(StatusCode::BAD_REQUEST));
    }
    // Any page in the browser can send it here: what is not about this login ends none.
    let is_about_this = query
        .split('&')
        .filter_map(|field| field.strip_prefix("state="))
        .any(|state| secret::equal(state, desk.state.expose_secret()));
    if !is_about_this {
        let page = Page::plain("This is no answer to the login that waits in the terminal.");
        return Ok(page.into_response(StatusCode::BAD_REQUEST));
    }
    let first = desk
        .first
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let Some(first) = first else {
        let page = Page::plain("This login has had its answer. Begin a new one in the terminal.");
        return Ok(page.into_response(StatusCode::GONE));
    };
    let (sender, page) = oneshot::channel();
    let sent = first.send(Browser {
        answer: format!("{}?{query}", redirect_uri(desk.port)).into(),
        page: Some(sender),
        shown: Arc::clone(&desk.shown),
    });
    answers.store(true, Ordering::Relaxed);
    let page = match sent {
        Ok(()) => page.await.ok(),
        Err(_) => None,
    };
    let page = page.unwrap_or_else(|| Page::failure("The login was ended in the terminal."));
    Ok(page.into_response(StatusCode::OK))
}

/// What the browser shows.
pub(super) struct Page {
    title: &'static str,
    text: String,
}

impl Page {
    pub(super) fn success(done: &Done) -> Self {
        let project = done.project.as_ref();
        let id = project.map_or("The project", |project| &project.id);
        let text = match (done.created, done.proof_error.as_str()) {
            (true, "") => format!("{id} is in the pool, and has answered its first call."),
            (false, "") => format!("{id} has its new login, and has answered a call."),
            (_, error) => format!("{id} is stored, but its first call failed: {error}"),
        };
        Self {
            title: "Logged in",
            text,
        }
    }

    pub(super) fn failure(problem: &str) -> Self {
        Self {
            title: "Not logged in",
            text: problem.to_owned(),
        }
    }

    fn plain(text: &str) -> Self {
        Self {
            title: "antigravity-gateway",
            text: text.to_owned(),
        }
    }

    /// Nothing is fetched for it, nothing runs in it, and the code in its address goes nowhere.
    fn into_response(self, status: StatusCode) -> Response<Full<Bytes>> {
        let body = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <title>{title} – antigravity-gateway</title>\n\
             <style>body{{font:1.1em/1.5 system-ui,sans-serif;max-width:40em;margin:4em auto;\
             padding:0 1em;color:#222;background:#fff;overflow-wrap:anywhere}}\
             @media(prefers-color-scheme:dark){{body{{color:#ddd;background:#181818}}}}</style>\n\
             <h1>{title}</h1>\n<p>{text}</p>\n\
             <p>The terminal has the rest; this page can be closed.</p>\n</html>\n",
            title = escaped(self.title),
            text = escaped(&self.text),
        );
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (
                header::CONTENT_SECURITY_POLICY,
                "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
            ),
            (header::CACHE_CONTROL, "no-store"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CONNECTION, "close"),
        ] {
            headers.insert(name, header::HeaderValue::from_static(value));
        }
        response
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}
