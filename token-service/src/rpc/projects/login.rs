//! `BeginLogin` and `FinishLogin`: proto to domain and back.

use std::{collections::HashMap, sync::Arc};

use antigravity_proto::v1::{self, finish_login_response as response};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{Answers, status};
use crate::{
    admin::AdminError,
    login::{Begin, Done, LoginError, Logins, Progress, Step},
    rpc::{ERROR_DOMAIN, check::Check, view},
};

/// What is told of a login before somebody listens.
const AHEAD: usize = 16;

pub(super) fn begin(
    logins: &Logins,
    request: v1::BeginLoginRequest,
) -> Result<v1::BeginLoginResponse, Status> {
    let mut check = Check::default();
    let upstream = check.upstream("upstream", request.upstream);
    if !request.oauth_client_id.is_empty() {
        check.client_id("oauth_client_id", &request.oauth_client_id);
    }
    if !request.id.is_empty() {
        check.id("id", &request.id);
    }
    if !request.google_project_id.is_empty() {
        check.google_project_id("google_project_id", &request.google_project_id);
    }
    check.location("location", &request.location);
    check.display_name("display_name", &request.display_name);
    check.done()?;
    let given = |text: String| (!text.is_empty()).then_some(text);
    let begun = logins
        .begin(Begin {
            oauth_client_id: given(request.oauth_client_id),
            upstream,
            redirect_uri: request.redirect_uri,
            id: given(request.id),
            google_project_id: given(request.google_project_id),
            location: given(request.location),
            display_name: given(request.display_name),
        })
        .map_err(refusal)?;
    Ok(v1::BeginLoginResponse {
        authorization_url: begun.authorization_url,
        login: begun.login,
        expires_at: Some(view::time(begun.expires_at)),
    })
}

pub(super) fn finish(
    logins: &Arc<Logins>,
    request: &v1::FinishLoginRequest,
) -> Result<Answers<v1::FinishLoginResponse>, Status> {
    let answered = logins.answered(&request.login, &request.answer);
    let finish = answered.map_err(refusal)?;
    let (answers, stream) = mpsc::channel(AHEAD);
    let (progress, mut steps) = mpsc::channel(AHEAD);
    let this = Arc::clone(logins);
    let running = logins.pool.tasks.spawn({
        let this = Arc::clone(logins);
        async move { this.finish(finish, progress).await }
    });
    tokio::spawn(async move {
        // It holds `steps`, so that the login breaks off when nobody listens any more.
        loop {
            let step = tokio::select! {
                step = steps.recv() => step,
                () = answers.closed() => return,
            };
            let Some(step) = step else { break };
            if answers.send(Ok(shown_step(step))).await.is_err() {
                return;
            }
        }
        let done = match running.await {
            Ok(Ok(done)) => shown_end(&this, done),
            Ok(Err(error)) => Err(refusal(error)),
            Err(_) => Err(Status::internal("the login broke off")),
        };
        // Who does not listen does not want to know.
        let _ = answers.send(done).await;
    });
    Ok(Box::pin(ReceiverStream::new(stream)))
}

fn shown_step(Progress { step, message }: Progress) -> v1::FinishLoginResponse {
    let step = match step {
        Step::Exchanging => response::Step::Exchanging,
        Step::Discovering => response::Step::Discovering,
        Step::Onboarding => response::Step::Onboarding,
        Step::Storing => response::Step::Storing,
        Step::Proving => response::Step::Proving,
    };
    v1::FinishLoginResponse {
        step: step.into(),
        message,
        done: None,
    }
}

fn shown_end(logins: &Logins, done: Done) -> Result<v1::FinishLoginResponse, Status> {
    let project = {
        let state = logins.pool.state();
        let member = state.projects.get(&done.project);
        member.map(|member| view::project(member, logins.pool.now()))
    };
    let project = project.ok_or_else(|| Status::not_found("the project was removed meanwhile"))?;
    Ok(v1::FinishLoginResponse {
        step: response::Step::Done.into(),
        message: "done".to_owned(),
        done: Some(response::Done {
            project: Some(project),
            created: done.created,
            account: done.account.unwrap_or_default(),
            proof_model: done.proof_model,
            proof_error: done.proof_error.unwrap_or_default(),
        }),
    })
}

fn refusal(error: LoginError) -> Status {
    match error {
        LoginError::Field(field, problem) => wrong(field, problem),
        LoginError::Answer(error) => wrong("answer", error.to_string()),
        LoginError::Refused(refused) => {
            let mut details = ErrorDetails::new();
            details.set_error_info(refused.reason, ERROR_DOMAIN, HashMap::new());
            for (title, url) in refused.links {
                details.add_help_link(title, url);
            }
            Status::with_error_details(Code::FailedPrecondition, refused.message, details)
        }
        LoginError::Unavailable(message) => {
            let info =
                ErrorDetails::with_error_info("GOOGLE_UNAVAILABLE", ERROR_DOMAIN, HashMap::new());
            Status::with_error_details(Code::Unavailable, message, info)
        }
        LoginError::Admin(AdminError::Store(error)) => {
            tracing::error!(%error, "a login cannot be stored");
            Status::internal(format!(
                "the login cannot be stored ({error}; is the disk full?); nothing was stored. Mend that, and log in \
                 again"
            ))
        }
        LoginError::Admin(error) => status(error),
        LoginError::Seal(error) => {
            tracing::error!(%error, "a login cannot be sealed");
            Status::internal("the login cannot be sealed")
        }
        LoginError::Gone => Status::cancelled("the caller has gone"),
    }
}

fn wrong(field: &str, problem: String) -> Status {
    let mut check = Check::default();
    check.wrong(field, problem);
    let status = check.done().err();
    status.unwrap_or_else(|| Status::internal("the request is wrong"))
}
