//! `messages`: the conversation, in Gemini's order.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    part::{member_text, note_unknown, part_kind, plain, user_part},
    request::{Ignored, read, text},
    tools::checked_name,
};
use crate::{
    error::InvalidRequest,
    gemini::request::{Answer, Call, Content, Part, Role},
    json::{self, JsonStr, Object, Path, WrongType},
    signature,
};

/// What was said, and the instructions above it.
#[derive(Debug, Default)]
pub(super) struct Conversation<'a> {
    pub(super) system: Vec<JsonStr<'a>>,
    pub(super) contents: Vec<Content<'a>>,
    /// Calls of the last assistant message whose results are still to come, in order.
    open: Vec<OpenCall<'a>>,
}

#[derive(Debug)]
struct OpenCall<'a> {
    /// The id as the client has it, maybe with a signature.
    client_id: Cow<'a, str>,
    answer: Answer<'a>,
}

/// Reads `messages`.
pub(super) fn conversation<'a>(
    raw: &'a RawValue,
    path: &Path<'_>,
    ignored: &mut Ignored,
) -> Result<Conversation<'a>, InvalidRequest> {
    let messages = read(raw, path, json::array)?;
    if messages.is_empty() {
        return Err(InvalidRequest::value(
            path,
            "it is empty; expected at least one message.",
        ));
    }
    let mut conversation = Conversation::default();
    for (at, raw) in messages.into_iter().enumerate() {
        conversation.message(raw, &path.index(at), ignored)?;
    }
    conversation.close();
    if conversation.contents.is_empty() {
        // Gemini wants somebody to speak, even when all is said in the instruction.
        conversation.push(Role::User, Part::Blank);
    }
    Ok(conversation)
}

/// Calls in one message, far above what any model makes: each is compared with the others.
const MAX_CALLS: usize = 512;

const ROLES: &str = "supported values are 'system', 'developer', 'user', 'assistant' and 'tool'.";

impl<'a> Conversation<'a> {
    fn message(
        &mut self,
        raw: &'a RawValue,
        path: &Path<'_>,
        ignored: &mut Ignored,
    ) -> Result<(), InvalidRequest> {
        let message = read(raw, path, json::object)?;
        let role_path = path.key("role");
        let role = message
            .get("role")
            .ok_or_else(|| InvalidRequest::missing(&role_path))?;
        let role = text(role, &role_path)?.text();
        let known: &[&str] = match &*role {
            "system" | "developer" => {
                for piece in texts(&message, path, ignored)?.unwrap_or_default() {
                    if !piece.is_empty() {
                        self.system.push(piece);
                    }
                }
                &["role", "content"]
            }
            "user" => {
                self.close();
                self.user(&message, path, ignored)?;
                &["role", "content"]
            }
            "assistant" => {
                self.close();
                self.assistant(&message, path, ignored)?;
                // What our own answers carry and clients send back whole.
                &[
                    "role",
                    "content",
                    "tool_calls",
                    "extra_content",
                    "reasoning_content",
                    "annotations",
                    "refusal",
                ]
            }
            "tool" => {
                self.tool(&message, path, ignored)?;
                &["role", "content", "tool_call_id"]
            }
            "function" => {
                return Err(InvalidRequest::unsupported(
                    &role_path,
                    "Use 'tool_calls' and messages of role 'tool' instead.",
                ));
            }
            _ => return Err(InvalidRequest::value(&role_path, ROLES)),
        };
        for (key, _) in message.iter().filter(|(key, _)| !known.contains(key)) {
            ignored.insert(format!("messages[].{key}"));
        }
        Ok(())
    }

    fn push(&mut self, role: Role, part: Part<'a>) {
        // Turns of one side are one turn, but answers of functions stand alone.
        let is_answer = matches!(part, Part::Answer(_));
        match self.contents.last_mut() {
            Some(last)
                if last.role == role
                    && matches!(last.parts.last(), Some(Part::Answer(_))) == is_answer =>
            {
                last.parts.push(part);
            }
            _ => self.contents.push(Content {
                role,
                parts: vec![part],
            }),
        }
    }

    /// Hands in the results of the last calls, in the order of the calls: Gemini wants as
    /// many as there were calls, in one turn.
    fn close(&mut self) {
        for call in std::mem::take(&mut self.open) {
            self.push(Role::User, Part::Answer(call.answer));
        }
    }

    fn user(
        &mut self,
        message: &Object<'a>,
        path: &Path<'_>,
        ignored: &mut Ignored,
    ) -> Result<(), InvalidRequest> {
        let path = path.key("content");
        let raw = message
            .get("content")
            .ok_or_else(|| InvalidRequest::missing(&path))?;
        if json::string(raw).is_ok() {
            let text = text(raw, &path)?;
            self.push(Role::User, plain(text));
            return Ok(());
        }
        let parts = array_of_parts(raw, &path)?;
        if parts.is_empty() {
            return Err(InvalidRequest::value(
                &path,
                "it is empty; expected at least one content part.",
            ));
        }
        for (at, raw) in parts.into_iter().enumerate() {
            let part = user_part(raw, &path.index(at), ignored)?;
            self.push(Role::User, part);
        }
        Ok(())
    }

    fn assistant(
        &mut self,
        message: &Object<'a>,
        path: &Path<'_>,
        ignored: &mut Ignored,
    ) -> Result<(), InvalidRequest> {
        let pieces = texts(message, path, ignored)?;
        let calls_path = path.key("tool_calls");
        let calls = match message.get("tool_calls") {
            Some(raw) => read(raw, &calls_path, json::array)?,
            None => Vec::new(),
        };
        let refusal = message
            .get("refusal")
            .map(|raw| text(raw, &path.key("refusal")))
            .transpose()?;
        if pieces.is_none() && calls.is_empty() && refusal.is_none() {
            return Err(InvalidRequest::value(
                &path.key("content"),
                "an assistant message needs content or tool calls.",
            ));
        }
        let speaks = pieces
            .iter()
            .flatten()
            .chain(&refusal)
            .any(|piece| !piece.is_empty());
        if self.contents.is_empty() && (speaks || !calls.is_empty()) {
            // Gemini wants the user to begin.
            self.push(Role::User, Part::Blank);
        }
        let mut signature = message
            .get("extra_content")
            .and_then(google_signature)
            .filter(|signature| signature::is_signature(signature));
        let pieces: Vec<_> = pieces.into_iter().flatten().chain(refusal).collect();
        let last = pieces.iter().rposition(|piece| !piece.is_empty());
        for (at, text) in pieces.into_iter().enumerate() {
            if text.is_empty() {
                continue;
            }
            // The signature came with the last piece of the text.
            let signature = if Some(at) == last {
                signature.take()
            } else {
                None
            };
            self.push(Role::Model, Part::Text { text, signature });
        }
        for (at, raw) in calls.into_iter().enumerate() {
            self.call(raw, &calls_path.index(at))?;
        }
        Ok(())
    }

    fn call(&mut self, raw: &'a RawValue, path: &Path<'_>) -> Result<(), InvalidRequest> {
        let call = read(raw, path, json::object)?;
        let id_path = path.key("id");
        let client_id = call
            .get("id")
            .ok_or_else(|| InvalidRequest::missing(&id_path))
            .and_then(|raw| text(raw, &id_path))?
            .text();
        if self.open.len() >= MAX_CALLS {
            let why = format!("expected at most {MAX_CALLS} tool calls in one message.");
            return Err(InvalidRequest::value(path, why));
        }
        if self.open.iter().any(|open| open.client_id == client_id) {
            return Err(InvalidRequest::value(&id_path, "another call has this id."));
        }
        if let Some(kind) = call.get("type").and_then(|raw| json::string(raw).ok())
            && kind.text() != "function"
        {
            return Err(InvalidRequest::unsupported(
                &path.key("type"),
                "Only calls of type 'function' are served.",
            ));
        }
        let function_path = path.key("function");
        let function = call
            .get("function")
            .ok_or_else(|| InvalidRequest::missing(&function_path))?;
        let function = read(function, &function_path, json::object)?;
        let name_path = function_path.key("name");
        let name = function
            .get("name")
            .ok_or_else(|| InvalidRequest::missing(&name_path))?;
        let name = checked_name(text(name, &name_path)?, &name_path)?;
        let args = arguments(&function, &function_path)?;
        let (id, carried) = split_id(&client_id);
        let signature = ["extra_content", "provider_specific_fields"]
            .into_iter()
            .find_map(|key| google_signature(call.get(key)?))
            .filter(|signature| signature::is_signature(signature))
            .or(carried);
        self.open.push(OpenCall {
            client_id,
            answer: Answer {
                id: id.clone(),
                name,
                output: None,
            },
        });
        self.push(
            Role::Model,
            Part::Call(Call {
                id,
                name,
                args,
                signature,
            }),
        );
        Ok(())
    }

    fn tool(
        &mut self,
        message: &Object<'a>,
        path: &Path<'_>,
        ignored: &mut Ignored,
    ) -> Result<(), InvalidRequest> {
        let id_path = path.key("tool_call_id");
        let id = message
            .get("tool_call_id")
            .ok_or_else(|| InvalidRequest::missing(&id_path))?;
        let id = text(id, &id_path)?.text();
        let content_path = path.key("content");
        let pieces =
            texts(message, path, ignored)?.ok_or_else(|| InvalidRequest::missing(&content_path))?;
        // Some clients trim the ids that they send back on results.
        let open = self
            .open
            .iter_mut()
            .find(|open| open.client_id == id || open.answer.id == signature::detach(&id).0)
            .ok_or_else(|| {
                InvalidRequest::value(
                    &id_path,
                    "a message of role 'tool' must answer a tool call of the assistant message \
                     before it; no such call has this id.",
                )
            })?;
        match &mut open.answer.output {
            Some(_) => {
                return Err(InvalidRequest::value(
                    &id_path,
                    "another message answers this call already.",
                ));
            }
            output @ None => *output = Some(pieces),
        }
        Ok(())
    }
}

/// The id as Google gave it, and the signature that rode in it.
fn split_id<'a>(client_id: &Cow<'a, str>) -> (Cow<'a, str>, Option<Cow<'a, str>>) {
    match client_id {
        Cow::Borrowed(id) => {
            let (id, signature) = signature::detach(id);
            (id.into(), signature.map(Cow::Borrowed))
        }
        Cow::Owned(id) => {
            let (id, signature) = signature::detach(id);
            (
                id.to_owned().into(),
                signature.map(|signature| signature.to_owned().into()),
            )
        }
    }
}

/// `{"google": {"thought_signature": …}}`, or the signature without Google's name
/// around it, as LiteLLM has it.
fn google_signature(raw: &RawValue) -> Option<Cow<'_, str>> {
    let extra = json::object(raw).ok()?;
    let google = match extra.get("google") {
        Some(raw) => json::object(raw).ok()?,
        None => extra,
    };
    let signature = google.get("thought_signature")?;
    Some(json::string(signature).ok()?.text())
}

/// The arguments of a call: JSON inside of a text.
fn arguments<'a>(function: &Object<'a>, path: &Path<'_>) -> Result<Cow<'a, str>, InvalidRequest> {
    let path = path.key("arguments");
    let Some(raw) = function.get("arguments") else {
        return Ok("{}".into());
    };
    let inner = text(raw, &path)?.text();
    if inner.trim().is_empty() {
        return Ok("{}".into());
    }
    if json::has_lone_surrogate(&inner) {
        return Err(InvalidRequest::lone_surrogate(&path));
    }
    match serde_json::from_str::<&RawValue>(&inner) {
        Ok(value) if value.get().starts_with('{') => Ok(inner),
        Ok(value) => Err(InvalidRequest::value(
            &path,
            format!(
                "expected a JSON object in it, but got {}.",
                json::kind(value)
            ),
        )),
        Err(error) => Err(InvalidRequest::value(
            &path,
            format!("it is not valid JSON: {error}."),
        )),
    }
}

fn array_of_parts<'a>(
    raw: &'a RawValue,
    path: &Path<'_>,
) -> Result<Vec<&'a RawValue>, InvalidRequest> {
    json::array(raw).map_err(|wrong| {
        let expected = "a string or an array of content parts";
        InvalidRequest::wrong_type(path, WrongType { expected, ..wrong })
    })
}

/// The texts of a message that holds nothing else; `None` when it has no content.
fn texts<'a>(
    message: &Object<'a>,
    path: &Path<'_>,
    ignored: &mut Ignored,
) -> Result<Option<Vec<JsonStr<'a>>>, InvalidRequest> {
    let path = path.key("content");
    let Some(raw) = message.get("content") else {
        return Ok(None);
    };
    if json::string(raw).is_ok() {
        return Ok(Some(vec![text(raw, &path)?]));
    }
    let mut pieces = Vec::new();
    for (at, raw) in array_of_parts(raw, &path)?.into_iter().enumerate() {
        let path = path.index(at);
        let part = read(raw, &path, json::object)?;
        let (kind, kind_path) = (part_kind(&part, &path)?, path.key("type"));
        let key = match &*kind {
            "text" => "text",
            "refusal" => "refusal",
            _ => {
                return Err(InvalidRequest::unsupported(
                    &kind_path,
                    format!("Parts of type '{kind}' are not served here; 'text' is."),
                ));
            }
        };
        pieces.push(member_text(&part, &path, key)?);
        note_unknown(&part, &["type", key], ignored);
    }
    Ok(Some(pieces))
}
