//! What a failed attempt means for its project, for the next attempt and for the client.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use antigravity_proto::v1::{Outcome, Upstream as Kind};
use antigravity_traces::Kind as SpanKind;
use bytes::Bytes;
use jiff::SignedDuration;
use translate::gemini::model::Dialect;

use super::{
    attempt::Attempt,
    envelope,
    open::{Call, Opened, Upstream},
    outcome::{Failure, Next},
};
use crate::{error::Error, tokens::Token};

/// A 429 without a word is the request's fault when so many projects say it.
const BARE_LIMITS: usize = 3;
/// For so long after that, one project's word is enough for the same model.
const BARE_MEMORY: Duration = Duration::from_secs(10);
/// A stated rest that is shorter than this is waited for when nobody else can serve.
pub(super) const SHORT_REST: SignedDuration = SignedDuration::from_secs(3);
/// How long a project rests on this gateway after a 429 without a word.
const BARE_REST: SignedDuration = SignedDuration::from_secs(10);
/// What one request has learnt from its attempts.
pub(super) struct Course {
    /// Projects that cannot serve this request.
    pub(super) out: HashSet<Arc<str>>,
    /// Projects that failed and might serve later.
    pub(super) failed: HashSet<Arc<str>>,
    pub(super) refreshed: HashSet<Arc<str>>,
    /// Attempts whose 429 said nothing, and whose reports wait until it is known what
    /// they mean.
    pub(super) bare: Vec<(Attempt, Failure, Arc<Token>)>,
    /// Attempts that failed in another way.
    pub(super) others: usize,
    /// By upstream: attempts that were told that the model is not known.
    pub(super) unknown_model: HashMap<Kind, usize>,
    /// A whole answer that holds nothing: told when nothing better comes.
    pub(super) empty: Option<Opened>,
    /// Why the next attempt is one more.
    pub(super) retry: Option<&'static str>,
    /// The earliest end of the rests that this request was told of.
    pub(super) earliest: Option<Duration>,
    pub(super) host: usize,
    pub(super) backoffs: u32,
    /// What the client is told when nothing else comes.
    pub(super) last: Option<Failure>,
    pub(super) deadline: Instant,
    pub(super) rendered: HashMap<Dialect, Bytes>,
}

impl Course {
    /// Notes that somebody may be asked again after `rest`.
    pub(super) fn rests(&mut self, rest: Option<Duration>) {
        self.earliest = self.earliest.into_iter().chain(rest).min();
    }
}

impl Upstream {
    pub(super) async fn react(
        &self,
        call: &Call,
        token: &Arc<Token>,
        failure: Failure,
        attempt: Option<Attempt>,
        course: &mut Course,
    ) -> Result<Option<Opened>, Error> {
        let project = Arc::clone(&token.project);
        course.others += usize::from(!matches!(failure.next, Next::BareLimit | Next::Repeat));
        match failure.next {
            Next::Tell => {
                report(attempt, &failure);
                if failure.error.refuses_candidates() {
                    self.refusals.note(token.upstream, &call.about.model);
                }
                return Err(failure.error);
            }
            Next::Repeat => report(attempt, &failure),
            Next::Refresh => {
                report(attempt, &failure);
                // A second refusal would not be mended by a third token.
                let first = course.refreshed.insert(Arc::clone(&project));
                let span = call
                    .about
                    .line
                    .span(SpanKind::Internal, || "replace token".into());
                let within = span.context();
                if !first
                    || self
                        .tokens
                        .replace(token, &failure.said, within)
                        .await
                        .is_none()
                {
                    course.out.insert(project);
                }
            }
            Next::BareLimit => {
                course.out.insert(project);
                course.last = Some(failure.clone());
                if let Some(attempt) = attempt {
                    course.bare.push((attempt, failure, Arc::clone(token)));
                }
                if course.bare.len() >= self.bare_limit(&call.about.model) {
                    return self.conclude(call, course).map(Some);
                }
                return Ok(None);
            }
            Next::OtherProject => {
                report(attempt, &failure);
                match failure.outcome {
                    Outcome::Suspended | Outcome::ValidationRequired => {
                        self.tokens.turn_away(token);
                    }
                    Outcome::PermissionDenied => self.tokens.deny(token),
                    _ => {}
                }
                let now = self.clock.now();
                if let Some(until) = failure.rests_until(now) {
                    self.tokens.cool(token, &call.about.model, until);
                    let left = until.duration_since(now).max(SignedDuration::ZERO);
                    course.rests(Some(left.unsigned_abs()));
                }
                course.out.insert(project);
            }
            Next::OtherUpstream => {
                report(attempt, &failure);
                if let Some(until) = failure.reset_at {
                    self.tokens.cool_upstream(token.upstream, until);
                }
                course.rests(failure.error.retry_after());
                course.out.extend(self.tokens.projects_of(token.upstream));
                course.out.insert(project);
            }
            Next::Again => {
                report(attempt, &failure);
                course.host += 1;
                let stated = failure.error.retry_after().unwrap_or_default();
                if SignedDuration::try_from(stated).is_ok_and(|rest| rest <= SHORT_REST) {
                    course.failed.insert(project);
                } else {
                    // It said when to come back, and that is too late for this request.
                    course.out.insert(project);
                }
            }
            Next::UnknownModel => {
                report(attempt, &failure);
                if self.is_unknown_model(token, course) {
                    return Err(failure.error);
                }
            }
        }
        course.last = Some(failure);
        Ok(None)
    }

    /// Whether enough have said that they do not know the model. Code Assist rolls models
    /// out by host and by account, so there another host and another project are asked;
    /// in a mixed pool, another upstream.
    fn is_unknown_model(&self, token: &Token, course: &mut Course) -> bool {
        let told = course.unknown_model.entry(token.upstream).or_default();
        *told += 1;
        let hosts = envelope::hosts(&self.config, token.upstream);
        let enough = match token.upstream {
            Kind::Antigravity => hosts + 1,
            Kind::Gemini | Kind::Vertex | Kind::Unspecified => 1,
        };
        let others = self
            .tokens
            .pool_upstreams()
            .into_iter()
            .filter(|upstream| !course.unknown_model.contains_key(upstream))
            .count();
        let (told, upstreams_told) = (
            course.unknown_model[&token.upstream],
            course.unknown_model.len(),
        );
        if told < enough {
            course.host += 1;
            if told >= hosts {
                course.out.insert(Arc::clone(&token.project));
            }
            return false;
        }
        if others > 0 && upstreams_told < 2 {
            // Everybody of this upstream would say the same.
            course.out.extend(self.tokens.projects_of(token.upstream));
            course.out.insert(Arc::clone(&token.project));
            return false;
        }
        true
    }

    /// Somebody else could serve: the limits without a word were their projects' own.
    pub(super) fn release(&self, call: &Call, course: &mut Course) {
        for (attempt, failure, token) in course.bare.drain(..) {
            attempt.failed(&failure);
            if let Ok(until) = self.clock.now().checked_add(BARE_REST) {
                self.tokens.cool(&token, &call.about.model, until);
            }
        }
    }

    /// What the client is told, now that nobody is left.
    pub(super) fn conclude(&self, call: &Call, course: &mut Course) -> Result<Opened, Error> {
        let model = &call.about.model;
        let everybody = course.bare.len() >= self.bare_limit(model) || course.others == 0;
        if everybody && !course.bare.is_empty() {
            self.note_bare_limit(model);
        }
        // Nobody has shown that it is the projects that are limited, and not the request: that
        // rests nobody.
        for (attempt, _, _) in course.bare.drain(..) {
            attempt.forget();
        }
        if let Some(empty) = course.empty.take() {
            return Ok(empty);
        }
        let Some(failure) = course.last.take() else {
            return Err(Error::NoUsableProject {
                message: "No Google project can serve this request now.".to_owned(),
            });
        };
        Err(match failure.error {
            Error::RateLimited {
                message,
                retry_after,
                quota,
            } => {
                course.rests(retry_after);
                let others = self.tokens.earliest_end(&call.about.model);
                let retry_after = course.earliest.into_iter().chain(others).min();
                Error::RateLimited {
                    message,
                    retry_after,
                    quota,
                }
            }
            error => error,
        })
    }

    /// From how many projects a 429 without a word is the request's fault. When that was so
    /// a moment ago, one is enough: a client that repeats it is not to try the whole pool.
    fn bare_limit(&self, model: &str) -> usize {
        let now = self.clock.instant();
        match self.bare_limits.lock().get(model) {
            Some(at) if now.duration_since(*at) < BARE_MEMORY => 1,
            _ => BARE_LIMITS,
        }
    }

    fn note_bare_limit(&self, model: &str) {
        let now = self.clock.instant();
        let mut limits = self.bare_limits.lock();
        limits.retain(|_, at| now.duration_since(*at) < BARE_MEMORY);
        limits.entry(model.to_owned()).or_insert(now);
    }
}

/// Hands in what came of an attempt, unless its relay has done so.
fn report(attempt: Option<Attempt>, failure: &Failure) {
    match attempt {
        Some(attempt) if failure.next == Next::Repeat => attempt.forget(),
        Some(attempt) => attempt.failed(failure),
        None => {}
    }
}
