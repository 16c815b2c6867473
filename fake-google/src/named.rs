//! Google's errors by name: the bodies that its services are known to answer with, word for word.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::catalogue::Upstream;
use crate::endpoint::Endpoint;
use crate::fault::ErrorForm;
use crate::json::{Json, object};
use crate::oauth_error::OAuthError;
use crate::page;
use crate::spelling::{go_duration, seconds, whole_go_duration, whole_seconds};
use crate::status::Status;

/// An error that Google is known to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorName {
    /// 401, ACCESS_TOKEN_EXPIRED.
    Unauthenticated,
    /// 401, CREDENTIALS_MISSING.
    CredentialsMissing,
    /// 403, VALIDATION_REQUIRED with the address where the account can be verified.
    ValidationRequired,
    /// 403, SERVICE_DISABLED of the upstream's own API.
    ServiceDisabled,
    /// 403, CONSUMER_INVALID: a foreign or unknown project.
    ConsumerInvalid,
    /// 403, SUBSCRIPTION_REQUIRED.
    SubscriptionRequired,
    /// 403, the account was disabled for violating the terms of service.
    TermsOfService,
    /// 403, IAM_PERMISSION_DENIED of Vertex.
    IamPermissionDenied,
    /// 403, SECURITY_POLICY_VIOLATED (VPC service controls).
    SecurityPolicyViolated,
    /// 403, UNSUPPORTED_CLIENT.
    UnsupportedClient,
    /// 403 without any detail.
    PermissionDenied,
    /// 404, in the upstream's words for an unknown model.
    NotFound,
    /// 404 as HTML.
    HtmlNotFound,
    /// 400 without any detail.
    InvalidArgument,
    /// 400, API_KEY_INVALID.
    ApiKeyInvalid,
    /// 400 FAILED_PRECONDITION, the user's location.
    UserLocation,
    /// 400, more tokens than the model takes.
    ContextLength,
    /// 400, a call without its signature.
    MissingSignature,
    /// 400, `Corrupted thought signature.`
    CorruptedSignature,
    /// 400, the client's version.
    OldClient,
    /// 400 from Claude: the prompt is too long.
    ClaudePromptTooLong,
    /// 400 from Claude: prefill is not supported.
    ClaudePrefill,
    /// 429 form A: RATE_LIMIT_EXCEEDED, a short burst limit.
    RateLimited,
    /// 429 form B: QUOTA_EXHAUSTED, a window is used up.
    QuotaExhausted,
    /// 429 form B in its newer words.
    IndividualQuota,
    /// 429 form C: no details.
    ResourceExhausted,
    /// 429 form D: INSUFFICIENT_G1_CREDITS_BALANCE.
    InsufficientCredits,
    /// 429 form E: Vertex's shared capacity.
    VertexExhausted,
    /// 429 form F: the Gemini API's quota, with QuotaFailure, Help and RetryInfo.
    GeminiQuota,
    /// 429 form G: a per-project limit of the Gemini API or Vertex.
    ProjectRateLimited,
    /// 429 as HTML: Google's front end takes the caller for a robot.
    HtmlTooManyRequests,
    /// 503, MODEL_CAPACITY_EXHAUSTED with RetryInfo.
    CapacityExhausted,
    /// 503, MODEL_CAPACITY_EXHAUSTED without RetryInfo.
    CapacityExhaustedBare,
    /// 503, the model is overloaded.
    Overloaded,
    /// 500 INTERNAL.
    Internal,
    /// 500 UNKNOWN.
    Unknown,
    /// 502 as HTML.
    HtmlBadGateway,
    /// 504.
    DeadlineExceeded,
    /// 499.
    Cancelled,
    /// 503 without a body.
    Empty,
    /// Token endpoint: 400 invalid_grant, expired or revoked.
    InvalidGrant,
    /// Token endpoint: 400 invalid_grant, account deleted.
    AccountDeleted,
    /// Token endpoint: 400 invalid_grant with `error_subtype: invalid_rapt`.
    InvalidRapt,
    /// Token endpoint: 401 invalid_client.
    InvalidClient,
    /// Token endpoint: 401 unauthorized_client.
    UnauthorizedClient,
    /// Token endpoint: 400, `client_secret is missing.`
    ClientSecretMissing,
}

/// What an error's text refers to.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) upstream: Upstream,
    pub(crate) endpoint: Endpoint,
    pub(crate) version: &'a str,
    pub(crate) project: &'a str,
    pub(crate) model: &'a str,
    pub(crate) now: Timestamp,
}

/// An error ready to be sent.
#[derive(Debug)]
pub(crate) enum Rendered {
    Status(Box<Status>),
    Document(u16, Json),
    Html(u16, &'static str),
    Empty(u16),
}

impl From<OAuthError> for Rendered {
    fn from(error: OAuthError) -> Self {
        let (status, body) = error.answer();
        Self::Document(status, body)
    }
}

impl Context<'_> {
    pub(crate) fn domain(&self) -> &'static str {
        match self.upstream {
            Upstream::CodeAssist => "cloudcode-pa.googleapis.com",
            Upstream::Gemini => "googleapis.com",
            Upstream::Vertex => "aiplatform.googleapis.com",
        }
    }

    pub(crate) fn service(&self) -> &'static str {
        match self.upstream {
            Upstream::CodeAssist => "cloudcode-pa.googleapis.com",
            Upstream::Gemini => "generativelanguage.googleapis.com",
            Upstream::Vertex => "aiplatform.googleapis.com",
        }
    }

    fn method(&self) -> String {
        let rpc = self.endpoint.rpc();
        match self.upstream {
            Upstream::CodeAssist => {
                format!("google.internal.cloud.code.v1internal.PredictionService.{rpc}")
            }
            Upstream::Gemini => {
                format!("google.ai.generativelanguage.v1beta.GenerativeService.{rpc}")
            }
            Upstream::Vertex => format!("google.cloud.aiplatform.v1.PredictionService.{rpc}"),
        }
    }

    /// 401 for a token that is expired, revoked or unknown.
    pub(crate) fn unauthenticated(&self) -> Status {
        Status::unauthenticated(
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid \
             authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
        )
        .info("ACCESS_TOKEN_EXPIRED", "googleapis.com", self.method_metadata())
    }

    /// 401 for no token at all.
    pub(crate) fn credentials_missing(&self) -> Status {
        Status::unauthenticated(
            "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or \
             other valid authentication credential. See \
             https://developers.google.com/identity/sign-in/web/devconsole-project.",
        )
        .info("CREDENTIALS_MISSING", "googleapis.com", self.method_metadata())
    }

    fn method_metadata(&self) -> Json {
        object! { "method": self.method(), "service": self.service() }
    }

    /// 400 for an unknown API key.
    pub(crate) fn api_key_invalid(&self) -> Status {
        Status::invalid_argument("API key not valid. Please pass a valid API key.").info(
            "API_KEY_INVALID",
            "googleapis.com",
            object! { "service": self.service() },
        )
    }

    /// 403 for a project that the caller may not use, or that does not exist.
    pub(crate) fn consumer_invalid(&self) -> Status {
        let project = self.project;
        Status::permission_denied(format!("Permission denied on resource project {project}.")).info(
            "CONSUMER_INVALID",
            "googleapis.com",
            object! { "service": self.service(), "consumer": format!("projects/{project}"), "containerInfo": project },
        )
    }

    /// 403 for a project that does not have the API.
    pub(crate) fn service_disabled(&self) -> Status {
        let (project, service) = (self.project, self.service());
        let title = match self.upstream {
            Upstream::CodeAssist => "Cloud Code Private API",
            Upstream::Gemini => "Generative Language API",
            Upstream::Vertex => "Vertex AI API",
        };
        let url = format!(
            "https://console.developers.google.com/apis/api/{service}/overview?project={project}"
        );
        Status::permission_denied(format!(
            "{title} has not been used in project {project} before or it is disabled. Enable it by visiting {url} then \
             retry. If you enabled this API recently, wait a few minutes for the action to propagate to our systems \
             and retry."
        ))
        .info(
            "SERVICE_DISABLED",
            "googleapis.com",
            object! {
                "service": service,
                "serviceTitle": title,
                "consumer": format!("projects/{project}"),
                "containerInfo": project,
                "activationUrl": url,
            },
        )
    }

    /// 403 of Vertex for a project that is not the caller's.
    pub(crate) fn iam_permission_denied(&self) -> Status {
        let resource = format!(
            "projects/{}/locations/us-central1/publishers/google/models/{}",
            self.project, self.model
        );
        Status::permission_denied(format!(
            "Permission 'aiplatform.endpoints.predict' denied on resource '//aiplatform.googleapis.com/{resource}' (or \
             it may not exist)."
        ))
        .info(
            "IAM_PERMISSION_DENIED",
            "aiplatform.googleapis.com",
            object! { "permission": "aiplatform.endpoints.predict", "resource": resource },
        )
    }

    /// 404 for an unknown model.
    pub(crate) fn model_not_found(&self) -> Status {
        let model = self.model;
        match self.upstream {
            Upstream::CodeAssist => Status::not_found("Requested entity was not found."),
            Upstream::Gemini => Status::not_found(format!(
                "models/{model} is not found for API version {}, or is not supported for {}. Call ListModels to see \
                 the list of available models and their supported methods.",
                self.version,
                lower_first(self.endpoint.rpc()),
            )),
            Upstream::Vertex => Status::not_found(format!(
                "Publisher Model `projects/{}/locations/us-central1/publishers/google/models/{model}` was not found or \
                 your project does not have access to it. Please ensure you are using a valid model version.",
                self.project,
            )),
        }
    }

    /// 400 for a prompt of `tokens` where the model takes `limit`.
    pub(crate) fn context_length(&self, tokens: u64, limit: u64) -> Status {
        if self.model.starts_with("claude") {
            return claude_error(&format!(
                "prompt is too long: {tokens} tokens > {limit} maximum"
            ));
        }
        Status::invalid_argument(format!(
            "The input token count ({tokens}) exceeds the maximum number of tokens allowed ({limit})."
        ))
    }

    /// 429 for a window that is used up until `reset`, in the upstream's words.
    pub(crate) fn window_used_up(&self, left: Duration, limit: u64) -> Status {
        match self.upstream {
            Upstream::CodeAssist => self.code_assist_limit("QUOTA_EXHAUSTED", left),
            Upstream::Gemini => self.gemini_quota(left, limit),
            Upstream::Vertex => self.project_rate_limited(limit),
        }
    }

    fn code_assist_limit(&self, reason: &str, left: Duration) -> Status {
        let reset = self.now + SignedDuration::try_from(left).unwrap_or(SignedDuration::ZERO);
        let spelled = if reason == "RATE_LIMIT_EXCEEDED" {
            format!("{:.6}ms", left.as_secs_f64() * 1000.0)
        } else {
            go_duration(left)
        };
        Status::exhausted(format!(
            "You have exhausted your capacity on this model. Your quota will reset after {}.",
            whole_go_duration(left)
        ))
        .info(
            reason,
            self.domain(),
            object! {
                "uiMessage": "true",
                "model": self.model,
                "quotaResetDelay": spelled,
                "quotaResetTimeStamp": whole_seconds(reset),
            },
        )
        .retry(&seconds(left))
    }

    fn gemini_quota(&self, left: Duration, limit: u64) -> Status {
        let metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests";
        Status::exhausted(format!(
            "You exceeded your current quota, please check your plan and billing details. For more information on this \
             error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.\n* Quota exceeded for metric: \
             {metric}, limit: {limit}\nPlease retry in {}.",
            seconds(left)
        ))
        .detail(object! {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [object! {
                "quotaMetric": metric,
                "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
                "quotaDimensions": object! { "location": "global", "model": self.model },
                "quotaValue": limit.to_string(),
            }],
        })
        .detail(object! {
            "@type": "type.googleapis.com/google.rpc.Help",
            "links": [object! {
                "description": "Learn more about Gemini API quotas",
                "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
            }],
        })
        .retry(&format!("{}s", left.as_secs()))
    }

    fn project_rate_limited(&self, limit: u64) -> Status {
        let service = self.service();
        Status::exhausted(format!(
            "Quota exceeded for quota metric 'Generate Content API requests per minute' and limit 'GenerateContent \
             request limit per minute for a region' of service '{service}' for consumer 'project_number:{}'.",
            self.project
        ))
        .info(
            "RATE_LIMIT_EXCEEDED",
            "googleapis.com",
            object! {
                "service": service,
                "consumer": format!("projects/{}", self.project),
                "quota_limit": "GenerateContentRequestsPerMinutePerProjectPerRegion",
                "quota_limit_value": limit.to_string(),
                "quota_location": "us-central1",
                "quota_metric": format!("{service}/generate_content_requests"),
            },
        )
        .legacy("rateLimitExceeded")
    }

    fn validation_required(&self) -> Status {
        let url = "https://accounts.google.com/signin/continue?sarp=1&scc=1&continue=verify";
        Status::permission_denied("Verify your account to continue.")
            .info(
                "VALIDATION_REQUIRED",
                "cloudcode-pa.googleapis.com",
                object! {
                    "validation_url": url,
                    "validation_url_link_text": "Verify your account",
                    "validation_error_message": "Verify your account to continue.",
                    "validation_learn_more_url": "https://support.google.com/accounts?p=al_alert",
                    "validation_learn_more_link_text": "Learn more",
                },
            )
            .detail(object! {
                "@type": "type.googleapis.com/google.rpc.Help",
                "links": [object! { "description": "Verify your account", "url": url }],
            })
    }

    fn capacity_exhausted(&self) -> Status {
        Status::unavailable(format!(
            "No capacity available for model {} on the server",
            self.model
        ))
        .info(
            "MODEL_CAPACITY_EXHAUSTED",
            self.domain(),
            object! { "model": self.model },
        )
    }

    /// The error of that name; `retry_after` replaces what it says about when to come back.
    pub(crate) fn named(&self, name: ErrorName, retry_after: Option<Duration>) -> Rendered {
        let within = |default: f64| retry_after.unwrap_or(Duration::from_secs_f64(default));
        let info = |message: &str, reason: &str, domain: &str| {
            Status::permission_denied(message).info(reason, domain, Json::Null)
        };
        let status = match name {
            ErrorName::Unauthenticated => self.unauthenticated(),
            ErrorName::CredentialsMissing => self.credentials_missing(),
            ErrorName::ValidationRequired => self.validation_required(),
            ErrorName::ServiceDisabled => self.service_disabled(),
            ErrorName::ConsumerInvalid => self.consumer_invalid(),
            ErrorName::SubscriptionRequired => info(
                "You are currently configured to use a Google Cloud Project but lack a Gemini Code Assist license. \
                 Please contact your administrator to request a license. (#3501)",
                "SUBSCRIPTION_REQUIRED",
                "cloudaicompanion.googleapis.com",
            ),
            ErrorName::TermsOfService => Status::permission_denied(
                "This service has been disabled in this account for violation of Terms of Service. Please submit an \
                 appeal to continue using this product.",
            ),
            ErrorName::IamPermissionDenied => self.iam_permission_denied(),
            ErrorName::SecurityPolicyViolated => info(
                "Request is prohibited by organization's policy.",
                "SECURITY_POLICY_VIOLATED",
                "googleapis.com",
            ),
            ErrorName::UnsupportedClient => {
                info("This client is not supported for this account.", "UNSUPPORTED_CLIENT", self.domain())
            }
            ErrorName::PermissionDenied => Status::permission_denied("The caller does not have permission"),
            ErrorName::NotFound => self.model_not_found(),
            ErrorName::InvalidArgument => Status::invalid_argument("Request contains an invalid argument."),
            ErrorName::ApiKeyInvalid => self.api_key_invalid(),
            ErrorName::UserLocation => {
                Status::new(400, "FAILED_PRECONDITION", "User location is not supported for the API use.")
            }
            ErrorName::ContextLength => self.context_length(1_200_293, 1_048_576),
            ErrorName::MissingSignature => missing_signature(self.upstream, "tool", 2),
            ErrorName::CorruptedSignature => corrupted_signature(),
            ErrorName::OldClient => Status::invalid_argument(OLD_CLIENT),
            ErrorName::ClaudePromptTooLong => claude_error("prompt is too long: 210000 tokens > 200000 maximum"),
            ErrorName::ClaudePrefill => claude_error(
                "This model does not support assistant message prefill. The conversation must end with a user message.",
            ),
            ErrorName::RateLimited => self.code_assist_limit("RATE_LIMIT_EXCEEDED", within(0.479_417_207)),
            ErrorName::QuotaExhausted => self.code_assist_limit("QUOTA_EXHAUSTED", within(581_981.300_432_511)),
            ErrorName::IndividualQuota => Status::exhausted(format!(
                "Individual quota reached. Please upgrade your subscription to increase your limits. Resets in {}.",
                whole_go_duration(within(33_740.0))
            )),
            ErrorName::ResourceExhausted => Status::exhausted("Resource has been exhausted (e.g. check quota)."),
            ErrorName::InsufficientCredits => Status::exhausted("Resource has been exhausted (e.g. check quota).").info(
                "INSUFFICIENT_G1_CREDITS_BALANCE",
                self.domain(),
                object! { "model": self.model },
            ),
            ErrorName::VertexExhausted => Status::exhausted(
                "Resource exhausted. Please try again later. Please refer to \
                 https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429 for more details.",
            )
            .legacy("rateLimitExceeded"),
            ErrorName::GeminiQuota => self.gemini_quota(within(56.185_908_122), 2),
            ErrorName::ProjectRateLimited => self.project_rate_limited(60),
            ErrorName::CapacityExhausted => self.capacity_exhausted().retry(&seconds(within(40.0))),
            ErrorName::CapacityExhaustedBare => self.capacity_exhausted(),
            ErrorName::Overloaded => Status::unavailable("The model is overloaded. Please try again later."),
            ErrorName::Internal => Status::new(500, "INTERNAL", "Internal error encountered."),
            ErrorName::Unknown => Status::new(500, "UNKNOWN", "Unknown Error."),
            ErrorName::DeadlineExceeded => {
                Status::new(504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete.")
            }
            ErrorName::Cancelled => Status::new(499, "CANCELLED", "The operation was cancelled."),
            ErrorName::HtmlNotFound => return Rendered::Html(404, page::NOT_FOUND),
            ErrorName::HtmlTooManyRequests => return Rendered::Html(429, page::TOO_MANY_REQUESTS),
            ErrorName::HtmlBadGateway => return Rendered::Html(502, page::BAD_GATEWAY),
            ErrorName::Empty => return Rendered::Empty(503),
            ErrorName::InvalidGrant => return OAuthError::Revoked.into(),
            ErrorName::AccountDeleted => return OAuthError::AccountDeleted.into(),
            ErrorName::InvalidRapt => return OAuthError::InvalidRapt.into(),
            ErrorName::InvalidClient => return OAuthError::ClientNotFound.into(),
            ErrorName::UnauthorizedClient => return OAuthError::UnauthorizedClient.into(),
            ErrorName::ClientSecretMissing => return OAuthError::ClientSecretMissing.into(),
        };
        Rendered::Status(Box::new(status))
    }
}

impl Status {
    /// The document in one of the forms that clients have to cope with.
    pub(crate) fn in_form(&self, form: ErrorForm) -> Json {
        match form {
            ErrorForm::Object => self.to_json(),
            ErrorForm::Array => Json::from([self.to_json()]),
            ErrorForm::Nested => {
                let mut outer = self.clone();
                outer.message = self.to_json().to_pretty();
                outer.to_json()
            }
        }
    }
}

/// What a client of an old version is told, as an error or as the model's words.
pub(crate) const OLD_CLIENT: &str = "This version of Antigravity is no longer supported. Please update to receive the latest features!";

/// 400 for a signature that nobody issued.
pub(crate) fn corrupted_signature() -> Status {
    Status::invalid_argument("Corrupted thought signature.")
}

/// 400 for a call without its signature; `position` counts contents from 1.
pub(crate) fn missing_signature(upstream: Upstream, function: &str, position: usize) -> Status {
    Status::invalid_argument(match upstream {
        Upstream::Vertex => format!(
            "Unable to submit request because function call `{function}` in the {position}. content block is missing a \
             `thought_signature`. Learn more: https://docs.cloud.google.com/vertex-ai/generative-ai/docs/thought-signatures"
        ),
        Upstream::CodeAssist | Upstream::Gemini => format!(
            "Function call is missing a thought_signature in functionCall parts. This is required for tools to work \
             correctly, and missing thought_signature may lead to degraded model performance. Additional data, \
             function call `default_api:{function}` , position {position}. Please refer to \
             https://ai.google.dev/gemini-api/docs/thought-signatures for more details."
        ),
    })
}

/// 400 as it comes from a Claude model: Anthropic's document as the message of Google's.
pub(crate) fn claude_error(message: &str) -> Status {
    let nested = object! {
        "type": "error",
        "error": object! { "type": "invalid_request_error", "message": message },
        "request_id": "req_vrtx_011CfakeFakeFakeFakeFake",
    };
    Status::invalid_argument(nested.to_line())
}

fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}
