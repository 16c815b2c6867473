//! From a request to the first piece of its answer: tokens, attempts, failover.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use antigravity_runtime::clock::Clock;
use antigravity_traces::Kind;
use bytes::Bytes;
use http::header;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use translate::{
    chat::reply::{Reply, Settings, Share},
    gemini::model::Dialect,
    sse::Framing,
};

use super::{
    attempt::{About, Attempt},
    client::{HttpClient, is_nobodys_fault},
    envelope,
    google_error::{self, GoogleError},
    outcome::{Failure, Next},
    react::{Course, SHORT_REST},
    refusals::Refusals,
    relay::{Relay, Step},
    urls::Urls,
};
use crate::{
    config::{Config, Timeouts, Upstreams},
    error::Error,
    metrics::outcome_name,
    models::Models,
    outcomes::Outcomes,
    tokens::{AcquireError, Lease, Token, Tokens, Want},
};

/// A request, ready to be sent as often as it takes.
#[derive(Clone)]
pub struct Call {
    /// For reports and logs.
    pub about: About,
    /// Writes the Gemini request for one of Google's APIs.
    pub render: Arc<dyn Fn(Dialect) -> Bytes + Send + Sync>,
    /// What the answer is made with; `wrapped` is set per attempt.
    pub reply: Settings,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("about", &self.about)
            .finish_non_exhaustive()
    }
}

/// An answer that has begun.
#[derive(Debug)]
pub struct Opened {
    /// What the client is told first; the whole answer when `rest` is `None`.
    pub first: Bytes,
    /// Where the rest comes from.
    pub rest: Option<Box<Relay>>,
    /// What the call came to, when it is over.
    pub share: Option<Share>,
}

/// Google, as requests see it.
#[derive(Debug)]
pub struct Upstream {
    client: HttpClient,
    pub(super) config: Upstreams,
    timeouts: Timeouts,
    max_attempts: usize,
    pub(super) tokens: Arc<Tokens>,
    models: Arc<Models>,
    outcomes: Outcomes,
    /// Models whose requests were lately at fault for a 429 without a word, and since when.
    pub(super) bare_limits: Mutex<HashMap<String, Instant>>,
    pub(super) refusals: Refusals,
    /// How the last request was written.
    dialect: Mutex<Dialect>,
    /// Parsed once, not for each request.
    urls: Urls,
    pub(super) clock: Clock,
}

const BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(4);

enum Reached {
    Opened(Opened),
    Failed {
        failure: Box<Failure>,
        /// Still to be reported, when it came before the answer.
        attempt: Option<Box<Attempt>>,
    },
    Empty(Opened),
}

impl Upstream {
    /// Google, as `config` says where.
    #[must_use]
    pub fn new(
        client: HttpClient,
        config: &Config,
        tokens: Arc<Tokens>,
        models: Arc<Models>,
        outcomes: Outcomes,
    ) -> Self {
        Self {
            client,
            config: config.upstreams.clone(),
            timeouts: config.timeouts,
            max_attempts: config.max_attempts,
            tokens,
            models,
            outcomes,
            bare_limits: Mutex::default(),
            refusals: Refusals::new(config.clock.clone()),
            dialect: Mutex::new(Dialect::CodeAssist),
            urls: Urls::default(),
            clock: config.clock.clone(),
        }
    }

    /// The dialect that a request will most likely be sent in.
    #[must_use]
    pub fn usual_dialect(&self) -> Dialect {
        *self.dialect.lock()
    }

    /// Whether somebody who would be asked for this model has lately refused to give several
    /// candidates.
    pub async fn refuses_candidates(&self, model: &str) -> bool {
        let routed = self.models.route(model).await.unwrap_or_default();
        let upstreams = match routed[..] {
            [] => self.tokens.pool_upstreams(),
            _ => routed,
        };
        self.refusals.by_any(&upstreams, model)
    }

    /// Asks until there is an answer, or nobody left to ask.
    ///
    /// # Errors
    /// What the client is told.
    pub async fn open(&self, call: &Call) -> Result<Opened, Error> {
        let mut course = Course {
            out: HashSet::new(),
            failed: HashSet::new(),
            refreshed: HashSet::new(),
            bare: Vec::new(),
            others: 0,
            unknown_model: HashMap::new(),
            empty: None,
            retry: None,
            earliest: None,
            host: 0,
            backoffs: 0,
            last: None,
            deadline: Instant::now() + self.timeouts.request,
            rendered: HashMap::new(),
        };
        let work = async {
            let mut attempts = 0;
            while attempts < self.max_attempts {
                let wanted = Instant::now();
                let Some(lease) = self.lease(call, &mut course).await? else {
                    break;
                };
                call.about.line.turn_after(wanted.elapsed());
                if call.about.line.is_cancelled() {
                    // What was asked already may be read on; nobody wants more to be asked, or to
                    // hear why not.
                    return Err(Error::Timeout);
                }
                attempts += 1;
                if let Some(reason) = course.retry.take() {
                    call.about.line.metrics().retry(reason);
                }
                if let Some(opened) = self.attempt(call, lease, &mut course).await? {
                    return Ok(opened);
                }
            }
            self.conclude(call, &mut course)
        };
        // The attempts end themselves at the deadline; this is for what is between them.
        let limit = self.timeouts.request + Duration::from_secs(1);
        let result = tokio::time::timeout(limit, work).await;
        // Whatever the end, what was held back is told.
        self.release(call, &mut course);
        result.unwrap_or(Err(Error::Timeout))
    }

    /// A token for the next attempt; `None` when nobody is left.
    async fn lease(&self, call: &Call, course: &mut Course) -> Result<Option<Lease>, Error> {
        let model = &call.about.model;
        let span = call
            .about
            .line
            .span(Kind::Internal, || "acquire token".into());
        loop {
            let upstreams = self.models.route(model).await?;
            let exclude = &course.out | &course.failed;
            let want = Want {
                model,
                upstreams: &upstreams,
                exclude: &exclude,
                conversation: call.about.conversation,
                asked_in: span.context(),
            };
            match self.tokens.acquire(&want).await {
                Ok(lease) => return Ok(Some(lease)),
                // Those that failed a moment ago are better than none, and than those that rest.
                Err(AcquireError::AllExcluded | AcquireError::Refused(_))
                    if !course.failed.is_empty() =>
                {
                    if !self.back_off(course).await {
                        return Ok(None);
                    }
                    course.failed.clear();
                }
                Err(AcquireError::AllExcluded) => return Ok(None),
                Err(AcquireError::Refused(Error::RateLimited {
                    retry_after: Some(after),
                    ..
                })) if SignedDuration::try_from(after).is_ok_and(|after| after <= SHORT_REST)
                    && Instant::now() + after < course.deadline =>
                {
                    self.clock.sleep(after + Duration::from_millis(10)).await;
                }
                Err(AcquireError::Refused(error)) => {
                    // What Google said to this request tells more than that nobody is left.
                    return match (&course.last, error) {
                        (Some(_), Error::NoUsableProject { .. }) => Ok(None),
                        (Some(_), Error::RateLimited { retry_after, .. }) => {
                            course.rests(retry_after);
                            Ok(None)
                        }
                        (_, error) => Err(error),
                    };
                }
            }
        }
    }

    /// Waits before a project is asked again; false when there is no time for it.
    async fn back_off(&self, course: &mut Course) -> bool {
        let wait = (BACKOFF * 2_u32.saturating_pow(course.backoffs)).min(MAX_BACKOFF);
        course.backoffs += 1;
        if Instant::now() + wait >= course.deadline {
            return false;
        }
        self.clock.sleep(wait).await;
        true
    }

    async fn attempt(
        &self,
        call: &Call,
        lease: Lease,
        course: &mut Course,
    ) -> Result<Option<Opened>, Error> {
        let token = Arc::clone(&lease.token);
        match self.reach(call, &lease, course).await {
            Reached::Opened(opened) => {
                self.release(call, course);
                Ok(Some(opened))
            }
            Reached::Empty(whole) if course.empty.is_some() => {
                self.release(call, course);
                Ok(Some(whole))
            }
            Reached::Empty(whole) => {
                course.empty = Some(whole);
                course.retry = Some("empty_answer");
                Ok(None)
            }
            Reached::Failed {
                failure,
                mut attempt,
            } => {
                if let Some(attempt) = &mut attempt {
                    attempt.over(failure.outcome, failure.http_status);
                }
                tracing::info!(
                    request_id = &*call.about.request_id,
                    project = &*token.project,
                    model = &*call.about.model,
                    outcome = ?failure.outcome,
                    status = failure.http_status,
                    reason = failure.reason,
                    "attempt failed"
                );
                course.retry = Some(match failure.next {
                    Next::Repeat => "connection_closed",
                    _ => outcome_name(failure.outcome),
                });
                self.react(
                    call,
                    &token,
                    *failure,
                    attempt.map(|attempt| *attempt),
                    course,
                )
                .await
            }
        }
    }

    async fn reach(&self, call: &Call, lease: &Lease, course: &mut Course) -> Reached {
        let token = &lease.token;
        let about = &call.about;
        let mut attempt = Attempt::begin(about, lease, self.outcomes.clone(), self.clock.clone());
        let dialect = envelope::dialect(token.upstream);
        *self.dialect.lock() = dialect;
        let request = course
            .rendered
            .entry(dialect)
            .or_insert_with(|| (call.render)(dialect))
            .clone();
        let streams = about.stream || envelope::streams_only(token.upstream, &about.model);
        let url = envelope::url(&self.config, token, &about.model, streams, course.host);
        let place = self.client.place(&url);
        let Some(url) = self.urls.parsed(url) else {
            return failed(Failure::of_transport(false), attempt);
        };
        attempt.asks(&url);
        let body = envelope::body(token, &about.model, attempt.id(), request);
        let mut request = reqwest::Request::new(http::Method::POST, url);
        *request.headers_mut() = envelope::headers(&self.config, token);
        if self.config.trace_context
            && let Some(context) = attempt.span().context()
        {
            // What other systems note for themselves is nothing for Google.
            context.write_parent(request.headers_mut());
        }
        *request.body_mut() = Some(reqwest::Body::wrap(body));
        about.line.sent();
        let sent = place.client().execute(request);
        let left = course.deadline.saturating_duration_since(Instant::now());
        let patience = if about.stream {
            self.timeouts.first_byte.min(left)
        } else {
            left
        };
        // The head and what follows it have this time together.
        let deadline = self.clock.instant() + patience;
        let response = match tokio::time::timeout(patience, sent).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let failure = Failure::of_transport(is_nobodys_fault(&error));
                tracing::debug!(error = %error.without_url(), "no answer");
                return failed(failure, attempt);
            }
            Err(_) => return failed(Failure::of_silence(), attempt),
        };
        place.heard();
        if response.status() != http::StatusCode::OK {
            let answered = self.error_answer(response, attempt, &about.model, token);
            return answered.await;
        }
        let framing = if streams { Framing::Sse } else { Framing::Json };
        let reply = Reply::new(Settings {
            wrapped: dialect == Dialect::CodeAssist,
            ..call.reply.clone()
        });
        let relay = Relay::new(
            response,
            place,
            framing,
            reply,
            attempt,
            deadline,
            self.clock.clone(),
        );
        self.first_piece(relay, about.stream).await
    }

    async fn first_piece(&self, mut relay: Relay, stream: bool) -> Reached {
        match relay.step().await {
            Step::Output(first) if stream => {
                relay.goes_on(self.timeouts.idle);
                Reached::Opened(Opened {
                    first,
                    rest: Some(Box::new(relay)),
                    share: None,
                })
            }
            // A whole answer is told when it is whole.
            Step::Output(_) => failed_later(Failure::of_invalid_answer(
                "Google sent a second answer after the first.".to_owned(),
            )),
            Step::Done {
                output,
                empty,
                share,
            } => {
                let whole = Opened {
                    first: output,
                    rest: None,
                    share: Some(share),
                };
                if empty {
                    Reached::Empty(whole)
                } else {
                    Reached::Opened(whole)
                }
            }
            // Nothing of it was sent, so it can be tried anew as a whole.
            Step::Broken {
                failure, attempt, ..
            } => Reached::Failed {
                failure: Box::new(failure),
                attempt,
            },
        }
    }

    async fn error_answer(
        &self,
        mut response: reqwest::Response,
        attempt: Attempt,
        model: &str,
        token: &Token,
    ) -> Reached {
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after(value, self.clock.now()));
        let mut body = Vec::new();
        let read = async {
            while body.len() < google_error::MAX_BYTES
                && let Ok(Some(bytes)) = response.chunk().await
            {
                body.extend_from_slice(&bytes);
            }
        };
        // Whatever came of it says more than waiting on.
        let _ = tokio::time::timeout(Duration::from_secs(10), read).await;
        let error = GoogleError::parse(&String::from_utf8_lossy(&body)).without(token.secret());
        let mut failure = Failure::of_answer(status, &error, retry_after, self.clock.now());
        if token.is_api_key() {
            failure.concerns_api_key(&error);
        }
        if let Error::UnknownModel { message } = &mut failure.error
            && !message.contains(model)
        {
            *message = format!("Google does not know the model '{model}': {message}");
        }
        failed(failure, attempt)
    }
}

fn failed(failure: Failure, attempt: Attempt) -> Reached {
    Reached::Failed {
        failure: Box::new(failure),
        attempt: Some(Box::new(attempt)),
    }
}

/// Of an answer whose relay has reported it already.
fn failed_later(failure: Failure) -> Reached {
    Reached::Failed {
        failure: Box::new(failure),
        attempt: None,
    }
}

/// `Retry-After` in seconds or as a date; nothing negative.
fn retry_after(value: &str, now: Timestamp) -> Option<SignedDuration> {
    if let Ok(seconds) = value.trim().parse::<u32>() {
        return Some(SignedDuration::from_secs(seconds.into()));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(value)
        .ok()?;
    Some(at.duration_since(now).max(SignedDuration::ZERO))
}
