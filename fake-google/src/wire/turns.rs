//! Contents: roles, parts, and how function calls and their responses follow each other.

use super::{Seen, invalid};
use crate::catalogue::is_gemini_3;
use crate::json::Json;
use crate::named::{Context, missing_signature};
use crate::status::Status;

/// What a part can be, in both spellings.
const DATA: [(&str, &str); 9] = [
    ("text", "text"),
    ("inlineData", "inline_data"),
    ("functionCall", "function_call"),
    ("functionResponse", "function_response"),
    ("fileData", "file_data"),
    ("executableCode", "executable_code"),
    ("codeExecutionResult", "code_execution_result"),
    ("toolCall", "tool_call"),
    ("toolResponse", "tool_response"),
];

const CALL_ORDER: &str = "Please ensure that function call turn comes immediately after a user turn or after a function response turn.";
const RESPONSE_ORDER: &str =
    "Please ensure that function response turn comes immediately after a function call turn.";
const RESPONSE_COUNT: &str = "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.";

/// A content as the pairing rules see it.
struct Turn<'a> {
    role: Option<&'a str>,
    calls: Vec<(&'a Json, &'a Json)>,
    responses: Vec<&'a Json>,
}

impl Turn<'_> {
    fn is_user(&self) -> bool {
        matches!(self.role, None | Some("" | "user"))
    }

    fn is_model(&self) -> bool {
        self.role == Some("model")
    }
}

/// Calls that wait for their responses.
#[derive(Default)]
struct Pending<'a> {
    calls: Vec<&'a Json>,
    responses: Vec<&'a Json>,
}

impl Pending<'_> {
    /// An answer is not demanded, but one that comes has to fit.
    fn close(self) -> Result<(), Status> {
        if self.responses.is_empty() {
            return Ok(());
        }
        if self.calls.len() != self.responses.len()
            || !same(&self.calls, &self.responses, "name", true)
        {
            return Err(Status::invalid_argument(RESPONSE_COUNT));
        }
        if same(&self.calls, &self.responses, "id", false) {
            Ok(())
        } else {
            Err(Status::invalid_argument(
                "Please ensure that function response ids match the function call ids.",
            ))
        }
    }
}

/// Whether both sides carry the same values of a field; where one has none at all that is for `strict` to say.
fn same(calls: &[&Json], responses: &[&Json], field: &str, strict: bool) -> bool {
    let sorted = |side: &[&Json]| {
        let mut values: Vec<String> = side
            .iter()
            .filter_map(|item| item.get(field).filter(|value| !value.is_empty()))
            .map(Json::to_line)
            .collect();
        values.sort();
        values
    };
    let (calls, responses) = (sorted(calls), sorted(responses));
    calls == responses || (!strict && (calls.is_empty() || responses.is_empty()))
}

/// Checks the contents of a request.
pub(crate) fn check(
    contents: &[Json],
    context: &Context<'_>,
    seen: &mut Seen,
) -> Result<(), Status> {
    let mut turns = Vec::with_capacity(contents.len());
    for (nth, content) in contents.iter().enumerate() {
        turns.push(turn(content, nth, contents.len())?);
    }
    let last_user = turns
        .iter()
        .rposition(|turn| turn.is_user() && turn.responses.is_empty());
    let mut pending: Option<Pending<'_>> = None;
    let mut before: Option<&Turn<'_>> = None;
    for (nth, turn) in turns.iter().enumerate() {
        if !turn.responses.is_empty() {
            match &mut pending {
                None => return Err(Status::invalid_argument(RESPONSE_ORDER)),
                Some(pending) => pending.responses.extend(&turn.responses),
            }
        } else if let Some(waiting) = pending.take() {
            // A model's turn with more calls goes on with the turn before it.
            let goes_on = turn.is_model() && waiting.responses.is_empty() && !turn.calls.is_empty();
            if goes_on {
                pending = Some(waiting);
            } else {
                waiting.close()?;
            }
        }
        if let Some(((part, call), _)) = turn.calls.split_first() {
            if let Some(waiting) = pending.take_if(|waiting| !waiting.responses.is_empty()) {
                waiting.close()?;
            }
            if before.is_none_or(|before| before.is_model() && before.calls.is_empty()) {
                return Err(Status::invalid_argument(CALL_ORDER));
            }
            pending
                .get_or_insert_default()
                .calls
                .extend(turn.calls.iter().map(|(_, call)| *call));
            let in_current_turn = last_user.is_none_or(|last_user| nth > last_user);
            let signature = part.either("thoughtSignature", "thought_signature");
            if is_gemini_3(context.model) && in_current_turn && signature.is_none_or(Json::is_empty)
            {
                let name = call.get("name").and_then(Json::as_str).unwrap_or_default();
                seen.missing += 1;
                return Err(missing_signature(context.upstream, name, nth + 1));
            }
        }
        before = Some(turn);
    }
    match pending {
        Some(pending) if pending.responses.is_empty() => {
            Err(Status::invalid_argument(RESPONSE_COUNT))
        }
        Some(pending) => pending.close(),
        None => Ok(()),
    }
}

fn turn(content: &Json, nth: usize, of: usize) -> Result<Turn<'_>, Status> {
    let path = format!("contents[{nth}]");
    let Some(parts) = content.get("parts").filter(|parts| !parts.is_empty()) else {
        return Err(invalid(
            &format!("{path}.parts"),
            "contents.parts must not be empty.",
        ));
    };
    let parts = parts.items();
    for (nth, item) in parts.iter().enumerate() {
        part(item, &format!("{path}.parts[{nth}]"))?;
    }
    let role = content.get("role").and_then(Json::as_str);
    let mut calls: Vec<(&Json, &Json)> = parts
        .iter()
        .filter_map(|part| Some((part, part.either("functionCall", "function_call")?)))
        .collect();
    let mut responses: Vec<&Json> = parts
        .iter()
        .filter_map(|part| part.either("functionResponse", "function_response"))
        .collect();
    let known = match role {
        None | Some("") => of == 1,
        Some("user" | "model") => true,
        Some("function" | "tool") => !responses.is_empty(),
        Some(_) => false,
    };
    if !known {
        return Err(Status::invalid_argument(
            "Please use a valid role: user, model.",
        ));
    }
    if !calls.is_empty() && role != Some("model") {
        return Err(Status::invalid_argument(CALL_ORDER));
    }
    if !responses.is_empty() && role == Some("model") {
        // Answers in the model's own name come from servers' tools, whose calls are not paired.
        calls.clear();
        responses.clear();
    }
    Ok(Turn {
        role,
        calls,
        responses,
    })
}

/// Checks one part.
pub(crate) fn part(part: &Json, path: &str) -> Result<(), Status> {
    let has_data = DATA
        .iter()
        .any(|(camel, snake)| part.either(camel, snake).is_some());
    let has_metadata = part
        .either("thoughtSignature", "thought_signature")
        .is_some()
        || part.either("videoMetadata", "video_metadata").is_some();
    if !has_data && !has_metadata {
        let why = "required oneof field 'data' must have one initialized field";
        return Err(invalid(&format!("{path}.data"), why));
    }
    let lacks = |value: &Json, camel, snake| value.either(camel, snake).is_none_or(Json::is_empty);
    if let Some(blob) = part.either("inlineData", "inline_data") {
        if lacks(blob, "mimeType", "mime_type") {
            return Err(invalid(
                &format!("{path}.inline_data.mime_type"),
                "mime_type is not specified",
            ));
        }
        if lacks(blob, "data", "data") {
            return Err(invalid(
                &format!("{path}.inline_data.data"),
                "data must not be empty",
            ));
        }
    }
    if part
        .either("fileData", "file_data")
        .is_some_and(|file| lacks(file, "fileUri", "file_uri"))
    {
        return Err(invalid(
            &format!("{path}.file_data.file_uri"),
            "file_uri is not specified",
        ));
    }
    if part
        .either("functionCall", "function_call")
        .is_some_and(|call| lacks(call, "name", "name"))
    {
        return Err(invalid(
            &format!("{path}.function_call.name"),
            "Name cannot be empty.",
        ));
    }
    if let Some(response) = part.either("functionResponse", "function_response") {
        if lacks(response, "name", "name") {
            return Err(invalid(
                &format!("{path}.function_response.name"),
                "Name cannot be empty.",
            ));
        }
        if response.get("response").is_none() {
            return Err(invalid(
                &format!("{path}.function_response.response"),
                "response is not specified",
            ));
        }
    }
    Ok(())
}
