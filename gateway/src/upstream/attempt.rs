//! One attempt: who was asked, since when, and the report of what came of it, which is
//! handed in once, whatever the end.

use std::{sync::Arc, time::Instant};

use antigravity_proto::v1::{self, Outcome, OutcomeReport};
use antigravity_runtime::clock::Clock;
use antigravity_traces::{Kind, Span};
use jiff::Timestamp;
use reqwest::Url;
use translate::gemini::usage::Usage;

use super::outcome::Failure;
use crate::{
    metrics::{Gaps, Provider, Series, outcome_name},
    new_id,
    outcomes::Outcomes,
    request_line::RequestLine,
    tokens::{Conversation, Lease, Token},
};

/// Models are named by clients; of a longer name the token-service is told so many bytes.
const LONGEST_MODEL: usize = 256;

/// About the client's request, the same for all of its attempts.
#[derive(Clone, Debug)]
pub struct About {
    /// The request's id.
    pub request_id: Arc<str>,
    /// Name of the client's key.
    pub api_key_name: Arc<str>,
    /// Which surface was asked.
    pub surface: &'static str,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// The model id to ask for.
    pub model: Arc<str>,
    /// What it goes on with, if its project is to be the same again.
    pub conversation: Option<Conversation>,
    /// Its log line.
    pub line: RequestLine,
}

/// An attempt that runs. Dropped without a conclusion it was cancelled: the client
/// went away.
#[derive(Debug)]
pub struct Attempt {
    report: Option<OutcomeReport>,
    usage: Option<Usage>,
    token: Arc<Token>,
    line: RequestLine,
    series: Arc<Series>,
    /// Its number in the line; `None`: what came of it is told.
    nth: Option<usize>,
    span: Span,
    outcomes: Outcomes,
    started: Instant,
    /// When the last event of a stream came.
    last_event: Option<Instant>,
    gaps: Gaps,
    clock: Clock,
}

impl Attempt {
    pub(super) fn begin(about: &About, lease: &Lease, outcomes: Outcomes, clock: Clock) -> Self {
        let model = &about.model[..about.model.floor_char_boundary(LONGEST_MODEL)];
        let report = OutcomeReport {
            outcome_id: new_id().to_string(),
            project_id: lease.token.project.to_string(),
            turn_id: lease.turn_id.clone().unwrap_or_default(),
            fingerprint: lease.token.fingerprint.to_string(),
            outcome: Outcome::Cancelled.into(),
            model: model.to_owned(),
            started_at: Some(timestamp(clock.now())),
            api_key_name: about.api_key_name.to_string(),
            surface: about.surface.to_owned(),
            request_id: about.request_id.to_string(),
            stream: about.stream,
            ..Default::default()
        };
        let series = about
            .line
            .metrics()
            .model(&about.model, lease.token.upstream);
        let nth = about.line.attempt(&lease.token.project, &series);
        let name = || format!("chat {model}").into();
        let mut span = about.line.span(Kind::Client, name);
        if span.is_recorded() {
            span.set("gen_ai.operation.name", "chat");
            span.set(
                "gen_ai.provider.name",
                Provider::of(lease.token.upstream).name(),
            );
            span.set("gen_ai.request.model", model);
            span.set("gen_ai.request.stream", about.stream);
            span.set("antigravity.project.id", &*lease.token.project);
            if nth > 0 {
                span.set("http.request.resend_count", nth as u64);
            }
        }
        Self {
            report: Some(report),
            usage: None,
            token: Arc::clone(&lease.token),
            line: about.line.clone(),
            series,
            nth: Some(nth),
            span,
            outcomes,
            started: clock.instant(),
            last_event: None,
            gaps: Gaps::default(),
            clock,
        }
    }

    /// Unique for this attempt.
    pub(super) fn id(&self) -> &str {
        self.report.as_ref().map_or("", |report| &report.outcome_id)
    }

    /// What Google was asked with.
    pub(super) fn token(&self) -> &Token {
        &self.token
    }

    /// Where it is, in its trace.
    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    /// Notes who is asked.
    pub(super) fn asks(&mut self, url: &Url) {
        if self.span.is_recorded() {
            self.span
                .set("server.address", url.host_str().unwrap_or_default());
            if let Some(port) = url.port_or_known_default() {
                self.span.set("server.port", port);
            }
        }
    }

    /// Something came that the client has not been told of.
    pub(super) fn heard(&self) {
        self.line.heard();
    }

    /// Notes an event of the answer, which came at `at`.
    pub(super) fn event(&mut self, at: Instant) {
        let Some(report) = &mut self.report else {
            return;
        };
        match self.last_event.replace(at) {
            None => {
                let passed = at.duration_since(self.started);
                report.first_event = passed.try_into().ok();
                if report.stream {
                    self.span.set("gen_ai.response.time_to_first_chunk", passed);
                    self.series.first_chunk(passed, self.line.trace_id());
                }
            }
            Some(before) if report.stream => self.gaps.add(at.duration_since(before)),
            Some(_) => {}
        }
    }

    /// Notes the counts so far, for whatever end comes.
    pub(super) fn usage(&mut self, usage: Option<Usage>) {
        self.usage = usage.or(self.usage);
    }

    /// It is over, for whoever looks at it; what it means for its project may be decided later.
    pub(super) fn over(&mut self, outcome: Outcome, http_status: u16) {
        let Some(nth) = self.nth.take() else { return };
        let name = outcome_name(outcome);
        self.line.attempt_came_to(nth, name, http_status);
        let mut span = std::mem::take(&mut self.span);
        if !span.is_recorded() {
            return;
        }
        if http_status > 0 {
            span.set("http.response.status_code", http_status);
        }
        if let Some(usage) = self.usage {
            span.set("gen_ai.usage.input_tokens", usage.prompt_tokens());
            span.set("gen_ai.usage.output_tokens", usage.completion_tokens());
            span.set("gen_ai.usage.cache_read.input_tokens", usage.cached);
            span.set("gen_ai.usage.reasoning.output_tokens", usage.thoughts);
        }
        match outcome {
            Outcome::Ok => {}
            // Who hangs up makes no error.
            Outcome::Cancelled => span.set("antigravity.cancelled", true),
            _ => span.failed(name),
        }
    }

    /// The answer was whole, and its choices ended so.
    pub(super) fn succeeded(mut self, finish_reasons: impl FnOnce() -> Vec<String>) {
        if self.span.is_recorded() {
            self.span
                .set("gen_ai.response.finish_reasons", finish_reasons());
        }
        self.over(Outcome::Ok, 200);
        if let Some(report) = &mut self.report {
            report.outcome = Outcome::Ok.into();
            report.http_status = 200;
            self.line
                .metrics()
                .model_exists(&report.model, &self.series);
        }
    }

    /// It failed so.
    pub(super) fn failed(mut self, failure: &Failure) {
        self.over(failure.outcome, failure.http_status);
        if let Some(report) = &mut self.report {
            report.outcome = failure.outcome.into();
            report.http_status = failure.http_status.into();
            report.reason.clone_from(&failure.reason);
            report.url.clone_from(&failure.url);
            report.reset_at = failure.reset_at.map(timestamp);
        }
    }

    /// It counts for nobody.
    pub(super) fn forget(mut self) {
        self.report = None;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(usage) = self.usage {
            self.line.used(usage);
        }
        self.over(Outcome::Cancelled, 0);
        if let Some(mut report) = self.report.take() {
            report.usage = self.usage.map(|usage| v1::Usage {
                prompt_tokens: usage.prompt,
                candidates_tokens: usage.candidates,
                thoughts_tokens: usage.thoughts,
                cached_tokens: usage.cached,
                tool_use_prompt_tokens: usage.tool_use_prompt,
                total_tokens: usage.total,
            });
            let passed = self.clock.instant().duration_since(self.started);
            report.duration = passed.try_into().ok();
            let (trace, outcome) = (self.line.trace_id(), report.outcome());
            let error = (outcome != Outcome::Ok).then(|| outcome_name(outcome));
            self.series.ended(error, passed, trace);
            self.series.chunks(&self.gaps);
            if let Some(usage) = self.usage {
                self.series.used(usage, trace);
                self.line.metrics().used(&report.api_key_name, usage);
            }
            self.outcomes.report(report);
        }
    }
}

fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.as_second(),
        nanos: at.subsec_nanosecond(),
    }
}
