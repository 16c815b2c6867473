//! Which models share a quota at Google: part of the contract, since gateways and
//! the token-service have to agree on it.

use crate::v1::Upstream;

/// The group of `model` on `upstream`.
///
/// Code Assist keeps two pools per account, one for Gemini and one for the models of
/// others (`retrieveUserQuotaSummary` names them "Gemini Models" and "Claude and GPT
/// models"). The Gemini API and Vertex AI count each model apart.
#[must_use]
pub fn model_group(upstream: Upstream, model: &str) -> &str {
    match upstream {
        Upstream::Antigravity if model.starts_with("claude") || model.starts_with("gpt-") => "3p",
        Upstream::Antigravity => "gemini",
        Upstream::Gemini | Upstream::Vertex | Upstream::Unspecified => model,
    }
}

/// The first rest of a project after a limit of which Google does not say when it ends: both
/// sides let it rest at once, and the token-service longer when it comes again.
pub const UNSTATED_REST: std::time::Duration = std::time::Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups() {
        for (upstream, model, group) in [
            (Upstream::Antigravity, "gemini-3.8-flash-high", "gemini"),
            (Upstream::Antigravity, "claude-opus-4-6-thinking", "3p"),
            (Upstream::Antigravity, "gpt-oss-120b-medium", "3p"),
            (Upstream::Gemini, "gemini-2.5-pro", "gemini-2.5-pro"),
        ] {
            assert_eq!(model_group(upstream, model), group);
        }
    }
}
