//! Thought signatures: were they issued, and are they what the model's family takes?

use super::Leniency;
use crate::catalogue::is_gemini_3;
use crate::json::Json;
use crate::named::{Context, claude_error, corrupted_signature};
use crate::signature::{Verdict, judge};
use crate::status::Status;

/// What the signatures of a request turned out to be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) real: u64,
    pub(crate) dummy: u64,
    pub(crate) corrupt: u64,
    /// Calls that needed one and had none.
    pub(crate) missing: u64,
}

/// Judges every signature of a request; refuses it for one that the model would refuse.
pub(crate) fn check(
    request: &Json,
    context: &Context<'_>,
    leniency: Leniency,
    seen: &mut Seen,
) -> Result<(), Status> {
    let claude = context.model.starts_with("claude");
    let mut result = Ok(());
    for (nth, content) in request
        .get("contents")
        .map(Json::items)
        .unwrap_or_default()
        .iter()
        .enumerate()
    {
        for (of, part) in content
            .get("parts")
            .map(Json::items)
            .unwrap_or_default()
            .iter()
            .enumerate()
        {
            let signature = part
                .either("thoughtSignature", "thought_signature")
                .and_then(Json::as_str);
            let Some(signature) = signature.filter(|signature| !signature.is_empty()) else {
                continue;
            };
            let verdict = judge(signature);
            match verdict {
                Verdict::Real => seen.real += 1,
                Verdict::Dummy => seen.dummy += 1,
                Verdict::Corrupt => seen.corrupt += 1,
            }
            if leniency.any_signature || result.is_err() {
                continue;
            }
            let thought = part.get("thought").and_then(Json::as_bool) == Some(true);
            if claude && thought && verdict != Verdict::Real {
                result = Err(claude_error(&format!(
                    "messages.{nth}.content.{of}: Invalid `signature` in `thinking` block"
                )));
            } else if is_gemini_3(context.model) && verdict == Verdict::Corrupt {
                result = Err(corrupted_signature());
            }
        }
    }
    result
}
