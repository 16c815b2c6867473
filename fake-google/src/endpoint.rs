//! What a request is for, as its method and path tell.

use http::Method;
use serde::{Deserialize, Serialize};

use crate::catalogue::Upstream;

/// One of the things that can be asked for; scripted faults and counters go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /token`
    #[serde(rename = "oauth_token")]
    OAuthToken,
    /// `GET /o/oauth2/v2/auth`, and `POST` from its own page
    #[serde(rename = "oauth_authorize")]
    OAuthAuthorize,
    /// `POST /revoke`
    #[serde(rename = "oauth_revoke")]
    OAuthRevoke,
    /// `GET /tokeninfo`
    TokenInfo,
    /// `GET /oauth2/v2/userinfo`
    UserInfo,
    /// `POST /v1internal:loadCodeAssist`
    LoadCodeAssist,
    /// `POST /v1internal:onboardUser`
    OnboardUser,
    /// `GET /v1internal/operations/*`
    Operation,
    /// `POST /v1internal:fetchAvailableModels`
    FetchAvailableModels,
    /// `POST /v1internal:retrieveUserQuotaSummary`
    RetrieveUserQuotaSummary,
    /// `POST /v1internal:retrieveUserQuota`
    RetrieveUserQuota,
    /// `:generateContent` of any upstream
    GenerateContent,
    /// `:streamGenerateContent` of any upstream
    StreamGenerateContent,
    /// `:countTokens` of any upstream
    CountTokens,
    /// `:embedContent`
    EmbedContent,
    /// `:batchEmbedContents`
    BatchEmbedContents,
    /// The list of models
    ListModels,
    /// One model of the list
    GetModel,
}

impl Endpoint {
    /// The name in counters and in scripted faults over HTTP.
    pub fn name(self) -> &'static str {
        match self {
            Self::OAuthToken => "oauth_token",
            Self::OAuthAuthorize => "oauth_authorize",
            Self::OAuthRevoke => "oauth_revoke",
            Self::TokenInfo => "token_info",
            Self::UserInfo => "user_info",
            Self::LoadCodeAssist => "load_code_assist",
            Self::OnboardUser => "onboard_user",
            Self::Operation => "operation",
            Self::FetchAvailableModels => "fetch_available_models",
            Self::RetrieveUserQuotaSummary => "retrieve_user_quota_summary",
            Self::RetrieveUserQuota => "retrieve_user_quota",
            Self::GenerateContent => "generate_content",
            Self::StreamGenerateContent => "stream_generate_content",
            Self::CountTokens => "count_tokens",
            Self::EmbedContent => "embed_content",
            Self::BatchEmbedContents => "batch_embed_contents",
            Self::ListModels => "list_models",
            Self::GetModel => "get_model",
        }
    }

    /// Whether it makes content, unary or streamed.
    pub fn generates(self) -> bool {
        matches!(self, Self::GenerateContent | Self::StreamGenerateContent)
    }

    fn of_method(method: &str) -> Option<Self> {
        Some(match method {
            "generateContent" => Self::GenerateContent,
            "streamGenerateContent" => Self::StreamGenerateContent,
            "countTokens" => Self::CountTokens,
            "embedContent" => Self::EmbedContent,
            "batchEmbedContents" => Self::BatchEmbedContents,
            _ => return None,
        })
    }

    /// The RPC's name, as error details spell it. OAuth has none, and its errors name none.
    pub(crate) fn rpc(self) -> &'static str {
        match self {
            Self::LoadCodeAssist => "LoadCodeAssist",
            Self::OnboardUser => "OnboardUser",
            Self::Operation => "GetOperation",
            Self::FetchAvailableModels => "FetchAvailableModels",
            Self::RetrieveUserQuotaSummary => "RetrieveUserQuotaSummary",
            Self::RetrieveUserQuota => "RetrieveUserQuota",
            Self::StreamGenerateContent => "StreamGenerateContent",
            Self::CountTokens => "CountTokens",
            Self::EmbedContent => "EmbedContent",
            Self::BatchEmbedContents => "BatchEmbedContents",
            Self::ListModels => "ListModels",
            Self::GetModel => "GetModel",
            Self::GenerateContent
            | Self::OAuthToken
            | Self::OAuthAuthorize
            | Self::OAuthRevoke
            | Self::TokenInfo
            | Self::UserInfo => "GenerateContent",
        }
    }
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) endpoint: Endpoint,
    /// Nothing for OAuth.
    pub(crate) upstream: Option<Upstream>,
    /// The API version of the path, for error texts.
    pub(crate) version: String,
    /// Google project of the path (Vertex).
    pub(crate) project: Option<String>,
    /// Model of the path, bare; or the operation's name.
    pub(crate) name: Option<String>,
}

impl Route {
    /// Reads method and path; nothing when this Google has no such thing.
    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        let route = |endpoint, upstream| Self {
            endpoint,
            upstream,
            version: String::new(),
            project: None,
            name: None,
        };
        let get = method == Method::GET;
        let post = method == Method::POST;
        match path {
            "/token" if post => return Some(route(Endpoint::OAuthToken, None)),
            "/o/oauth2/v2/auth" if get || post => {
                return Some(route(Endpoint::OAuthAuthorize, None));
            }
            "/revoke" if post || get => return Some(route(Endpoint::OAuthRevoke, None)),
            "/tokeninfo" | "/oauth2/v3/tokeninfo" => return Some(route(Endpoint::TokenInfo, None)),
            "/oauth2/v1/userinfo" | "/oauth2/v2/userinfo" | "/oauth2/v3/userinfo" if get => {
                return Some(route(Endpoint::UserInfo, None));
            }
            _ => {}
        }
        if let Some(method) = path.strip_prefix("/v1internal:").filter(|_| post) {
            let endpoint = match method {
                "loadCodeAssist" => Endpoint::LoadCodeAssist,
                "onboardUser" => Endpoint::OnboardUser,
                "fetchAvailableModels" => Endpoint::FetchAvailableModels,
                "retrieveUserQuotaSummary" => Endpoint::RetrieveUserQuotaSummary,
                "retrieveUserQuota" => Endpoint::RetrieveUserQuota,
                "generateContent" | "streamGenerateContent" | "countTokens" => {
                    Endpoint::of_method(method)?
                }
                _ => return None,
            };
            return Some(route(endpoint, Some(Upstream::CodeAssist)));
        }
        if let Some(name) = path.strip_prefix("/v1internal/").filter(|_| get) {
            let operation = Self {
                name: Some(name.to_owned()),
                ..route(Endpoint::Operation, Some(Upstream::CodeAssist))
            };
            return name.starts_with("operations/").then_some(operation);
        }
        let (version, rest) = path.strip_prefix('/')?.split_once('/')?;
        if !matches!(version, "v1" | "v1beta" | "v1alpha" | "v1beta1") {
            return None;
        }
        let mut found = Self::of_resource(method, rest)?;
        version.clone_into(&mut found.version);
        Some(found)
    }

    fn of_resource(method: &Method, rest: &str) -> Option<Self> {
        let (upstream, project, models) = if let Some(models) = rest.strip_prefix("models") {
            (Upstream::Gemini, None, models)
        } else if let Some(models) = rest.strip_prefix("publishers/google/models") {
            (Upstream::Vertex, None, models)
        } else {
            let (project, rest) = rest.strip_prefix("projects/")?.split_once("/locations/")?;
            let (_location, models) = rest.split_once("/publishers/google/models")?;
            (Upstream::Vertex, Some(project.to_owned()), models)
        };
        let (endpoint, name) = match models.strip_prefix('/') {
            None if models.is_empty() && method == Method::GET => (Endpoint::ListModels, None),
            None => return None,
            Some(name) => match name.rsplit_once(':') {
                Some((name, verb)) if method == Method::POST => {
                    (Endpoint::of_method(verb)?, Some(name))
                }
                None if method == Method::GET => (Endpoint::GetModel, Some(name)),
                _ => return None,
            },
        };
        if upstream == Upstream::Vertex && endpoint == Endpoint::BatchEmbedContents {
            return None;
        }
        Some(Self {
            endpoint,
            upstream: Some(upstream),
            version: String::new(),
            project,
            name: name.map(str::to_owned),
        })
    }
}
