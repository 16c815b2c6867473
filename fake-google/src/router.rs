//! From a request to the part that answers it.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue, SERVER, VARY};
use http::request::Parts;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt, Collected, Limited};
use hyper::body::Incoming;

use crate::connection::Connection;
use crate::control;
use crate::counters::count;
use crate::endpoint::{Endpoint, Route};
use crate::fake::FakeGoogle;
use crate::fault::{ErrorForm, Subject};
use crate::form::{Form, decode_path};
use crate::intervention::{Met, intervene};
use crate::page;
use crate::reply::{self, Body, Watched};
use crate::status::Status;
use crate::{code_assist, consent, generation, listing, oauth};

/// Bodies above this are refused, as Google refuses them.
const BODY_LIMIT: usize = 100 * 1024 * 1024;

/// A request on its way to its answer.
pub(crate) struct Exchange {
    pub(crate) fake: Arc<FakeGoogle>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) route: Route,
    pub(crate) query: Form,
    pub(crate) headers: HeaderMap,
    /// The Google project that it names, as soon as that is known.
    pub(crate) project: String,
}

impl Exchange {
    /// The bearer token of the request.
    pub(crate) fn bearer(&self) -> Option<&str> {
        let value = self.headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    pub(crate) fn header(&self, name: &'static str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether the answer is asked for as server-sent events.
    pub(crate) fn event_stream(&self) -> bool {
        self.route.endpoint == Endpoint::StreamGenerateContent
            && self.query.get("alt") == Some("sse")
    }

    /// An error in the form that this URL has it in: an array where the answer would have been one.
    pub(crate) fn error(&self, status: &Status) -> Response<Body> {
        if self.route.endpoint == Endpoint::StreamGenerateContent && !self.event_stream() {
            reply::json(status.code, &status.in_form(ErrorForm::Array))
        } else {
            reply::error(status)
        }
    }
}

/// Answers one request, and counts it.
///
/// # Errors
/// The reason to reset the HTTP/2 stream with.
pub(crate) async fn answer(
    fake: Arc<FakeGoogle>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Watched>, h2::Error> {
    let route = Route::of(request.method(), &decode_path(request.uri().path()));
    if let (Some(prepared), Some(route)) = (fake.prepared(), &route)
        && route.endpoint.generates()
    {
        return Ok(prepared.answer(route, request).await);
    }
    let (parts, body) = request.into_parts();
    let endpoint = route.as_ref().map(|route| route.endpoint);
    if let Some(command) = parts.uri.path().strip_prefix(control::PREFIX) {
        let body = body
            .collect()
            .await
            .map(Collected::to_bytes)
            .unwrap_or_default();
        return Ok(control::answer(&fake, &parts.method, command, &body).map(Watched::unwatched));
    }
    let http2 = parts.version == Version::HTTP_2;
    if !http2 {
        // The answer before, which may have been trickled, is over.
        connection.trickle(false);
    }
    let mut watch = fake.begin(&connection, endpoint, http2);
    let answered = respond(Arc::clone(&fake), connection, route, parts, body).await;
    let response = match answered {
        Ok(response) => response,
        Err(reason) => {
            watch.over();
            return Err(reason);
        }
    };
    count(&mut fake.tally().statuses, response.status().as_u16());
    Ok(response.map(|body| Watched::new(body, watch)))
}

async fn respond(
    fake: Arc<FakeGoogle>,
    connection: Arc<Connection>,
    route: Option<Route>,
    parts: Parts,
    body: Incoming,
) -> Result<Response<Body>, h2::Error> {
    let Ok(body) = Limited::new(body, BODY_LIMIT).collect().await else {
        return Ok(reply::html(
            413,
            "<title>Error 413 (Request Entity Too Large)!!1</title>",
        ));
    };
    let body = body.to_bytes();
    let Some(route) = route else {
        return Ok(reply::html(404, page::NOT_FOUND));
    };
    let query = Form::parse(parts.uri.query().unwrap_or_default());
    let mut exchange = Exchange {
        fake,
        connection,
        route,
        query,
        headers: parts.headers,
        project: String::new(),
    };
    let mut response = match exchange.route.endpoint {
        Endpoint::OAuthToken => oauth::token(&exchange, &body).await?,
        Endpoint::GenerateContent
        | Endpoint::StreamGenerateContent
        | Endpoint::CountTokens
        | Endpoint::EmbedContent
        | Endpoint::BatchEmbedContents => generation::answer(&mut exchange, &body).await?,
        _ => without_model(&exchange, &body).await?,
    };
    dress(&exchange, &mut response);
    Ok(response)
}

/// Everything that is neither the token endpoint nor about a model's work.
async fn without_model(exchange: &Exchange, body: &[u8]) -> Result<Response<Body>, h2::Error> {
    let projects = exchange.projects_of_caller();
    let plan = exchange.fake.meet(&Subject {
        endpoint: Some(exchange.route.endpoint),
        upstream: exchange.route.upstream,
        projects: &projects,
        model: exchange.route.name.as_deref(),
        refresh_token: None,
    });
    let plan = match intervene(exchange, plan, "").await? {
        Met::Answered(response) => return Ok(response),
        Met::Goes(plan) => plan,
    };
    exchange.before_headers(&plan).await;
    let fake = &exchange.fake;
    let form = || Form::parse(std::str::from_utf8(body).unwrap_or_default());
    Ok(match exchange.route.endpoint {
        Endpoint::OAuthAuthorize => consent::answer(fake, &exchange.query, &form()),
        Endpoint::OAuthRevoke => oauth::revoke(
            fake,
            form().get("token").or_else(|| exchange.query.get("token")),
        ),
        Endpoint::TokenInfo => {
            let token = form().get("access_token").map(str::to_owned);
            oauth::token_info(
                fake,
                token
                    .as_deref()
                    .or_else(|| exchange.query.get("access_token")),
            )
        }
        Endpoint::UserInfo => oauth::user_info(
            fake,
            exchange
                .bearer()
                .or_else(|| exchange.query.get("access_token")),
        ),
        Endpoint::ListModels | Endpoint::GetModel => listing::answer(exchange),
        _ => code_assist::answer(exchange, body),
    })
}

/// The headers that Google's front end adds.
fn dress(exchange: &Exchange, response: &mut Response<Body>) {
    let failed = response.status().as_u16() >= 400;
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("ESF"));
    headers.insert(VARY, HeaderValue::from_static("Origin, X-Origin, Referer"));
    headers.insert(
        HeaderName::from_static("server-timing"),
        HeaderValue::from_static("gfet4t7; dur=1"),
    );
    let json = headers
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind == reply::JSON);
    if failed && json && exchange.event_stream() {
        headers.insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static(reply::EVENT_STREAM),
        );
    }
}
