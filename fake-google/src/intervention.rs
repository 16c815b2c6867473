//! What a scripted fault does to a request before anything else looks at it.

use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};

use crate::catalogue::Upstream;
use crate::endpoint::Endpoint;
use crate::fault::{Action, ErrorForm, Plan};
use crate::named::{Context, ErrorName, Rendered};
use crate::reply::{self, Body};
use crate::router::Exchange;

/// Whether the request is over.
#[derive(Debug)]
pub(crate) enum Met {
    Answered(Response<Body>),
    /// It goes on; what is left of the plan shapes the answer.
    Goes(Plan),
}

/// Waits, breaks or answers as the plan says.
///
/// # Errors
/// The reason to refuse an HTTP/2 stream with.
pub(crate) async fn intervene(
    exchange: &Exchange,
    mut plan: Plan,
    model: &str,
) -> Result<Met, h2::Error> {
    tokio::time::sleep(plan.before_commit).await;
    for gate in &plan.hold_before_commit {
        exchange.fake.gates().pass(gate).await;
    }
    if plan.one_byte_writes {
        exchange.connection.trickle(true);
    }
    if plan.go_away {
        exchange.connection.go_away();
    }
    let streams = exchange.route.endpoint == Endpoint::StreamGenerateContent;
    match plan.action.take() {
        Some(Action::RefuseStream) => Err(h2::Error::from(h2::Reason::REFUSED_STREAM)),
        Some(Action::Reset { after_events: 0 }) => {
            exchange.connection.reset();
            std::future::pending().await
        }
        Some(Action::Close { after_events: 0 }) => {
            exchange.connection.close();
            std::future::pending().await
        }
        Some(Action::EmptyBody) => {
            exchange.before_headers(&plan).await;
            let content_type = if exchange.event_stream() {
                reply::EVENT_STREAM
            } else {
                reply::JSON
            };
            Ok(Met::Answered(reply::whole(200, content_type, "")))
        }
        Some(Action::Raw {
            status,
            content_type,
            body,
        }) => {
            exchange.before_headers(&plan).await;
            let mut response = reply::whole(status, reply::JSON, body);
            if let Ok(content_type) = HeaderValue::from_str(&content_type) {
                response.headers_mut().insert(CONTENT_TYPE, content_type);
            }
            Ok(Met::Answered(response))
        }
        Some(Action::Error {
            error,
            form,
            retry_after,
        }) => {
            exchange.before_headers(&plan).await;
            Ok(Met::Answered(named(
                exchange,
                error,
                form,
                retry_after,
                model,
            )))
        }
        Some(Action::StreamError { error, .. }) if !streams => {
            exchange.before_headers(&plan).await;
            Ok(Met::Answered(named(
                exchange,
                error,
                ErrorForm::Object,
                None,
                model,
            )))
        }
        other => {
            plan.action = other;
            Ok(Met::Goes(plan))
        }
    }
}

fn named(
    exchange: &Exchange,
    error: ErrorName,
    form: ErrorForm,
    retry_after: Option<f64>,
    model: &str,
) -> Response<Body> {
    let retry_after =
        retry_after.and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok());
    let rendered = exchange.context(model).named(error, retry_after);
    match &rendered {
        Rendered::Status(status) if form == ErrorForm::Object => exchange.error(status),
        Rendered::Status(status) => reply::json(status.code, &status.in_form(form)),
        _ => reply::rendered(&rendered),
    }
}

impl Exchange {
    /// What a plan has in store between a request's effect and its answer.
    pub(crate) async fn before_headers(&self, plan: &Plan) {
        tokio::time::sleep(plan.before_headers).await;
        for gate in &plan.hold_before_headers {
            self.fake.gates().pass(gate).await;
        }
    }

    /// What error texts about this request refer to.
    pub(crate) fn context<'a>(&'a self, model: &'a str) -> Context<'a> {
        Context {
            upstream: self.route.upstream.unwrap_or(Upstream::CodeAssist),
            endpoint: self.route.endpoint,
            version: &self.route.version,
            project: &self.project,
            model,
            now: self.fake.timestamp(),
        }
    }
}
