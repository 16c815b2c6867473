//! Scripted faults: which requests they meet, how often, and what those get instead of their answer.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::catalogue::Upstream;
use crate::counters::fingerprint;
use crate::endpoint::Endpoint;
use crate::named::ErrorName;

/// Something that goes wrong, or an answer that is given, on purpose.
///
/// Over HTTP: `{"matcher": {"project": "p"}, "times": 1, "action": {"kind": "error", "error": "rate_limited"}}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The requests that it meets.
    #[serde(default)]
    pub matcher: Matcher,
    /// How many requests it meets before it is used up; nothing means every one.
    #[serde(default)]
    pub times: Option<u32>,
    /// What happens.
    pub action: Action,
}

impl Fault {
    /// Meets the next generation request, once.
    pub fn once(action: Action) -> Self {
        Self {
            matcher: Matcher::default(),
            times: Some(1),
            action,
        }
    }

    /// Meets every generation request.
    pub fn always(action: Action) -> Self {
        Self {
            matcher: Matcher::default(),
            times: None,
            action,
        }
    }

    /// Meets this many requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Only requests in the name of this Google project.
    #[must_use]
    pub fn project(mut self, project: impl Into<String>) -> Self {
        self.matcher.project = Some(project.into());
        self
    }

    /// Only requests for this model.
    #[must_use]
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.matcher.model = Some(model.into());
        self
    }

    /// Only requests at this endpoint, instead of both that generate.
    #[must_use]
    pub fn at(mut self, endpoint: Endpoint) -> Self {
        self.matcher.endpoint = Some(endpoint);
        self
    }

    /// Only requests to this upstream.
    #[must_use]
    pub fn upstream(mut self, upstream: Upstream) -> Self {
        self.matcher.upstream = Some(upstream);
        self
    }

    /// Only calls of the token endpoint with this refresh token.
    #[must_use]
    pub fn refresh_token(mut self, refresh_token: impl Into<String>) -> Self {
        self.matcher.refresh_token = Some(refresh_token.into());
        self.matcher.endpoint = Some(Endpoint::OAuthToken);
        self
    }

    /// Lets the first `nth - 1` requests that would match pass.
    #[must_use]
    pub fn from_nth(mut self, nth: u64) -> Self {
        self.matcher.nth = Some(nth);
        self
    }
}

/// Which requests a fault meets; every field that is set has to fit.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matcher {
    /// Google project that the request names; at the token endpoint, a project of the account.
    #[serde(default)]
    pub project: Option<String>,
    /// Model that the request names.
    #[serde(default)]
    pub model: Option<String>,
    /// Endpoint; nothing means `generateContent` and `streamGenerateContent`.
    #[serde(default)]
    pub endpoint: Option<Endpoint>,
    /// Upstream.
    #[serde(default)]
    pub upstream: Option<Upstream>,
    /// Refresh token of a call of the token endpoint.
    #[serde(default)]
    pub refresh_token: Option<String>,
    /// The first that is met, counted from 1 among the requests that fit otherwise.
    #[serde(default)]
    pub nth: Option<u64>,
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matcher")
            .field("project", &self.project)
            .field("model", &self.model)
            .field("endpoint", &self.endpoint)
            .field("upstream", &self.upstream)
            .field(
                "refresh_token",
                &self.refresh_token.as_deref().map(fingerprint),
            )
            .field("nth", &self.nth)
            .finish()
    }
}

/// A request as matchers see it.
#[derive(Default)]
pub(crate) struct Subject<'a> {
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) upstream: Option<Upstream>,
    pub(crate) projects: &'a [String],
    pub(crate) model: Option<&'a str>,
    pub(crate) refresh_token: Option<&'a str>,
}

impl Matcher {
    fn fits(&self, subject: &Subject<'_>) -> bool {
        let endpoint = match self.endpoint {
            Some(endpoint) => subject.endpoint == Some(endpoint),
            None => subject.endpoint.is_some_and(Endpoint::generates),
        };
        endpoint
            && self
                .upstream
                .is_none_or(|upstream| subject.upstream == Some(upstream))
            && self
                .project
                .as_ref()
                .is_none_or(|project| subject.projects.contains(project))
            && self
                .model
                .as_deref()
                .is_none_or(|model| subject.model == Some(model))
            && self
                .refresh_token
                .as_deref()
                .is_none_or(|token| subject.refresh_token == Some(token))
    }
}

/// What a fault does. Delays, gates, one-byte writes and going away add up with the first other one that fits.
///
/// `after_events` counts the events of a stream that are sent first; for a unary answer anything above 0 means half of
/// the body. At the token endpoint anything above 0 means after the refresh took effect.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// One of Google's errors.
    Error {
        /// Which.
        error: ErrorName,
        /// How it is wrapped.
        #[serde(default)]
        form: ErrorForm,
        /// What it says about when to come back, in seconds; each error has a default.
        #[serde(default)]
        retry_after: Option<f64>,
    },
    /// A status and a body, as they are.
    Raw {
        /// HTTP status.
        status: u16,
        /// `content-type`.
        content_type: String,
        /// Body.
        body: String,
    },
    /// An answer made of these Gemini responses (without Code Assist's envelope), one an event.
    Answer {
        /// `GenerateContentResponse` objects.
        chunks: Vec<serde_json::Value>,
    },
    /// An answer whose text is this, in the usual envelope with usage and finish reason.
    Text {
        /// The text.
        text: String,
    },
    /// Slowness; milliseconds. At the token endpoint `before_commit_ms` lies before the refresh takes effect.
    Delay {
        /// Before the request is looked at.
        #[serde(default)]
        before_commit_ms: u64,
        /// After it took effect, before the answer's headers.
        #[serde(default)]
        before_headers_ms: u64,
        /// After the headers, before the first event.
        #[serde(default)]
        before_first_event_ms: u64,
        /// Between two events.
        #[serde(default)]
        between_events_ms: u64,
    },
    /// The request waits at a gate until [`FakeGoogle::release`](crate::FakeGoogle::release) opens it.
    Hold {
        /// The gate's name; several requests may wait at one.
        gate: String,
        /// Where it stands.
        #[serde(default)]
        point: HoldPoint,
    },
    /// The connection is reset (TCP RST).
    Reset {
        /// Events first; 0 sends nothing, not even headers.
        #[serde(default)]
        after_events: usize,
    },
    /// The connection is closed (TCP FIN) in the middle of the body.
    Close {
        /// Events first; 0 sends nothing, not even headers.
        #[serde(default)]
        after_events: usize,
    },
    /// HTTP/2: this stream is reset with INTERNAL_ERROR. HTTP/1.1: as `close`.
    ResetStream {
        /// Events first.
        #[serde(default)]
        after_events: usize,
    },
    /// HTTP/2: the stream is refused (REFUSED_STREAM) before it is looked at. HTTP/1.1: the connection is closed.
    RefuseStream,
    /// The answer comes, and the connection goes away (GOAWAY; HTTP/1.1 `connection: close`).
    GoAway,
    /// Nothing more is sent, and the connection stays open.
    Stall {
        /// Events first.
        #[serde(default)]
        after_events: usize,
    },
    /// The body ends properly, but the answer is not finished: no finish reason, no usage.
    Truncate {
        /// Events first.
        #[serde(default)]
        after_events: usize,
    },
    /// 200 with no body at all.
    EmptyBody,
    /// Every write to the socket is of one byte: of this answer, or over HTTP/2 from now on of all.
    OneByteWrites,
    /// An error inside the stream, after status 200. Unary requests get the error as their answer.
    StreamError {
        /// Which.
        error: ErrorName,
        /// Events first.
        #[serde(default)]
        after_events: usize,
        /// Raw JSON without `data: `, or an event.
        #[serde(default)]
        form: StreamErrorForm,
    },
    /// The answer ends with `finishReason: SAFETY` in the middle of its text.
    Safety,
    /// The answer ends with this finish reason and no content.
    Finish {
        /// `finishReason`, such as `RECITATION`.
        reason: String,
    },
    /// The prompt is blocked: status 200, no candidates.
    PromptBlocked {
        /// `blockReason`, such as `SAFETY`.
        reason: String,
    },
    /// `finishReason: MALFORMED_FUNCTION_CALL`, with its message.
    MalformedFunctionCall,
    /// `finishReason: STOP` and no text.
    EmptyStop,
    /// The usage comes in an event of its own, after the one with the finish reason.
    UsageLast,
    /// The finish reason comes twice.
    TwoStops,
    /// The text says that the client's version is no longer supported.
    OldClientText,
}

/// Where a gate stands on a request's way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldPoint {
    /// Before the request takes effect.
    #[default]
    BeforeCommit,
    /// After it took effect, before the answer's headers.
    BeforeHeaders,
}

/// How an error is wrapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorForm {
    /// `{"error": …}`
    #[default]
    Object,
    /// `[{"error": …}]`
    Array,
    /// `message` is itself such a document, as text.
    Nested,
}

/// How an error looks inside a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamErrorForm {
    /// The document in several lines, without `data: `.
    #[default]
    Raw,
    /// `data: {"error": …}`
    Event,
}

/// What the faults that met a request amount to.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) before_commit: Duration,
    pub(crate) before_headers: Duration,
    pub(crate) before_first_event: Duration,
    pub(crate) between_events: Duration,
    pub(crate) one_byte_writes: bool,
    pub(crate) go_away: bool,
    pub(crate) hold_before_commit: Vec<String>,
    pub(crate) hold_before_headers: Vec<String>,
    pub(crate) action: Option<Action>,
}

/// The faults that are waiting, in the order in which they were scripted.
#[derive(Debug, Default)]
pub(crate) struct Script(Vec<Waiting>);

#[derive(Debug)]
struct Waiting {
    fault: Fault,
    seen: u64,
    met: u32,
}

impl Script {
    pub(crate) fn push(&mut self, fault: Fault) {
        self.0.push(Waiting {
            fault,
            seen: 0,
            met: 0,
        });
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Spends the faults that meet this request; says also how many those are.
    pub(crate) fn meet(&mut self, subject: &Subject<'_>) -> (Plan, u64) {
        let mut plan = Plan::default();
        let mut fired = 0;
        for waiting in &mut self.0 {
            if !waiting.fault.matcher.fits(subject) {
                continue;
            }
            let adds_up = matches!(
                waiting.fault.action,
                Action::Delay { .. } | Action::Hold { .. } | Action::OneByteWrites | Action::GoAway
            );
            if !adds_up && plan.action.is_some() {
                continue;
            }
            waiting.seen += 1;
            if waiting
                .fault
                .matcher
                .nth
                .is_some_and(|nth| waiting.seen < nth)
            {
                continue;
            }
            waiting.met += 1;
            fired += 1;
            plan.add(&waiting.fault.action);
        }
        self.0
            .retain(|waiting| waiting.fault.times.is_none_or(|times| waiting.met < times));
        (plan, fired)
    }
}

impl Plan {
    fn add(&mut self, action: &Action) {
        match action {
            Action::Delay {
                before_commit_ms,
                before_headers_ms,
                before_first_event_ms,
                between_events_ms,
            } => {
                self.before_commit += Duration::from_millis(*before_commit_ms);
                self.before_headers += Duration::from_millis(*before_headers_ms);
                self.before_first_event += Duration::from_millis(*before_first_event_ms);
                self.between_events += Duration::from_millis(*between_events_ms);
            }
            Action::Hold {
                gate,
                point: HoldPoint::BeforeCommit,
            } => self.hold_before_commit.push(gate.clone()),
            Action::Hold {
                gate,
                point: HoldPoint::BeforeHeaders,
            } => self.hold_before_headers.push(gate.clone()),
            Action::OneByteWrites => self.one_byte_writes = true,
            Action::GoAway => self.go_away = true,
            other => self.action = Some(other.clone()),
        }
    }
}
