//! What an operator does to a project from the page.

use std::sync::Arc;

use antigravity_proto::v1::{
    Project,
    project::{Credential, State as Standing},
};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, Response, StatusCode},
};

use super::{
    Status,
    form::{self, Form},
    login, message,
    projects::Filter,
    see_other,
    session::Notice,
};
use crate::tokens::operator::OperatorError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Enable,
    Disable,
    Refresh,
}

impl Action {
    fn named(name: &str) -> Option<Self> {
        match name {
            "enable" => Some(Self::Enable),
            "disable" => Some(Self::Disable),
            "refresh" => Some(Self::Refresh),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Refresh => "refresh",
        }
    }

    /// What is told once it is done, by how the project is since.
    fn done(self, project: &Project) -> String {
        let state = project.state();
        let did = match self {
            Self::Disable if state == Standing::Disabled => {
                return "is disabled: it is not dealt any more, and what gateways hold of it is \
                        used up within half a minute."
                    .to_owned();
            }
            Self::Disable => return "was enabled again meanwhile.".to_owned(),
            Self::Enable => "is enabled",
            // It is the credential and the token in one.
            Self::Refresh if project.credential() == Credential::ApiKey => {
                "has an API key and no token to refresh"
            }
            Self::Refresh => "is refreshed",
        };
        let since = match (state, self) {
            // The turns that gateways hold were dealt without it.
            (Standing::Active, Self::Enable) => ", and dealt again within half a minute",
            (Standing::Active, _) => ", and is tried again",
            (Standing::CoolingDown, _) => "; it is dealt once its rest is over",
            (Standing::NeedsLogin, _) => ", but is not dealt until it has a new credential",
            (Standing::NeedsValidation, _) => ", but is not dealt until its link was opened",
            (Standing::Suspended, _) => {
                ", but is suspended by Google, and not dealt until it is refreshed once that is \
                 lifted"
            }
            (Standing::Denied, _) => {
                ", but denied by Google: it is dealt when nobody else can serve"
            }
            (Standing::Disabled, _) => ", but is disabled, and not dealt",
            (Standing::Unspecified, _) => "",
        };
        format!("{did}{since}.")
    }
}

/// `POST /project`.
pub(super) async fn change(
    State(status): State<Arc<Status>>,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    let Some((shown, session)) = status.session(&headers) else {
        let told = "Your session has ended, and nothing was done. Sign in again.";
        return super::form(StatusCode::UNAUTHORIZED, told);
    };
    let form = match Form::read(&headers, body).await {
        Ok(form) => form,
        Err(told) => return told,
    };
    if !form.is_of(&session) {
        tracing::warn!("a form without this session's mark was refused at the status page");
        return form::not_of_this_session();
    }
    let (id, named) = (form.field("id"), Action::named(form.field("action")));
    let Some(action) = named.filter(|_| !id.is_empty()) else {
        return message(
            StatusCode::BAD_REQUEST,
            "Nothing to do",
            "The form names no project, or nothing that can be done to one (enable, disable, \
             refresh).",
        );
    };
    // A task of its own: who presses the button and goes away has pressed it.
    let done = tokio::spawn({
        let (status, id) = (Arc::clone(&status), id.to_owned());
        async move {
            let operator = status.pool.operator(&session.token)?;
            let done = match action {
                Action::Enable => operator.set_disabled(&id, false).await,
                Action::Disable => operator.set_disabled(&id, true).await,
                Action::Refresh => operator.refresh(&id).await,
            };
            status.pool.forget().await;
            done
        }
    });
    let done = done.await.unwrap_or_else(|_| {
        Err(OperatorError::Refused(
            "the gateway has a defect here".to_owned(),
        ))
    });
    let notice = match done {
        Ok(project) => {
            tracing::info!(
                project = id,
                action = action.name(),
                "done from the status page"
            );
            Notice {
                text: format!("{id} {}", action.done(&project)),
                went_well: true,
            }
        }
        Err(OperatorError::WrongToken | OperatorError::GatewayToken) => {
            status.sessions.end(&shown);
            return super::form(StatusCode::UNAUTHORIZED, login::NO_LONGER);
        }
        Err(error) => {
            tracing::warn!(project = id, action = action.name(), %error, "not done from the status page");
            Notice {
                text: format!("Cannot {} {id}: {error}", action.name()),
                went_well: false,
            }
        }
    };
    status.sessions.notify(&shown, notice);
    // Read and written anew, so that it is no address but ours.
    let query = Filter::read(form.field("back")).query();
    see_other(&query, place(id).as_deref())
}

/// Where the row of a project is on the page; what has no such characters is no project's id.
fn place(id: &str) -> Option<String> {
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte);
    id.bytes().all(named).then(|| format!("project-{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_so() {
        let told = |action: Action, state: Standing, credential: Credential| {
            action.done(&Project {
                state: state.into(),
                credential: credential.into(),
                ..Project::default()
            })
        };
        let person = Credential::RefreshToken;
        assert_eq!(
            told(Action::Enable, Standing::Active, person),
            "is enabled, and dealt again within half a minute."
        );
        for state in [
            Standing::NeedsLogin,
            Standing::NeedsValidation,
            Standing::Suspended,
            Standing::Denied,
            Standing::CoolingDown,
            Standing::Disabled,
            Standing::Unspecified,
        ] {
            for action in [Action::Enable, Action::Refresh] {
                let told = told(action, state, person);
                let promised = ["and dealt again", "is tried again"];
                assert!(!promised.iter().any(|words| told.contains(words)), "{told}");
            }
        }
        assert_eq!(
            told(Action::Refresh, Standing::Disabled, person),
            "is refreshed, but is disabled, and not dealt."
        );
        let key = told(Action::Refresh, Standing::Active, Credential::ApiKey);
        assert!(!key.contains("is refreshed,"), "{key}");
        assert!(key.ends_with(", and is tried again."), "{key}");
        let disabled = told(Action::Disable, Standing::Disabled, person);
        assert!(disabled.ends_with("within half a minute."), "{disabled}");
        assert!(!told(Action::Disable, Standing::Active, person).contains("is disabled"));
    }

    #[test]
    fn only_what_may_be_an_id_is_a_place() {
        assert_eq!(place("a.b:c@d-1_").as_deref(), Some("project-a.b:c@d-1_"));
        for id in ["<script>", "a b", "ü", "a\r\nb", "a#b"] {
            assert_eq!(place(id), None, "{id}");
        }
    }
}
