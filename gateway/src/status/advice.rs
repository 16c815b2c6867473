//! Why a project is as it is, and what whoever looks does about it: told once, in the page's words.

use antigravity_proto::v1::{
    self,
    project::{Credential, State},
};

/// How the token-service begins to say what is to be done, after what led to it. The next step
/// says that already, and in the page's own words.
const ADVICE: [&str; 7] = [
    "nothing to do",
    "mend it in the Google Cloud console",
    "log in again (",
    "look whether the service account",
    "make a new key (",
    "open action_url",
    "appeal to Google",
];

/// What the token-service says led to the state, for who sees the page and not the contract's
/// fields.
pub(super) fn reason(said: &str) -> String {
    let begins = ADVICE.iter().filter_map(|advice| {
        let after = said.rfind(&format!("; {advice}"));
        after.or_else(|| said.starts_with(advice).then_some(0))
    });
    let led = &said[..begins.min().unwrap_or(said.len())];
    led.replace("action_url", "the link")
}

/// With what the token-service begins to tell that Google does not take a project's OAuth client.
const CLIENT_REFUSED: &str = "Google refuses the OAuth client: ";
/// And that it takes the client, but not for this refresh token.
const CLIENT_MISMATCH: &str = "Google refuses the OAuth client for this refresh token";

/// What whoever looks has to do; empty: nothing.
pub(super) fn next_step(project: &v1::Project) -> String {
    let id = &project.id;
    match project.state() {
        State::Unspecified => "This gateway is older than the token-service.".to_owned(),
        State::Active if project.refresh_error.starts_with(CLIENT_REFUSED) => format!(
            "Set the right secret of its OAuth client: antigravity-gateway oauth-clients put {} \
             --secret-file FILE; then press Refresh.",
            project.oauth_client_id
        ),
        State::Active if project.refresh_error.starts_with(CLIENT_MISMATCH) => {
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
    fn what_is_to_be_done_is_said_once_and_whole() {
        for (said, led) in [
            (
                "Token has been expired or revoked.; log in again (`antigravity-gateway login --id \
                 ID`), or set a new refresh token (edit the tokens file and import it, or \
                 UpdateProject)",
                "Token has been expired or revoked.",
            ),
            (
                "appeal to Google; refresh the project once it is lifted",
                "",
            ),
            (
                "quota; nothing more; open action_url as the account's owner, then refresh the project",
                "quota; nothing more",
            ),
            ("open the link", "open the link"),
            ("see action_url", "see the link"),
            ("", ""),
        ] {
            assert_eq!(reason(said), led);
        }
        let refused = |error: &str| {
            next_step(&v1::Project {
                refresh_error: error.to_owned(),
                oauth_client_id: "123.apps".to_owned(),
                id: "p1".to_owned(),
                state: State::Active.into(),
                ..Default::default()
            })
        };
        let step = refused("Google refuses the OAuth client: invalid_client: Unauthorized");
        assert!(
            step.contains("oauth-clients put 123.apps --secret-file"),
            "{step}"
        );
        let step = refused("Google refuses the OAuth client for this refresh token: x");
        assert!(step.contains("login --id p1"), "{step}");
        assert!(refused("timed out").starts_with("It is tried again by itself"));
    }
}
