//! What Claude models refuse on top, in Anthropic's words.

use crate::json::Json;
use crate::named::claude_error;
use crate::status::Status;

/// Checks the contents of a request to a Claude model.
pub(crate) fn check(contents: &[Json]) -> Result<(), Status> {
    for content in contents {
        let empty = |part: &Json| {
            let thought = part.get("thought").and_then(Json::as_bool) == Some(true);
            !thought && part.get("text").and_then(Json::as_str) == Some("")
        };
        if content
            .get("parts")
            .map(Json::items)
            .unwrap_or_default()
            .iter()
            .any(empty)
        {
            return Err(claude_error(
                "messages: text content blocks must be non-empty",
            ));
        }
    }
    let last = contents.last();
    let answered = |content: &Json| {
        let parts = content.get("parts").map(Json::items).unwrap_or_default();
        parts.iter().any(|part| {
            part.either("functionResponse", "function_response")
                .is_some()
        })
    };
    if last.is_some_and(|last| {
        last.get("role").and_then(Json::as_str) == Some("model") && !answered(last)
    }) {
        return Err(claude_error(
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        ));
    }
    Ok(())
}
