//! What an operator does to a project from the page.

use std::sync::Arc;

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

    fn done(self) -> &'static str {
        match self {
            Self::Enable => "is enabled, and dealt again.",
            Self::Disable => "is disabled, and not dealt any more.",
            Self::Refresh => "is refreshed, and tried again.",
        }
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
        Ok(_) => {
            tracing::info!(
                project = id,
                action = action.name(),
                "done from the status page"
            );
            Notice {
                text: format!("{id} {}", action.done()),
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
    see_other(&Filter::read(form.field("back")).query())
}
