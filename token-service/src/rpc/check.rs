//! Checks fields of requests and collects all that is wrong with them.

use jiff::Timestamp;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use antigravity_proto::v1;

use crate::{limits, project::Upstream};

/// The violations of one request.
#[derive(Debug, Default)]
pub(super) struct Check(Vec<FieldViolation>);

impl Check {
    /// One more violation.
    pub(super) fn wrong(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push(FieldViolation::new(field, problem));
    }

    /// INVALID_ARGUMENT with google.rpc.BadRequest when there was any.
    pub(super) fn done(self) -> Result<(), Status> {
        let Some(first) = self.0.first() else {
            return Ok(());
        };
        let message = format!("{} {}", first.field, first.description);
        let details = ErrorDetails::with_bad_request(self.0);
        Err(Status::with_error_details(
            Code::InvalidArgument,
            message,
            details,
        ))
    }

    pub(super) fn id(&mut self, field: &str, id: &str) {
        if !limits::is_id(id) {
            self.wrong(field, "is not 1 to 128 characters of [A-Za-z0-9._:@-]");
        }
    }

    pub(super) fn google_project_id(&mut self, field: &str, id: &str) {
        if limits::is_project_number(id) {
            self.wrong(
                field,
                "is a project number; the project id (like my-project-123) is wanted",
            );
        } else {
            self.id(field, id);
        }
    }

    pub(super) fn secret(&mut self, field: &str, secret: &str) {
        if secret.is_empty() {
            self.wrong(field, "is missing");
        } else if secret.len() > limits::SECRET {
            self.wrong(field, format!("has more than {} bytes", limits::SECRET));
        } else if !limits::is_token(secret) {
            self.wrong(field, "holds a space or a control character");
        }
    }

    pub(super) fn at_most(&mut self, field: &str, found: usize, limit: usize) {
        if found > limit {
            self.wrong(
                field,
                format!("has {found} entries; at most {limit} are taken"),
            );
        }
    }

    pub(super) fn display_name(&mut self, field: &str, name: &str) {
        if name.chars().count() > limits::DISPLAY_NAME {
            self.wrong(
                field,
                format!("has more than {} characters", limits::DISPLAY_NAME),
            );
        }
        if !limits::is_showable(name) {
            self.wrong(field, "has a control character in it");
        }
    }

    pub(super) fn location(&mut self, field: &str, location: &str) {
        if !crate::tokens_file::is_location(location) {
            self.wrong(
                field,
                "is not a Vertex location such as global or europe-west1",
            );
        }
    }

    pub(super) fn client_id(&mut self, field: &str, client_id: &str) {
        let fits = (1..=limits::CLIENT_ID).contains(&client_id.len());
        if !fits || !limits::is_token(client_id) {
            self.wrong(field, "is not the id of an OAuth client");
        }
    }

    /// `None` when it is unspecified, or wrong.
    pub(super) fn upstream(&mut self, field: &str, upstream: i32) -> Option<Upstream> {
        match v1::Upstream::try_from(upstream) {
            Ok(v1::Upstream::Unspecified) => None,
            Ok(v1::Upstream::Antigravity) => Some(Upstream::Antigravity),
            Ok(v1::Upstream::Gemini) => Some(Upstream::Gemini),
            Ok(v1::Upstream::Vertex) => Some(Upstream::Vertex),
            Err(_) => {
                self.wrong(field, format!("has the value {upstream}, which is unknown"));
                None
            }
        }
    }

    /// `None` when it is absent, or wrong.
    pub(super) fn time(
        &mut self,
        field: &str,
        time: Option<prost_types::Timestamp>,
    ) -> Option<Timestamp> {
        let time = time?;
        let read = Timestamp::new(time.seconds, time.nanos);
        if read.is_err() || !(0..1_000_000_000).contains(&time.nanos) {
            self.wrong(field, "is not a time between the years 1 and 9999");
        }
        read.ok()
    }
}

/// INVALID_ARGUMENT for one field.
pub(super) fn invalid(field: &str, problem: &str) -> Status {
    let mut check = Check::default();
    check.wrong(field, problem);
    check
        .done()
        .err()
        .unwrap_or_else(|| Status::invalid_argument(format!("{field} {problem}")))
}
