//! Whether a request is one that Google would take: its shape by Google's published definitions, then the rules that no
//! definition tells.

mod claude;
mod declarations;
mod rules;
mod schema;
mod settings;
mod shape;
mod signatures;
mod turns;

use crate::catalogue::Upstream;
use crate::endpoint::Endpoint;
use crate::json::Json;
use crate::named::Context;
use crate::status::Status;

pub(crate) use signatures::Seen;

/// What this Google is lenient or strict about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leniency {
    pub(crate) any_signature: bool,
    pub(crate) penalties: bool,
    pub(crate) logprobs: bool,
    pub(crate) max_candidates: u32,
    /// Whether the model thinks at all; unknown models get the benefit of the doubt.
    pub(crate) thinks: bool,
}

/// Checks a request's body, Code Assist's envelope included. `seen` counts its signatures in any case.
pub(crate) fn check(
    document: &Json,
    context: &Context<'_>,
    leniency: Leniency,
    seen: &mut Seen,
) -> Result<(), Status> {
    shape::check(document, context.upstream, root(context)?)?;
    let empty = Json::Object(Default::default());
    let request = match context.upstream {
        Upstream::CodeAssist => document.get("request").unwrap_or(&empty),
        Upstream::Gemini | Upstream::Vertex => document,
    };
    let judged = rules::check(request, context, leniency, seen);
    let judged_signatures = signatures::check(request, context, leniency, seen);
    judged.and(judged_signatures)
}

/// The message that the body of a method is.
fn root(context: &Context<'_>) -> Result<&'static str, Status> {
    Ok(match (context.upstream, context.endpoint) {
        (Upstream::CodeAssist, Endpoint::CountTokens) => "CodeAssistCountTokensRequest",
        (Upstream::CodeAssist, _) => "CodeAssistGenerateContentRequest",
        (_, Endpoint::CountTokens) => "CountTokensRequest",
        (_, Endpoint::EmbedContent) => "EmbedContentRequest",
        (Upstream::Gemini, Endpoint::BatchEmbedContents) => "BatchEmbedContentsRequest",
        (Upstream::Vertex, Endpoint::BatchEmbedContents) => return Err(context.model_not_found()),
        _ => "GenerateContentRequest",
    })
}

/// What is wrong, in the words of Google's validators: a path below the request, and why.
pub(crate) fn invalid(path: &str, why: &str) -> Status {
    Status::invalid_argument(format!("* GenerateContentRequest.{path}: {why}\n"))
}
