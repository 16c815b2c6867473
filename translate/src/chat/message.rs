//! `messages`: the conversation, in Gemini's order.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use super::{
    calls::{Called, calls_of},
    part::{Piece, pieces, plain, texts},
    remembered::Remembered,
    request::{Reading, member, read, text},
    source::data_url,
    tools::function_name,
};
use crate::{
    error::InvalidRequest,
    gemini::{
        model::Generation,
        request::{Answer, Call, Content, Media, Part, Role},
    },
    json::{self, JsonStr, Object, Path, Raw},
    media::starts_with,
    signature,
};

/// What was said, and the instructions above it.
#[derive(Debug, Default)]
pub(super) struct Conversation<'a> {
    pub(super) system: Vec<JsonStr<'a>>,
    pub(super) contents: Vec<Content<'a>>,
    /// Every call so far, in its order.
    asked: Vec<Asked>,
    /// Calls without an answer by their id without a signature: the id stays when all of its
    /// calls have one.
    by_id: HashMap<String, Vec<usize>>,
    /// Calls by their function; some of them may have their answer.
    by_name: HashMap<Cow<'a, str>, Vec<usize>>,
    /// Signatures that were sent: none is sent twice.
    signatures: HashSet<String>,
}

/// A call, and where its answer stands.
#[derive(Debug)]
struct Asked {
    content: usize,
    part: usize,
    answered: bool,
}

/// Reads `messages`.
pub(super) fn conversation<'a>(
    raw: Raw<'a>,
    path: &Path<'_>,
    reading: &mut Reading<'_>,
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
        conversation.message(raw, &path.index(at), reading)?;
    }
    if conversation.contents.is_empty() {
        // Gemini wants somebody to speak, even when all is said in the instruction.
        conversation.push(Role::User, Part::Blank);
    }
    for content in &mut conversation.contents {
        let is_media = |part: &Part<'_>| matches!(part, Part::Media(_));
        if content.role == Role::User && content.parts.iter().all(is_media) {
            // Vertex AI wants a word with every picture.
            content.parts.push(Part::Blank);
        }
    }
    Ok(conversation)
}

const ROLES: &str = "supported values are 'system', 'developer', 'user', 'assistant', 'tool' and \
                     'function'.";

impl<'a> Conversation<'a> {
    fn message(
        &mut self,
        raw: Raw<'a>,
        path: &Path<'_>,
        reading: &mut Reading<'_>,
    ) -> Result<(), InvalidRequest> {
        let message = read(raw, path, json::object)?;
        let role_path = path.key("role");
        let role = message
            .get("role")
            .ok_or_else(|| InvalidRequest::missing(&role_path))?;
        let role = text(role, &role_path)?.text();
        let known: &[&str] = match &*role {
            "system" | "developer" => {
                let pieces = texts(&message, path, reading)?;
                let pieces = pieces.ok_or_else(|| InvalidRequest::missing(&path.key("content")))?;
                // Gemini refuses an instruction without a word.
                self.system
                    .extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
                &["role", "content"]
            }
            "user" => {
                self.user(&message, path, reading)?;
                &["role", "content"]
            }
            "assistant" => {
                self.assistant(&message, path, reading)?;
                // What our own answers and those of other gateways carry, and clients send
                // back whole.
                &[
                    "role",
                    "content",
                    "refusal",
                    "tool_calls",
                    "function_call",
                    "images",
                    "extra_content",
                    "provider_specific_fields",
                    "reasoning",
                    "reasoning_content",
                    "reasoning_details",
                    "thinking_blocks",
                    "annotations",
                ]
            }
            "tool" => {
                self.tool(&message, path, reading)?;
                &["role", "content", "tool_call_id"]
            }
            "function" => {
                self.function(&message, path, reading)?;
                &["role", "content", "name"]
            }
            _ => return Err(InvalidRequest::value(&role_path, ROLES)),
        };
        reading.note_unknown("messages[]", &message, known);
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

    fn user(
        &mut self,
        message: &Object<'a>,
        path: &Path<'_>,
        reading: &mut Reading<'_>,
    ) -> Result<(), InvalidRequest> {
        let content = path.key("content");
        let pieces =
            pieces(message, path, reading)?.ok_or_else(|| InvalidRequest::missing(&content))?;
        if pieces.is_empty() {
            return Err(InvalidRequest::value(
                &content,
                "it is empty; expected at least one content part.",
            ));
        }
        for piece in pieces {
            let part = match piece {
                Piece::Text(text) => plain(text),
                Piece::Media(media) => Part::Media(media),
            };
            self.push(Role::User, part);
        }
        Ok(())
    }

    fn assistant(
        &mut self,
        message: &Object<'a>,
        path: &Path<'_>,
        reading: &mut Reading<'_>,
    ) -> Result<(), InvalidRequest> {
        let spoken = texts(message, path, reading)?;
        let calls = calls_of(message, path, reading)?;
        let images = images(message, path, reading)?;
        let refusal = message
            .get("refusal")
            .map(|raw| text(raw, &path.key("refusal")))
            .transpose()?;
        if message.get("audio").is_some() && spoken.is_none() {
            return Err(InvalidRequest::unsupported(
                &path.key("audio"),
                "No answers are stored here; send what was said as 'content'.",
            ));
        }
        let is_silent = calls.is_empty() && images.is_empty() && refusal.is_none();
        if spoken.is_none() && is_silent {
            return Err(InvalidRequest::value(
                &path.key("content"),
                "an assistant message needs content or tool calls.",
            ));
        }
        let pieces: Vec<JsonStr<'a>> = spoken.into_iter().flatten().chain(refusal).collect();
        let mut remembered = Remembered::of(message, reading.generation);
        // Calls first: of a signature that stands on both, the call's is the needed one.
        let mut signatures: Vec<Option<Cow<'a, str>>> = Vec::with_capacity(calls.len());
        for (at, call) in calls.iter().enumerate() {
            let signature = call.signature.clone();
            let signature = signature.or_else(|| remembered.of_call(&call.id, at));
            // A legacy call has no place for one: it stands on the message.
            let signature = signature.or_else(|| {
                let is_legacy = call.id.is_empty();
                is_legacy.then(|| remembered.take_text()).flatten()
            });
            signatures.push(signature.and_then(|signature| self.fresh(signature)));
        }
        let mut spoken_with = remembered.take_text().and_then(|it| self.fresh(it));
        let speaks = pieces.iter().any(|piece| !piece.is_empty());
        if self.contents.is_empty()
            && (speaks || !calls.is_empty() || !images.is_empty() || spoken_with.is_some())
        {
            // Gemini wants the user to begin.
            self.push(Role::User, Part::Blank);
        }
        if reading.generation == Generation::Claude {
            for (text, signature) in remembered.thoughts {
                self.push(Role::Model, Part::Thought { text, signature });
            }
        }
        // The signature came with the last piece of the text, which may be an empty one.
        let last = pieces.iter().rposition(|piece| !piece.is_empty());
        let last = last.or(pieces.len().checked_sub(1));
        for (at, text) in pieces.into_iter().enumerate() {
            let signature = if Some(at) == last {
                spoken_with.take()
            } else {
                None
            };
            if !text.is_empty() || signature.is_some() {
                self.push(Role::Model, Part::Text { text, signature });
            }
        }
        for mut media in images {
            media.signature = media.signature.and_then(|it| self.fresh(it));
            self.push(Role::Model, Part::Media(media));
        }
        self.calls(calls, signatures, reading)
    }

    /// The signature, unless it was sent already: Gemini would count the thoughts twice.
    fn fresh(&mut self, signature: Cow<'a, str>) -> Option<Cow<'a, str>> {
        let is_new = self
            .signatures
            .insert(signature::normalized(&signature).into_owned());
        is_new.then_some(signature)
    }

    fn calls(
        &mut self,
        calls: Vec<Called<'a>>,
        signatures: Vec<Option<Cow<'a, str>>>,
        reading: &Reading<'_>,
    ) -> Result<(), InvalidRequest> {
        let mut answers = Vec::with_capacity(calls.len());
        for (call, signature) in calls.into_iter().zip(signatures) {
            let name = reading.names.upstream(call.name.clone());
            answers.push((
                call.name,
                Answer {
                    id: call.id.clone(),
                    name: name.clone(),
                    output: None,
                    media: Vec::new(),
                },
            ));
            self.push(
                Role::Model,
                Part::Call(Call {
                    id: call.id,
                    name,
                    args: call.args,
                    signature,
                }),
            );
        }
        // Their answers stand behind them, as many and in their order: whatever the client
        // tells later, or never, has its place.
        for (name, answer) in answers {
            let id = answer.id.clone().into_owned();
            self.push(Role::User, Part::Answer(answer));
            let content = self.contents.len() - 1;
            self.by_id.entry(id).or_default().push(self.asked.len());
            self.by_name.entry(name).or_default().push(self.asked.len());
            self.asked.push(Asked {
                content,
                part: self.contents[content].parts.len() - 1,
                answered: false,
            });
        }
        Ok(())
    }

    fn tool(
        &mut self,
        message: &Object<'a>,
        path: &Path<'_>,
        reading: &mut Reading<'_>,
    ) -> Result<(), InvalidRequest> {
        let id_path = path.key("tool_call_id");
        let id = member(message, &id_path, "tool_call_id", json::string)?.text();
        // Some clients trim the ids that they send back on results.
        let known = self.by_id.get_mut(signature::detach(&id).0);
        let known = known.ok_or_else(|| {
            InvalidRequest::value(
                &id_path,
                "a message of role 'tool' must answer a tool call of an assistant message before \
                 it; no such call has this id.",
            )
        })?;
        let open = last_open(known, &self.asked).ok_or_else(|| {
            InvalidRequest::value(&id_path, "another message answers this call already.")
        })?;
        self.answer(open, message, path, reading)
    }

    /// The answer of a function as it was before there were tools: by its name.
    fn function(
        &mut self,
        message: &Object<'a>,
        path: &Path<'_>,
        reading: &mut Reading<'_>,
    ) -> Result<(), InvalidRequest> {
        let name = function_name(message, path)?;
        let known = self.by_name.get_mut(&name);
        let open = known.and_then(|known| last_open(known, &self.asked));
        let open = open.ok_or_else(|| {
            InvalidRequest::value(
                &path.key("name"),
                "a message of role 'function' must answer a function call of an assistant message \
                 before it; there is none to this function.",
            )
        })?;
        self.answer(open, message, path, reading)
    }

    fn answer(
        &mut self,
        call: usize,
        message: &Object<'a>,
        path: &Path<'_>,
        reading: &mut Reading<'_>,
    ) -> Result<(), InvalidRequest> {
        let pieces = pieces(message, path, reading)?
            .ok_or_else(|| InvalidRequest::missing(&path.key("content")))?;
        let asked = &mut self.asked[call];
        asked.answered = true;
        let place = self
            .contents
            .get_mut(asked.content)
            .and_then(|content| content.parts.get_mut(asked.part));
        if let Some(Part::Answer(answer)) = place {
            let mut output = Vec::with_capacity(pieces.len());
            for piece in pieces {
                match piece {
                    Piece::Text(text) => output.push(text),
                    Piece::Media(media) => answer.media.push(media),
                }
            }
            answer.output = Some(output);
        }
        Ok(())
    }
}

/// The last of these calls that has no answer. Those behind it are forgotten: however many
/// calls share an id, each is looked at once.
fn last_open(calls: &mut Vec<usize>, asked: &[Asked]) -> Option<usize> {
    while let Some(last) = calls.pop() {
        if !asked[last].answered {
            return Some(last);
        }
    }
    None
}

/// Images that an earlier answer had, as our answers tell them.
fn images<'a>(
    message: &Object<'a>,
    path: &Path<'_>,
    reading: &mut Reading<'_>,
) -> Result<Vec<Media<'a>>, InvalidRequest> {
    let path = path.key("images");
    let Some(raw) = message.get("images") else {
        return Ok(Vec::new());
    };
    let mut images = Vec::new();
    for (at, raw) in read(raw, &path, json::array)?.into_iter().enumerate() {
        let path = path.index(at);
        let image = read(raw, &path, json::object)?;
        let known = [
            "type",
            "image_url",
            "index",
            "extra_content",
            "provider_specific_fields",
        ];
        reading.note_unknown("messages[].images[]", &image, &known);
        let at = path.key("image_url");
        let inner = member(&image, &at, "image_url", json::object)?;
        reading.note_unknown("messages[].images[].image_url", &inner, &["url"]);
        let at = at.key("url");
        let url = member(&inner, &at, "url", json::string)?.text();
        if !starts_with(&url, "data:") {
            return Err(InvalidRequest::value(&at, "expected a data URL."));
        }
        images.push(Media {
            source: data_url(url, None, &at)?,
            video: None,
            signature: Remembered::on(&image),
        });
    }
    Ok(images)
}
