//! What can be wrong with a request, in the words that the client reads.

use crate::json::{MAX_DEPTH, Path, WrongType};

/// A request that cannot be served as it is: HTTP 400, `invalid_request_error`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidRequest {
    /// What is wrong and what would be right.
    pub message: String,
    /// The path of the parameter, as OpenAI writes it. `None`: the body as a whole.
    pub param: Option<String>,
    /// OpenAI's code for it.
    pub code: Code,
}

/// OpenAI's `error.code` of a refused request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The body is not JSON.
    InvalidJson,
    /// A parameter has the wrong type.
    InvalidType,
    /// A parameter has a value that is not allowed.
    InvalidValue,
    /// A parameter is missing.
    MissingParameter,
    /// A parameter or a form of it that this gateway does not serve.
    UnsupportedParameter,
}

impl Code {
    /// As it stands in the answer.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidType => "invalid_type",
            Self::InvalidValue => "invalid_value",
            Self::MissingParameter => "missing_required_parameter",
            Self::UnsupportedParameter => "unsupported_parameter",
        }
    }
}

impl InvalidRequest {
    /// A body that is not JSON at all.
    #[must_use]
    pub fn not_json(error: &serde_json::Error) -> Self {
        Self {
            message: format!(
                "We could not parse the JSON body of your request: it is not valid JSON \
                 (line {}, column {}).",
                error.line(),
                error.column()
            ),
            param: None,
            code: Code::InvalidJson,
        }
    }

    /// A value of the wrong type.
    #[must_use]
    pub fn wrong_type(path: &Path<'_>, wrong: WrongType) -> Self {
        let WrongType { expected, found } = wrong;
        Self {
            message: format!(
                "Invalid type for '{path}': expected {expected}, but got {found} instead."
            ),
            param: Some(path.to_string()),
            code: Code::InvalidType,
        }
    }

    /// A value that is not allowed; `why` is a sentence.
    #[must_use]
    pub fn value(path: &Path<'_>, why: impl std::fmt::Display) -> Self {
        Self {
            message: format!("Invalid value for '{path}': {why}"),
            param: Some(path.to_string()),
            code: Code::InvalidValue,
        }
    }

    /// A parameter that has to be there.
    #[must_use]
    pub fn missing(path: &Path<'_>) -> Self {
        Self {
            message: format!("Missing required parameter: '{path}'."),
            param: Some(path.to_string()),
            code: Code::MissingParameter,
        }
    }

    /// A parameter that is not served; `why` is a sentence.
    #[must_use]
    pub fn unsupported(path: &Path<'_>, why: impl std::fmt::Display) -> Self {
        Self {
            message: format!("Unsupported parameter: '{path}'. {why}"),
            param: Some(path.to_string()),
            code: Code::UnsupportedParameter,
        }
    }

    /// JSON that goes on as it came and is nested deeper than anybody takes.
    #[must_use]
    pub fn too_deep(path: &Path<'_>) -> Self {
        Self::value(
            path,
            format!("it is nested more than {MAX_DEPTH} levels deep."),
        )
    }

    /// As [`InvalidRequest::lone_surrogate`], in the name of a parameter.
    #[must_use]
    pub fn nameless_surrogate() -> Self {
        Self {
            message: "Invalid body: the name of a parameter holds half of a UTF-16 surrogate pair \
                      (such as \\ud800), which is not text."
                .to_owned(),
            param: None,
            code: Code::InvalidValue,
        }
    }

    /// Text with half of a surrogate pair, which is no text.
    #[must_use]
    pub fn lone_surrogate(path: &Path<'_>) -> Self {
        Self::value(
            path,
            "it holds half of a UTF-16 surrogate pair (such as \\ud800), which is not text. \
             Send the whole pair, or leave it out.",
        )
    }
}
