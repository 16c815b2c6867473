//! `Debug` for the messages that carry secrets: the fields that name things, and
//! nothing that opens anything.

use std::fmt;

use crate::v1::{
    AccessToken, BackUpResponse, BeginLoginResponse, CreateProjectRequest, ExportProjectsRequest,
    FinishLoginRequest, ImportProjectsRequest, PutOAuthClientRequest, RestoreRequest,
    UpdateProjectRequest, import_projects_request, restore_request,
};

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("project_id", &self.project_id)
            .field("google_project_id", &self.google_project_id)
            .field("upstream", &self.upstream)
            .field("location", &self.location)
            .field("scheme", &self.scheme)
            .field("expires_at", &self.expires_at)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CreateProjectRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateProjectRequest")
            .field("project", &self.project)
            .field("check", &self.check)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for UpdateProjectRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpdateProjectRequest")
            .field("project", &self.project)
            .field("update_mask", &self.update_mask)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ExportProjectsRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportProjectsRequest")
            .field("ids", &self.ids)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PutOAuthClientRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutOAuthClientRequest")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for BeginLoginResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BeginLoginResponse")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for FinishLoginRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FinishLoginRequest").finish_non_exhaustive()
    }
}

impl fmt::Debug for ImportProjectsRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportProjectsRequest")
            .field("payload", &self.payload)
            .finish()
    }
}

impl fmt::Debug for import_projects_request::Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options(options) => f.debug_tuple("Options").field(options).finish(),
            Self::TokensJson(piece) => write!(f, "TokensJson({} bytes)", piece.len()),
            Self::SealedExport(piece) => write!(f, "SealedExport({} bytes)", piece.len()),
        }
    }
}

impl fmt::Debug for import_projects_request::Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("overwrite", &self.overwrite)
            .field("default_upstream", &self.default_upstream)
            .field("dry_run", &self.dry_run)
            .field("default_oauth_client_id", &self.default_oauth_client_id)
            .field("default_google_project_id", &self.default_google_project_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for BackUpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackUpResponse({} bytes)", self.backup.len())
    }
}

impl fmt::Debug for RestoreRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestoreRequest")
            .field("payload", &self.payload)
            .finish()
    }
}

impl fmt::Debug for restore_request::Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options(options) => f.debug_tuple("Options").field(options).finish(),
            Self::Backup(piece) => write!(f, "Backup({} bytes)", piece.len()),
        }
    }
}

impl fmt::Debug for restore_request::Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_tells_no_secret() {
        let token = AccessToken {
            access_token: "ya29.planted".into(),
            ..Default::default()
        };
        let create = CreateProjectRequest {
            refresh_token: "planted".into(),
            access_token: "planted".into(),
            service_account_key: "planted".into(),
            api_key: "planted".into(),
            ..Default::default()
        };
        let update = UpdateProjectRequest {
            refresh_token: "planted".into(),
            service_account_key: "planted".into(),
            api_key: "planted".into(),
            ..Default::default()
        };
        let export = ExportProjectsRequest {
            passphrase: "planted".into(),
            ..Default::default()
        };
        let client = PutOAuthClientRequest {
            client_secret: "planted".into(),
            ..Default::default()
        };
        let begun = BeginLoginResponse {
            authorization_url: "https://example.com/?state=planted".into(),
            login: "planted".into(),
            ..Default::default()
        };
        let finish = FinishLoginRequest {
            login: "planted".into(),
            answer: "planted".into(),
        };
        let import = ImportProjectsRequest {
            payload: Some(import_projects_request::Payload::Options(
                import_projects_request::Options {
                    passphrase: "planted".into(),
                    ..Default::default()
                },
            )),
        };
        let file = ImportProjectsRequest {
            payload: Some(import_projects_request::Payload::TokensJson(
                b"planted".to_vec(),
            )),
        };
        let restore = RestoreRequest {
            payload: Some(restore_request::Payload::Options(
                restore_request::Options {
                    encryption_keys: "planted".into(),
                },
            )),
        };
        let backup = BackUpResponse {
            backup: b"planted".to_vec(),
        };
        let told = format!(
            "{token:?} {create:?} {update:?} {export:?} {client:?} {import:?} {file:?} {begun:?} \
             {finish:?} {restore:?} {backup:?}"
        );
        assert!(!told.contains("planted"), "{told}");
        let bytes = format!("{:?}", b"planted".to_vec());
        assert!(!told.contains(&bytes), "{told}");
    }
}
