//! The domain as the contract shows it.

use antigravity_proto::v1;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;

use crate::{
    credential::Kind,
    oauth::RefreshError,
    pool::{Client, Grant, Member, Standing, State},
    project::Upstream,
    quota::Quota,
    refresh::RefreshFailed,
};

pub(super) fn upstream(upstream: Upstream) -> v1::Upstream {
    match upstream {
        Upstream::Antigravity => v1::Upstream::Antigravity,
        Upstream::Gemini => v1::Upstream::Gemini,
        Upstream::Vertex => v1::Upstream::Vertex,
    }
}

pub(super) fn time(time: Timestamp) -> prost_types::Timestamp {
    let floor = time.as_nanosecond().div_euclid(1_000_000_000);
    let nanos = time.as_nanosecond().rem_euclid(1_000_000_000);
    prost_types::Timestamp {
        // jiff's range is far inside of both types.
        seconds: i64::try_from(floor).unwrap_or_default(),
        nanos: i32::try_from(nanos).unwrap_or_default(),
    }
}

pub(super) fn access_token(grant: &Grant) -> v1::AccessToken {
    v1::AccessToken {
        project_id: grant.project.to_string(),
        google_project_id: grant.google_project_id.clone(),
        upstream: upstream(grant.upstream).into(),
        location: grant.location.clone(),
        access_token: grant.secret.expose_secret().to_owned(),
        expires_at: grant.expires_at.map(time),
        fingerprint: grant.fingerprint.clone(),
        scheme: match grant.expires_at {
            Some(_) => v1::Scheme::Bearer,
            None => v1::Scheme::ApiKey,
        }
        .into(),
    }
}

pub(super) fn project(member: &Member, now: Timestamp) -> v1::Project {
    use v1::project::State as Shown;
    let project = &member.record.project;
    let credential = &member.record.credential;
    let standing = member.state(now);
    let (reason, action_url) = member.why(now);
    let (shown, advice) = match standing {
        Standing::Active => (Shown::Active, ""),
        Standing::CoolingDown => (
            Shown::CoolingDown,
            "nothing to do: it comes back by itself when its cooldowns end",
        ),
        Standing::Denied => (
            Shown::Denied,
            "mend it in the Google Cloud console (action_url, if there is one); it is tried \
             again by itself, or at once after a refresh",
        ),
        Standing::NeedsLogin => (Shown::NeedsLogin, new_credential(credential.kind())),
        Standing::NeedsValidation => (
            Shown::NeedsValidation,
            "open action_url as the account's owner, then refresh the project",
        ),
        Standing::Suspended => (
            Shown::Suspended,
            "appeal to Google; refresh the project once it is lifted",
        ),
        Standing::Disabled => (Shown::Disabled, ""),
    };
    let counts = member.last_hour.sum(now);
    let state_reason = [reason.as_str(), advice]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("; ");
    let token = member.record.token.as_ref();
    v1::Project {
        id: project.id.to_string(),
        google_project_id: project.google_project_id.clone(),
        upstream: upstream(project.upstream).into(),
        location: project.location.clone(),
        oauth_client_id: project.oauth_client_id.clone(),
        display_name: project.display_name.clone(),
        disabled: project.disabled,
        state: shown.into(),
        state_reason,
        action_url,
        cooldowns: project
            .cooldowns
            .iter()
            .filter(|(_, cooldown)| cooldown.until > now)
            .map(|(group, cooldown)| v1::Cooldown {
                model_group: group.clone(),
                until: Some(time(cooldown.until)),
            })
            .collect(),
        token_expires_at: token.map(|token| time(token.expires_at)),
        token_fingerprint: member.fingerprint.clone(),
        refreshed_at: token.and_then(|token| token.refreshed_at).map(time),
        refresh_error: member
            .failure
            .as_ref()
            .map(|failure| failure.error.to_string())
            .unwrap_or_default(),
        created_at: Some(time(project.created_at)),
        updated_at: Some(time(project.updated_at)),
        last_dealt_at: member.dealt_at.map(time),
        requests_last_hour: counts.requests.into(),
        errors_last_hour: counts.errors.into(),
        quotas: member.quotas.iter().map(quota).collect(),
        credential: match credential.kind() {
            Kind::RefreshToken => v1::project::Credential::RefreshToken,
            Kind::ServiceAccountKey => v1::project::Credential::ServiceAccountKey,
            Kind::ApiKey => v1::project::Credential::ApiKey,
        }
        .into(),
        account: credential.account().to_owned(),
        state_cause: Some(reason),
        refresh_fault: member
            .failure
            .as_ref()
            .map_or(v1::project::RefreshFault::Unspecified, |failure| {
                fault(&failure.error)
            })
            .into(),
    }
}

fn fault(error: &RefreshFailed) -> v1::project::RefreshFault {
    use v1::project::RefreshFault;
    match error {
        RefreshFailed::Refused(RefreshError::ClientRefused(_)) => RefreshFault::OauthClient,
        RefreshFailed::Refused(RefreshError::ClientMismatch(_)) => RefreshFault::OtherOauthClient,
        RefreshFailed::Refused(RefreshError::Revoked(_) | RefreshError::KeyRefused(_)) => {
            RefreshFault::Credential
        }
        RefreshFailed::Refused(RefreshError::Transient(_))
        | RefreshFailed::Superseded
        | RefreshFailed::NotStored(_)
        | RefreshFailed::DatabaseAway(_)
        | RefreshFailed::Elsewhere
        | RefreshFailed::BrokenOff => RefreshFault::Passing,
    }
}

/// What to do about a credential that Google refuses.
fn new_credential(kind: Kind) -> &'static str {
    match kind {
        Kind::RefreshToken => {
            "log in again (`antigravity-gateway login --id ID`), or set a new refresh token (edit \
             the tokens file and import it, or UpdateProject)"
        }
        Kind::ServiceAccountKey => {
            "look whether the service account is there and enabled, make a new key (Google Cloud \
             console: IAM & Admin, Service Accounts, Keys) and set it (`projects set-credential`, \
             or UpdateProject)"
        }
        Kind::ApiKey => {
            "make a new key (aistudio.google.com/apikey) and set it (`projects set-credential`, \
             or UpdateProject); if the key is good, refresh the project to try it again"
        }
    }
}

fn quota(quota: &Quota) -> v1::Quota {
    v1::Quota {
        model_group: quota.group.clone(),
        window: quota.window.clone(),
        remaining_fraction: quota.remaining,
        reset_at: quota.reset_at.map(time),
        observed_at: Some(time(quota.observed_at)),
    }
}

pub(super) fn oauth_client(client: &Client, state: &State, now: Timestamp) -> v1::OAuthClient {
    let credentials = &client.record.credentials;
    let refusal = client.refusal.as_ref();
    let retry_in = refusal
        .map(|refusal| refusal.failure.retry_in(now))
        .filter(|wait| !wait.is_zero());
    let projects = state.projects_of(&credentials.client_id);
    v1::OAuthClient {
        client_id: credentials.client_id.clone(),
        token_url: credentials.token_url.clone().unwrap_or_default(),
        has_secret: credentials.client_secret.is_some(),
        projects: u32::try_from(projects).unwrap_or(u32::MAX),
        refused_since: refusal.map(|refusal| time(refusal.since)),
        retry_in: retry_in.and_then(|wait| wait.try_into().ok()),
    }
}
