//! `generationConfig`: ranges, response formats and thinking.

use super::declarations::{self, At};
use super::{Leniency, invalid};
use crate::catalogue::Upstream;
use crate::json::Json;
use crate::named::Context;
use crate::status::Status;

/// A range that a number has to lie in; `end` is outside.
struct Range {
    camel: &'static str,
    snake: &'static str,
    start: f64,
    end: f64,
}

const fn range(camel: &'static str, snake: &'static str, start: f64, end: f64) -> Range {
    Range {
        camel,
        snake,
        start,
        end,
    }
}

/// The next number after 1, so that a range can end with 1 included.
const AFTER_ONE: f64 = 1.0 + f64::EPSILON;

const RANGES: [Range; 8] = [
    range("temperature", "temperature", 0.0, 2.0001),
    range("topP", "top_p", 0.0, AFTER_ONE),
    range("topK", "top_k", 1.0, 1_000.000_001),
    range("candidateCount", "candidate_count", 1.0, 9.0),
    range("maxOutputTokens", "max_output_tokens", 1.0, 2_147_483_648.0),
    range("presencePenalty", "presence_penalty", -2.0, 2.0),
    range("frequencyPenalty", "frequency_penalty", -2.0, 2.0),
    range("logprobs", "logprobs", 0.0, 21.0),
];

/// Checks `generationConfig`; `has_functions` says whether functions are declared beside it.
pub(crate) fn check(
    config: Option<&Json>,
    has_functions: bool,
    context: &Context<'_>,
    leniency: Leniency,
) -> Result<(), Status> {
    let Some(config) = config else { return Ok(()) };
    for Range {
        camel,
        snake,
        start,
        end,
    } in &RANGES
    {
        let Some(number) = config.either(camel, snake).and_then(Json::as_f64) else {
            continue;
        };
        if !(*start..*end).contains(&number) {
            return Err(invalid(
                &format!("generation_config.{snake}"),
                &format!("{snake} must be in the range [{start}, {end})"),
            ));
        }
    }
    if config.get("logprobs").is_some() && !flag(config, "responseLogprobs", "response_logprobs") {
        return Err(Status::invalid_argument(
            "logprobs is only valid with response_logprobs set to true.",
        ));
    }
    stop_sequences(config)?;
    response_format(config, has_functions, context)?;
    enabled(config, context, leniency)?;
    match config.either("thinkingConfig", "thinking_config") {
        Some(thinking) => check_thinking(thinking, context, leniency),
        None => Ok(()),
    }
}

fn flag(config: &Json, camel: &str, snake: &str) -> bool {
    config.either(camel, snake).and_then(Json::as_bool) == Some(true)
}

fn stop_sequences(config: &Json) -> Result<(), Status> {
    let sequences = config
        .either("stopSequences", "stop_sequences")
        .map(Json::items)
        .unwrap_or_default();
    if sequences.len() > 5 {
        let why = format!(
            "the number of stop sequences must be at most 5, is {}",
            sequences.len()
        );
        return Err(invalid("generation_config.stop_sequences", &why));
    }
    match sequences
        .iter()
        .position(|sequence| sequence.as_str() == Some(""))
    {
        Some(nth) => Err(invalid(
            &format!("generation_config.stop_sequences[{nth}]"),
            "must not be empty",
        )),
        None => Ok(()),
    }
}

fn response_format(
    config: &Json,
    has_functions: bool,
    context: &Context<'_>,
) -> Result<(), Status> {
    let mime = config
        .either("responseMimeType", "response_mime_type")
        .and_then(Json::as_str);
    if mime
        .is_some_and(|mime| !matches!(mime, "text/plain" | "application/json" | "text/x.enum" | ""))
    {
        return Err(invalid(
            "generation_config.response_mime_type",
            "allowed mimetypes are `text/plain`, `application/json`, `application/xml`, `application/yaml` and \
             `text/x.enum`.",
        ));
    }
    let schema = config.either("responseSchema", "response_schema");
    let json_schema = config.either("responseJsonSchema", "response_json_schema");
    if schema.is_some() && json_schema.is_some() {
        return Err(Status::invalid_argument(
            "Only one of response_schema and response_json_schema can be set.",
        ));
    }
    let structured = matches!(mime, Some("application/json" | "text/x.enum"));
    if (schema.is_some() || json_schema.is_some()) && !structured {
        return Err(invalid(
            "generation_config.response_schema",
            "only allowed with response_mime_type `application/json` or `text/x.enum`",
        ));
    }
    if let Some(schema) = schema {
        let at = At::Root("generation_config.response_schema");
        declarations::schema(schema, at, context.upstream, 0)?;
    }
    let before_3 = context.model.starts_with("gemini-1.") || context.model.starts_with("gemini-2.");
    if has_functions && mime == Some("application/json") && before_3 {
        return Err(Status::invalid_argument(
            "Function calling with a response mime type: 'application/json' is unsupported",
        ));
    }
    Ok(())
}

/// What some models have and others do not.
fn enabled(config: &Json, context: &Context<'_>, leniency: Leniency) -> Result<(), Status> {
    let model = context.model;
    let penalty = config
        .either("presencePenalty", "presence_penalty")
        .or_else(|| config.either("frequencyPenalty", "frequency_penalty"));
    if penalty.is_some_and(|penalty| !penalty.is_empty()) && !leniency.penalties {
        return Err(Status::invalid_argument(format!(
            "Penalty is not enabled for models/{model}"
        )));
    }
    if flag(config, "responseLogprobs", "response_logprobs") && !leniency.logprobs {
        return Err(Status::invalid_argument(format!(
            "Logprobs is not enabled for models/{model}"
        )));
    }
    let candidates = config
        .either("candidateCount", "candidate_count")
        .and_then(Json::as_f64);
    if candidates.is_some_and(|candidates| candidates > f64::from(leniency.max_candidates)) {
        return Err(Status::invalid_argument(
            "Multiple candidates is not enabled for this model",
        ));
    }
    Ok(())
}

fn check_thinking(
    thinking: &Json,
    context: &Context<'_>,
    leniency: Leniency,
) -> Result<(), Status> {
    let model = context.model;
    let budget = thinking
        .either("thinkingBudget", "thinking_budget")
        .and_then(Json::as_f64);
    let level = thinking.either("thinkingLevel", "thinking_level");
    if budget.is_some() && level.is_some() {
        return Err(Status::invalid_argument(
            "You can only set only one of thinking budget and thinking level.",
        ));
    }
    if level.is_some() && model.starts_with("gemini-2") {
        return Err(Status::invalid_argument(
            "Thinking level is not supported for this model.",
        ));
    }
    if let Some(budget) = budget {
        check_budget(budget.trunc(), context)?;
    }
    let asks = budget.is_some_and(|budget| budget != 0.0)
        || level.is_some()
        || flag(thinking, "includeThoughts", "include_thoughts");
    if asks && !leniency.thinks {
        return Err(Status::invalid_argument(
            "Thinking is not enabled for this model.",
        ));
    }
    Ok(())
}

fn check_budget(budget: f64, context: &Context<'_>) -> Result<(), Status> {
    let model = context.model;
    let (low, high, off) = if model.contains("2.5-pro") {
        (128.0, 32_768.0, false)
    } else if model.contains("2.5-flash-lite") {
        (512.0, 24_576.0, true)
    } else if model.contains("2.5-flash") {
        (0.0, 24_576.0, true)
    } else {
        (0.0, 32_768.0, true)
    };
    let fits = budget == -1.0 || (budget == 0.0 && off) || (low..=high).contains(&budget);
    match (fits, budget == 0.0, context.upstream) {
        (true, ..) => Ok(()),
        (false, true, Upstream::CodeAssist) => Err(Status::invalid_argument(
            "Unable to submit request because The model does not support setting thinking_budget to 0.",
        )),
        (false, true, _) => Err(Status::invalid_argument(
            "Budget 0 is invalid. This model only works in thinking mode.",
        )),
        (false, false, _) => Err(Status::invalid_argument(format!(
            "The thinking budget {budget} is invalid. Please choose a value between {low} and {high}."
        ))),
    }
}
