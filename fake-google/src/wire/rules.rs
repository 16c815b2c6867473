//! The rules of whole requests: what has to be there, and what does not go together.

use std::collections::HashSet;

use super::{Leniency, Seen, claude, declarations, invalid, settings, turns};
use crate::answer::{Ask, is_servable};
use crate::endpoint::Endpoint;
use crate::json::Json;
use crate::named::Context;
use crate::status::Status;

/// What Google says of schemas that would make too much.
const TOO_MANY_STATES: &str = "The specified schema produces a constraint that has too many states for serving.  Typical \
                               causes of this error are schemas with lots of text (for example, very long property or \
                               enum names), schemas with long array length limits (especially when nested), or schemas \
                               using complex value matchers (for example, integers or numbers with minimum/maximum \
                               bounds or strings with complex formats like date-time)";

/// Checks a request whose shape is right.
pub(crate) fn check(
    request: &Json,
    context: &Context<'_>,
    leniency: Leniency,
    seen: &mut Seen,
) -> Result<(), Status> {
    match context.endpoint {
        Endpoint::BatchEmbedContents => {
            let requests = request
                .get("requests")
                .filter(|requests| !requests.is_empty());
            let Some(requests) = requests else {
                return Err(invalid("requests", "at least one request is required"));
            };
            requests
                .items()
                .iter()
                .enumerate()
                .try_for_each(|(nth, request)| {
                    let path = format!("requests[{nth}].");
                    embed(request, &path)?;
                    if request.get("model").is_none_or(Json::is_empty) {
                        return Err(invalid(
                            &format!("{path}model"),
                            "model is required in every batch entry",
                        ));
                    }
                    Ok(())
                })
        }
        Endpoint::EmbedContent => embed(request, ""),
        Endpoint::CountTokens => {
            let inner = request
                .either("generateContentRequest", "generate_content_request")
                .filter(|inner| !inner.is_empty());
            if inner.is_some()
                && request
                    .get("contents")
                    .is_some_and(|contents| !contents.is_empty())
            {
                return Err(invalid(
                    "contents",
                    "contents and generate_content_request are mutually exclusive",
                ));
            }
            generate(inner.unwrap_or(request), context, leniency, seen)
        }
        _ => generate(request, context, leniency, seen),
    }
}

fn embed(request: &Json, path: &str) -> Result<(), Status> {
    let parts = request
        .get("content")
        .and_then(|content| content.get("parts"))
        .filter(|parts| !parts.is_empty());
    let Some(parts) = parts else {
        return Err(invalid(
            &format!("{path}content"),
            "contents is not specified",
        ));
    };
    for (nth, part) in parts.items().iter().enumerate() {
        turns::part(part, &format!("{path}content.parts[{nth}]"))?;
    }
    let dimensions = request
        .either("outputDimensionality", "output_dimensionality")
        .and_then(Json::as_f64);
    if dimensions.is_some_and(|dimensions| dimensions < 1.0) {
        return Err(invalid(
            &format!("{path}output_dimensionality"),
            "must be positive",
        ));
    }
    Ok(())
}

fn generate(
    request: &Json,
    context: &Context<'_>,
    leniency: Leniency,
    seen: &mut Seen,
) -> Result<(), Status> {
    let Some(contents) = request
        .get("contents")
        .filter(|contents| !contents.is_empty())
    else {
        return Err(invalid("contents", "contents is not specified"));
    };
    turns::check(contents.items(), context, seen)?;
    if let Some(instruction) = request.either("systemInstruction", "system_instruction") {
        let Some(parts) = instruction.get("parts").filter(|parts| !parts.is_empty()) else {
            return Err(invalid(
                "system_instruction.parts",
                "contents.parts must not be empty.",
            ));
        };
        for (nth, part) in parts.items().iter().enumerate() {
            turns::part(part, &format!("system_instruction.parts[{nth}]"))?;
        }
    }
    let names = declarations::check(request.get("tools"), context.upstream)?;
    declarations::check_mix(request, &names, context)?;
    declarations::check_config(request.either("toolConfig", "tool_config"), &names)?;
    settings::check(
        request.either("generationConfig", "generation_config"),
        !names.is_empty(),
        context,
        leniency,
    )?;
    cached_content(request)?;
    if context.model.starts_with("claude") {
        claude::check(contents.items())?;
    }
    safety_settings(request.either("safetySettings", "safety_settings"))?;
    if is_servable(&Ask::new(request)) {
        Ok(())
    } else {
        Err(Status::invalid_argument(TOO_MANY_STATES))
    }
}

fn cached_content(request: &Json) -> Result<(), Status> {
    if request
        .either("cachedContent", "cached_content")
        .is_none_or(Json::is_empty)
    {
        return Ok(());
    }
    let conflicts = [
        "systemInstruction",
        "system_instruction",
        "tools",
        "toolConfig",
        "tool_config",
    ];
    if conflicts
        .iter()
        .any(|field| request.get(field).is_some_and(|value| !value.is_empty()))
    {
        return Err(Status::invalid_argument(
            "CachedContent can not be used with GenerateContent request setting system_instruction, tools or \
             tool_config. Proposed fix: move those values to CachedContent from GenerateContent request.",
        ));
    }
    Ok(())
}

fn safety_settings(settings: Option<&Json>) -> Result<(), Status> {
    let Some(settings) = settings.filter(|settings| !settings.is_empty()) else {
        return Ok(());
    };
    // Elsewhere one object passes for a list of one, but not here.
    let Some(settings) = settings.as_array() else {
        return Err(invalid("safety_settings", "must be a list"));
    };
    let mut seen = HashSet::new();
    for (nth, setting) in settings.iter().enumerate() {
        let path = format!("safety_settings[{nth}]");
        let Some(category) = setting.get("category") else {
            return Err(invalid(&path, "category is not specified"));
        };
        if !seen.insert(category.to_line()) {
            return Err(invalid(&path, "duplicate category"));
        }
    }
    Ok(())
}
