//! `TokenService`: turns for gateways, and what became of them.

use std::{collections::HashSet, sync::Arc, time::Duration};

use antigravity_proto::v1::{self, token_service_server::TokenService};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{ERROR_DOMAIN, check::Check, view};
use crate::{
    acquire::{AcquireError, Replacement, Wanted},
    ledger::Used,
    outcomes::{Report, outcome_number},
    pool::{Pool, Standing},
    project::Answer,
    rotation::TurnId,
};

const MAX_COUNT: u32 = 256;
const MAX_LISTED: usize = 10_000;
const MAX_REPORTS: usize = 1000;
const MAX_TEXT: usize = 2048;
/// More than any answer has, and little enough that sums do not overflow.
const MAX_TOKENS: u64 = 1_000_000_000;
const MAX_TIME: Duration = Duration::from_secs(86_400);

/// The service over the pool.
#[derive(Clone)]
pub(crate) struct Tokens {
    pub(crate) pool: Arc<Pool>,
}

#[tonic::async_trait]
impl TokenService for Tokens {
    async fn acquire_tokens(
        &self,
        request: Request<v1::AcquireTokensRequest>,
    ) -> Result<Response<v1::AcquireTokensResponse>, Status> {
        let request = request.into_inner();
        let mut check = Check::default();
        let count = request.count.unwrap_or(1);
        if count > MAX_COUNT {
            check.wrong(
                "count",
                format!("is {count}; at most {MAX_COUNT} are dealt"),
            );
        }
        let unspecified = i32::from(v1::Upstream::Unspecified);
        let any = request.upstreams.contains(&unspecified);
        let mut upstreams: Vec<_> = request
            .upstreams
            .iter()
            .filter_map(|&upstream| check.upstream("upstreams", upstream))
            .collect();
        if any {
            upstreams.clear();
        }
        check.at_most(
            "exclude_project_ids",
            request.exclude_project_ids.len(),
            MAX_LISTED,
        );
        if request.tokens > MAX_COUNT {
            check.wrong(
                "tokens",
                format!("is {}; at most {MAX_COUNT} are told", request.tokens),
            );
        }
        check.at_most("returned_turns", request.returned_turns.len(), MAX_LISTED);
        check.at_most("rejected", request.rejected.len(), MAX_LISTED);
        for token in request.rejected.iter().take(MAX_LISTED) {
            text(&mut check, "rejected.reason", &token.reason);
        }
        text(&mut check, "model", &request.model);
        text(&mut check, "gateway_id", &request.gateway_id);
        check.done()?;

        self.take_back(&request.returned_turns);
        let prefer = request.prefer_project_id;
        let wanted = Wanted {
            count: usize::try_from(count).unwrap_or(usize::MAX),
            upstreams,
            model: request.model,
            exclude: request.exclude_project_ids.into_iter().collect(),
            prefer: (!prefer.is_empty()).then_some(prefer),
        };
        let limit = usize::try_from(request.tokens).unwrap_or(usize::MAX);
        let replacements = self.replace_refused(&request.rejected);
        let (refreshed, turns) = tokio::join!(landed(replacements), self.pool.acquire(&wanted));
        // A caller that named rejected tokens gets their successors even without a turn.
        let turns = match turns {
            Ok(turns) => turns,
            Err(error) if refreshed.is_empty() => return Err(status(&error)),
            Err(_) => Vec::new(),
        };
        let ahead = match limit {
            0 => Vec::new(),
            limit => {
                let grants = self.pool.tokens(limit, &wanted);
                grants.iter().map(view::access_token).collect()
            }
        };
        let pool_upstreams = {
            let state = self.pool.state();
            let upstreams = state.upstreams();
            upstreams
                .map(|upstream| view::upstream(upstream).into())
                .collect()
        };
        tracing::debug!(
            gateway = request.gateway_id,
            turns = turns.len(),
            refreshed = refreshed.len(),
            "dealt"
        );
        Ok(Response::new(v1::AcquireTokensResponse {
            turns: turns
                .iter()
                .map(|turn| v1::Turn {
                    turn_id: TurnId::write(&self.pool.instance, turn.number, &turn.grant.project),
                    token: Some(view::access_token(&turn.grant)),
                })
                .collect(),
            refreshed,
            pool_upstreams,
            tokens: ahead,
        }))
    }

    async fn report_outcomes(
        &self,
        request: Request<v1::ReportOutcomesRequest>,
    ) -> Result<Response<v1::ReportOutcomesResponse>, Status> {
        let v1::ReportOutcomesRequest {
            reports,
            gateway_id,
        } = request.into_inner();
        let mut check = Check::default();
        text(&mut check, "gateway_id", &gateway_id);
        check.at_most("reports", reports.len(), MAX_REPORTS);
        let reports = reports
            .into_iter()
            .take(MAX_REPORTS)
            .enumerate()
            .map(|(index, report)| self.report(&mut check, index, report))
            .collect();
        check.done()?;
        let counted = self.pool.report(reports).await;
        tracing::debug!(gateway = gateway_id, counted = counted.counted, "reported");
        Ok(Response::new(v1::ReportOutcomesResponse {
            counted: counted.counted,
            repeated_reports: counted.repeated,
        }))
    }
}

impl Tokens {
    /// Marks the rejected tokens and starts their refreshes, before any turn is dealt.
    fn replace_refused(&self, rejected: &[v1::RejectedToken]) -> Vec<Replacement> {
        let mut seen = HashSet::new();
        rejected
            .iter()
            .filter(|token| seen.insert(token.project_id.as_str()))
            .filter_map(|token| {
                self.pool
                    .replace_refused(&token.project_id, &token.fingerprint, &token.reason)
            })
            .collect()
    }

    /// Takes back turns that were not used, whichever replica dealt them.
    fn take_back(&self, turns: &[String]) {
        let now = self.pool.now();
        let mut state = self.pool.state();
        for turn in turns {
            match TurnId::read(turn, &self.pool.instance) {
                Some(TurnId::Ours(number)) => state.rotation.give_back(number),
                Some(TurnId::Foreign(turn)) => {
                    let member = state.projects.get(turn.project);
                    // One that rests comes back with one turn, not with those of before.
                    if member.is_some_and(|member| member.state(now) == Standing::Active) {
                        state.rotation.adopt(&turn);
                    }
                }
                None => {}
            }
        }
    }

    fn report(&self, check: &mut Check, index: usize, report: v1::OutcomeReport) -> Report {
        use v1::Outcome;
        let field = |name: &str| format!("reports[{index}].{name}");
        for (name, value) in [
            ("outcome_id", &report.outcome_id),
            ("project_id", &report.project_id),
        ] {
            if value.is_empty() {
                check.wrong(field(name), "is missing");
            } else if value.len() > 128 {
                check.wrong(field(name), "has more than 128 bytes");
            }
        }
        for (name, value) in [
            ("model", &report.model),
            ("api_key_name", &report.api_key_name),
            ("reason", &report.reason),
            ("url", &report.url),
        ] {
            text(check, &field(name), value);
        }
        let reset_at = check.time(&field("reset_at"), report.reset_at);
        let started_at = check.time(&field("started_at"), report.started_at);
        let outcome = Outcome::try_from(report.outcome);
        let failed = !matches!(outcome, Ok(Outcome::Ok | Outcome::Cancelled));
        let answer = match outcome {
            Ok(Outcome::Ok) => Answer::Ok,
            Ok(Outcome::RateLimited | Outcome::QuotaExhausted) => Answer::Limited { reset_at },
            Ok(Outcome::ValidationRequired) => Answer::ValidationRequired {
                reason: report.reason,
                url: report.url,
            },
            Ok(Outcome::Suspended) => Answer::Suspended {
                reason: report.reason,
                url: report.url,
            },
            Ok(Outcome::PermissionDenied) => Answer::Denied {
                reason: report.reason,
                url: report.url,
            },
            // An outcome of a later version is counted, and says nothing more.
            _ => Answer::Neutral,
        };
        Report {
            id: outcome_number(&report.outcome_id),
            used: used(
                outcome.ok(),
                &report.usage,
                report.first_event,
                report.duration,
            ),
            api_key_name: report.api_key_name,
            project: report.project_id,
            // That another replica's was used says nothing here: it is not ours to deal again.
            turn: match TurnId::read(&report.turn_id, &self.pool.instance) {
                Some(TurnId::Ours(number)) => Some(number),
                Some(TurnId::Foreign(_)) | None => None,
            },
            answer,
            model: report.model,
            started_at,
            failed,
        }
    }
}

/// What an attempt adds to the ledger.
fn used(
    outcome: Option<v1::Outcome>,
    usage: &Option<v1::Usage>,
    first_event: Option<prost_types::Duration>,
    duration: Option<prost_types::Duration>,
) -> Used {
    let is = |wanted: v1::Outcome| outcome == Some(wanted);
    let usage = usage.unwrap_or_default();
    let tokens = |count: u64| count.min(MAX_TOKENS);
    let answered = is(v1::Outcome::Ok);
    let time = |time: Option<prost_types::Duration>| {
        let time = time
            .filter(|_| answered)
            .and_then(|time| time.try_into().ok());
        time.unwrap_or(Duration::ZERO).min(MAX_TIME)
    };
    Used {
        attempts: 1,
        answers: answered.into(),
        cancelled: is(v1::Outcome::Cancelled).into(),
        prompt_tokens: tokens(usage.openai_prompt_tokens()),
        cached_tokens: tokens(usage.cached_tokens),
        completion_tokens: tokens(usage.openai_completion_tokens()),
        reasoning_tokens: tokens(usage.thoughts_tokens),
        first_event: time(first_event),
        duration: time(duration),
    }
}

async fn landed(replacements: Vec<Replacement>) -> Vec<v1::AccessToken> {
    let mut refreshed = Vec::new();
    for replacement in replacements {
        let grant = replacement.landed().await;
        refreshed.extend(grant.as_ref().map(view::access_token));
    }
    refreshed
}

fn text(check: &mut Check, field: &str, text: &str) {
    if text.len() > MAX_TEXT {
        check.wrong(field, format!("has more than {MAX_TEXT} bytes"));
    }
}

fn status(error: &AcquireError) -> Status {
    let message = error.to_string();
    let told = |code: Code, reason: &str| {
        let details =
            ErrorDetails::with_error_info(reason, ERROR_DOMAIN, std::collections::HashMap::new());
        Status::with_error_details(code, message.clone(), details)
    };
    let refused = |reason: &str| told(Code::FailedPrecondition, reason);
    match error {
        AcquireError::NoProjects => refused("NO_PROJECTS"),
        AcquireError::AllExcluded => refused("ALL_EXCLUDED"),
        AcquireError::AllDisabled => refused("ALL_DISABLED"),
        AcquireError::NeedsLogin => refused("NEEDS_LOGIN"),
        AcquireError::OAuthClientInvalid(_) => refused("OAUTH_CLIENT_INVALID"),
        AcquireError::CoolingDown { retry_in } => Status::with_error_details(
            Code::ResourceExhausted,
            message,
            ErrorDetails::with_retry_info(Some(*retry_in)),
        ),
        // Tells it from a service that cannot be reached, which has no details.
        AcquireError::Unavailable(_) => told(Code::Unavailable, "REFRESH_FAILED"),
    }
}
