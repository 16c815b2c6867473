//! Signatures that a client sends back with an assistant's message: by Google's own way,
//! by LiteLLM's and by OpenRouter's.

use std::{borrow::Cow, collections::VecDeque};

use crate::{
    gemini::model::Generation,
    json::{self, Document, JsonStr, Object, Raw},
    signature,
};

/// What a message remembers besides the signatures on its calls.
#[derive(Debug, Default)]
pub(super) struct Remembered<'a> {
    /// Of the text.
    text: Option<Cow<'a, str>>,
    /// Of calls, by their ids.
    by_id: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Of calls, in their order.
    in_order: Vec<Cow<'a, str>>,
    /// Of the first call, which is the one that Gemini signs.
    of_first: Option<Cow<'a, str>>,
    /// Of nobody in particular.
    loose: VecDeque<Cow<'a, str>>,
    /// Signed thoughts.
    pub(super) thoughts: Vec<(JsonStr<'a>, Cow<'a, str>)>,
}

impl<'a> Remembered<'a> {
    /// The signature that stands on an object itself: `extra_content.google`, or
    /// `provider_specific_fields`.
    pub(super) fn on(object: &Object<'a>) -> Option<Cow<'a, str>> {
        ["extra_content", "provider_specific_fields"]
            .into_iter()
            .find_map(|key| in_object(object.get(key)?))
    }

    /// What stands on the message.
    pub(super) fn of(message: &Object<'a>, generation: Generation) -> Self {
        let mut remembered = Self {
            text: Self::on(message),
            ..Self::default()
        };
        let fields = message.get("provider_specific_fields");
        let listed = fields
            .and_then(|raw| json::object(raw).ok())
            .and_then(|fields| fields.get("thought_signatures"))
            .and_then(|raw| json::array(raw).ok());
        remembered.in_order = listed.into_iter().flatten().filter_map(signature).collect();
        for key in ["reasoning_details", "thinking_blocks"] {
            let list = message.get(key).and_then(|raw| json::array(raw).ok());
            let blocks = list.into_iter().flatten();
            for block in blocks.filter_map(|raw| json::object(raw).ok()) {
                remembered.block(&block, generation);
            }
        }
        remembered
    }

    /// An element of `reasoning_details` (<https://openrouter.ai/docs/use-cases/reasoning-tokens>)
    /// or of `thinking_blocks`.
    fn block(&mut self, block: &Object<'a>, generation: Generation) {
        let member = |key: &str| json::string(block.get(key)?).ok();
        // A signature of another maker's is refused, with all of the request.
        let maker = member("format").map(JsonStr::text);
        let own = if generation == Generation::Claude {
            "anthropic"
        } else {
            "google"
        };
        let is_foreign = maker
            .as_deref()
            .is_some_and(|maker| !maker.starts_with(own));
        let kind = member("type").map(JsonStr::text);
        if is_foreign || kind.as_deref() == Some("redacted_thinking") {
            return;
        }
        if let Some(signature) = block.get("data").and_then(signature) {
            match member("id").map(JsonStr::text) {
                Some(id) => {
                    let id = signature::detach(&id).0.to_owned();
                    self.by_id.push((id.into(), signature));
                }
                None => self.loose.push_back(signature),
            }
            return;
        }
        let Some(signature) = block.get("signature").and_then(signature) else {
            return;
        };
        let text = member("text").or_else(|| member("thinking"));
        let text = text.filter(|text| !text.has_lone_surrogate());
        match text.map(|text| (text, signed_part(text))) {
            Some((_, Some(Signed::Call))) => {
                self.of_first.get_or_insert(signature);
            }
            Some((_, Some(Signed::Text))) | None => self.loose.push_back(signature),
            Some(_) if maker.is_some() && generation != Generation::Claude => {
                self.loose.push_back(signature);
            }
            Some((text, None)) => self.thoughts.push((text, signature)),
        }
    }

    /// The signature of the call with this id, the `at`th of its message.
    pub(super) fn of_call(&mut self, id: &str, at: usize) -> Option<Cow<'a, str>> {
        let named = self.by_id.iter().find(|(named, _)| named == id);
        if let Some((_, signature)) = named {
            return Some(signature.clone());
        }
        if let Some(signature) = self.in_order.get(at) {
            return Some(signature.clone());
        }
        let first = (at == 0).then(|| self.of_first.take());
        first?.or_else(|| self.loose.pop_front())
    }

    /// The signature of the text; asked after those of the calls.
    pub(super) fn take_text(&mut self) -> Option<Cow<'a, str>> {
        self.text.take().or_else(|| self.loose.pop_back())
    }
}

/// What LiteLLM has a signature of.
enum Signed {
    Call,
    Text,
}

/// The part that a signature was on, as LiteLLM has it in place of a thought: in JSON.
fn signed_part(thought: JsonStr<'_>) -> Option<Signed> {
    if !thought.escaped().starts_with('{') {
        return None;
    }
    let part = thought.text();
    let part = Document::read(&part).ok()?;
    let part = json::object(part.root()).ok()?;
    if part.get("functionCall").is_some() {
        return Some(Signed::Call);
    }
    part.get("text").map(|_| Signed::Text)
}

/// A text that can be a signature.
fn signature(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    let text = json::string(raw).ok()?.text();
    signature::is_signature(&text).then_some(text)
}

/// `{"google": {"thought_signature": …}}`, or the signature without Google's name around
/// it, as LiteLLM has it.
fn in_object(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    let extra = json::object(raw).ok()?;
    let inner = match extra.get("google").or_else(|| extra.get("vertex")) {
        Some(raw) => json::object(raw).ok()?,
        None => extra,
    };
    signature(inner.get("thought_signature")?)
}
