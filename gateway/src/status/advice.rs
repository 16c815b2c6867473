//! Why a project is as it is, and what whoever looks does about it: told once, in the page's words.

use antigravity_proto::v1::{
    self,
    project::{Credential, RefreshFault, State},
};

/// What the token-service says led to the state. One of an earlier version says in the same words
/// what to do, which the page tells besides.
pub(super) fn reason(project: &v1::Project) -> &str {
    project
        .state_cause
        .as_deref()
        .unwrap_or(&project.state_reason)
}

/// What whoever looks has to do; empty: nothing.
pub(super) fn next_step(project: &v1::Project) -> String {
    let id = &project.id;
    match project.state() {
        State::Unspecified => "This gateway is older than the token-service.".to_owned(),
        State::Active if project.refresh_fault() == RefreshFault::OauthClient => format!(
            "Set the right secret of its OAuth client: antigravity-gateway oauth-clients put {} \
             --secret-file FILE; then press Refresh.",
            project.oauth_client_id
        ),
        State::Active if project.refresh_fault() == RefreshFault::OtherOauthClient => {
            format!("Log in again, with its own OAuth client: antigravity-gateway login --id {id}")
        }
        State::Active if !project.refresh_error.is_empty() => {
            "It is tried again by itself, or at once with Refresh.".to_owned()
        }
        State::Active => String::new(),
        State::CoolingDown => "Nothing to do: it comes back by itself.".to_owned(),
        State::NeedsLogin => match project.credential() {
            Credential::RefreshToken | Credential::Unspecified => {
                format!("Log in again: antigravity-gateway login --id {id}")
            }
            Credential::ServiceAccountKey => format!(
                "Look whether the service account is there and enabled, and make a new key (Google \
                 Cloud console: IAM & Admin, Service Accounts, Keys); then: antigravity-gateway \
                 projects set-credential {id} --service-account-file FILE"
            ),
            Credential::ApiKey => format!(
                "Make a new key (aistudio.google.com/apikey), then: antigravity-gateway projects \
                 set-credential {id} --api-key-file FILE; if the key is good, press Refresh."
            ),
        },
        State::NeedsValidation => {
            "Open the link as the account's owner, then press Refresh.".to_owned()
        }
        State::Suspended => "Appeal to Google; press Refresh once it is lifted.".to_owned(),
        State::Disabled => "Press Enable to have it dealt again.".to_owned(),
        State::Denied => "Mend it in the Google Cloud console. It is tried again by itself, or at \
                          once with Refresh."
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_led_to_a_state_is_told_without_what_to_do_where_that_is_known() {
        let mut project = v1::Project {
            state_reason: "Token has been expired or revoked.; log in again".to_owned(),
            state_cause: Some("Token has been expired or revoked.".to_owned()),
            ..Default::default()
        };
        assert_eq!(reason(&project), "Token has been expired or revoked.");
        project.state_cause = Some(String::new());
        assert_eq!(reason(&project), "");
        project.state_cause = None;
        assert_eq!(reason(&project), project.state_reason);
    }

    #[test]
    fn a_refresh_that_fails_is_mended_where_the_fault_is() {
        let step = |fault: RefreshFault| {
            next_step(&v1::Project {
                refresh_error: "invalid_client: Unauthorized".to_owned(),
                refresh_fault: fault.into(),
                oauth_client_id: "123.apps".to_owned(),
                id: "p1".to_owned(),
                state: State::Active.into(),
                ..Default::default()
            })
        };
        let client = step(RefreshFault::OauthClient);
        assert!(
            client.contains("oauth-clients put 123.apps --secret-file"),
            "{client}"
        );
        let other = step(RefreshFault::OtherOauthClient);
        assert!(other.contains("login --id p1"), "{other}");
        for fault in [RefreshFault::Passing, RefreshFault::Unspecified] {
            let passing = step(fault);
            assert!(
                passing.starts_with("It is tried again by itself"),
                "{passing}"
            );
        }
    }
}
