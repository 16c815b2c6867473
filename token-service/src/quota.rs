//! What is left of the quotas of projects in use, where Google tells: Code Assist's
//! `retrieveUserQuotaSummary`. Asked for seldom, one project at a time; only shown, since
//! what Google refuses is told by its refusals.

use std::{sync::Arc, time::Duration};

use http::HeaderMap;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::{
    pool::{Grant, Member, Pool, within},
    project::{ProjectId, Upstream},
};

/// How often it is looked for projects that are due.
const TICK: Duration = Duration::from_secs(15);
/// Between two projects.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest interval after failures, in intervals.
const MAX_PATIENCE: u32 = 12;
const MAX_ANSWER: usize = 256 * 1024;

/// What is left of a quota.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Quota {
    /// As [`crate::project::model_group`] names it.
    pub(crate) group: String,
    /// `weekly` or `5h`.
    pub(crate) window: String,
    /// From 0 to 1.
    pub(crate) remaining: f64,
    pub(crate) reset_at: Option<Timestamp>,
    pub(crate) observed_at: Timestamp,
}

/// Where and how often Google is asked.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) http: reqwest::Client,
    /// Hosts of the Cloud Code API, in the order of trying.
    pub(crate) hosts: Vec<String>,
    /// Those that an operator adds.
    pub(crate) headers: HeaderMap,
    pub(crate) interval: Duration,
}

/// When a project's quotas were last asked for, and how often in vain since.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    at: Option<Timestamp>,
    failures: u32,
}

enum Answer {
    Summary(Summary),
    /// The account may not ask, or not now.
    Refused,
}

#[derive(Deserialize)]
struct Summary {
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    buckets: Vec<Bucket>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bucket {
    #[serde(default)]
    bucket_id: String,
    #[serde(default)]
    window: String,
    /// Left out when nothing is left, as proto3's JSON leaves zeros out.
    remaining_fraction: Option<f64>,
    #[serde(default)]
    reset_time: Option<String>,
}

/// Keeps the quotas of projects in use until `stop`.
pub(crate) async fn watch(pool: Arc<Pool>, source: Source, stop: CancellationToken) {
    if source.interval.is_zero() {
        return;
    }
    loop {
        tokio::select! {
            () = pool.clock.sleep(TICK) => {}
            () = stop.cancelled() => return,
        }
        for id in due(&pool, source.interval) {
            // It may have left the rotation while the others were asked for.
            let Some(grant) = grant(&pool, &id, source.interval) else {
                continue;
            };
            let asked = tokio::select! {
                quotas = source.ask(&grant, pool.now()) => quotas,
                () = stop.cancelled() => return,
            };
            keep(&pool, &id, asked);
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

/// Projects that were used since they were last asked for, long enough ago.
fn due(pool: &Pool, interval: Duration) -> Vec<ProjectId> {
    let now = pool.now();
    let state = pool.state();
    let members = state.projects.iter();
    members
        .filter(|(_, member)| is_due(member, interval, now))
        .map(|(id, _)| Arc::clone(id))
        .collect()
}

fn is_due(member: &Member, interval: Duration, now: Timestamp) -> bool {
    let project = &member.record.project;
    let asked = &member.quota_asked;
    let patience = interval.saturating_mul(1 + asked.failures.min(MAX_PATIENCE));
    let used = match (member.dealt_at, asked.at) {
        (Some(dealt), Some(asked)) => dealt > asked,
        (dealt, None) => dealt.is_some(),
        (None, _) => false,
    };
    project.upstream == Upstream::Antigravity
        && project.is_dealt()
        && !member.is_denied(now)
        && used
        && member.is_usable(now)
        && !asked.at.is_some_and(|at| within(now, at, patience))
}

fn grant(pool: &Pool, id: &ProjectId, interval: Duration) -> Option<Grant> {
    let now = pool.now();
    let state = pool.state();
    let member = state.projects.get(id)?;
    is_due(member, interval, now).then(|| member.grant())?
}

fn keep(pool: &Pool, id: &ProjectId, quotas: Option<Vec<Quota>>) {
    let now = pool.now();
    let mut state = pool.state();
    let Some(member) = state.projects.get_mut(id) else {
        return;
    };
    member.quota_asked.at = Some(now);
    match quotas {
        Some(quotas) => {
            member.quota_asked.failures = 0;
            member.quotas = quotas;
        }
        None => {
            member.quota_asked.failures = member.quota_asked.failures.saturating_add(1);
            tracing::debug!(project = &**id, "its quotas cannot be had");
        }
    }
}

impl Source {
    async fn ask(&self, grant: &Grant, now: Timestamp) -> Option<Vec<Quota>> {
        for host in &self.hosts {
            match self.ask_host(host, grant).await {
                Some(Answer::Summary(summary)) => return Some(quotas(summary, now)),
                // Another host would say the same.
                Some(Answer::Refused) => return None,
                None => {}
            }
        }
        None
    }

    async fn ask_host(&self, host: &str, grant: &Grant) -> Option<Answer> {
        let body = serde_json::json!({"project": grant.google_project_id});
        let mut answer = self
            .http
            .post(format!("{host}/v1internal:retrieveUserQuotaSummary"))
            .headers(self.headers.clone())
            .bearer_auth(grant.secret.expose_secret())
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .body(body.to_string())
            .send()
            .await
            .ok()?;
        let status = answer.status();
        if matches!(status.as_u16(), 401 | 403 | 429) {
            return Some(Answer::Refused);
        }
        if !status.is_success() {
            return None;
        }
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.ok()? {
            body.extend_from_slice(&piece);
            if body.len() > MAX_ANSWER {
                return None;
            }
        }
        serde_json::from_slice(&body).ok().map(Answer::Summary)
    }
}

fn quotas(summary: Summary, now: Timestamp) -> Vec<Quota> {
    let buckets = summary.groups.into_iter().flat_map(|group| group.buckets);
    buckets
        .filter_map(|bucket| {
            let (group, window) = bucket.bucket_id.split_once('-')?;
            let window = if bucket.window.is_empty() {
                window.to_owned()
            } else {
                bucket.window.clone()
            };
            Some(Quota {
                group: group.to_owned(),
                window,
                remaining: bucket.remaining_fraction.unwrap_or(0.0).clamp(0.0, 1.0),
                reset_at: bucket.reset_time.and_then(|time| time.parse().ok()),
                observed_at: now,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_fraction_is_nothing_left() {
        let summary = r#"{"groups":[{"displayName":"Gemini Models","buckets":[
            {"bucketId":"gemini-weekly","window":"weekly","remainingFraction":0.5,"resetTime":"2026-06-24T00:00:00Z"},
            {"bucketId":"gemini-5h","resetTime":"soon"},
            {"bucketId":"odd","remainingFraction":null}]},{"unknown":1}]}"#;
        let found = quotas(
            serde_json::from_str(summary).unwrap(),
            Timestamp::UNIX_EPOCH,
        );
        let told: Vec<_> = found
            .iter()
            .map(|quota| (&*quota.group, &*quota.window, quota.remaining))
            .collect();
        assert_eq!(told, [("gemini", "weekly", 0.5), ("gemini", "5h", 0.0)]);
        assert!(found[0].reset_at.is_some() && found[1].reset_at.is_none());
    }
}
