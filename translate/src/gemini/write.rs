//! How each API wants a request written, and what its models make of it.

use super::{
    model::{self, Dialect, Generation},
    request::{Answer, Call, Content, Media, Part, Request, Role, Source, Target},
    settings::RETRIEVAL,
    thinking,
};
use crate::{
    json::{JsonStr, write_string},
    signature,
};

/// What differs from target to target.
#[derive(Clone, Copy)]
pub(super) struct Context<'t> {
    pub(super) dialect: Dialect,
    pub(super) generation: Generation,
    pub(super) model: &'t str,
}

impl Request<'_> {
    /// Appends the request as JSON.
    pub fn write(&self, target: Target<'_>, out: &mut Vec<u8>) {
        let context = Context {
            dialect: target.dialect,
            generation: Generation::of(target.model),
            model: target.model,
        };
        let instructed = model::takes_instructions(target.model);
        out.extend_from_slice(b"{\"contents\":[");
        let mut above: &[JsonStr<'_>] = if instructed { &[] } else { &self.system };
        for (at, content) in self.contents.iter().enumerate() {
            comma(at, out);
            let first_user = content.role == Role::User;
            content.write(
                if first_user {
                    std::mem::take(&mut above)
                } else {
                    &[]
                },
                context,
                out,
            );
        }
        out.push(b']');
        if instructed && !self.system.is_empty() {
            out.extend_from_slice(b",\"systemInstruction\":{\"parts\":[");
            texts(&self.system, out);
            out.extend_from_slice(b"]}");
        }
        self.write_tools(context, out);
        for (name, value) in self.verbatim.iter().filter(|(name, _)| *name != RETRIEVAL) {
            out.extend_from_slice(format!(",\"{name}\":{value}").as_bytes());
        }
        let thinking = self.thinking(context);
        self.config.write(context, thinking, out);
        out.push(b'}');
    }

    /// Whether thoughts are missing before a call since the user spoke last.
    pub(crate) fn has_lost_thoughts(&self) -> bool {
        let is_answer =
            |content: &Content<'_>| matches!(content.parts.first(), Some(Part::Answer(_)));
        let begin = self
            .contents
            .iter()
            .rposition(|content| content.role == Role::User && !is_answer(content));
        let lost = |content: &Content<'_>| {
            let is_call = |part: &Part<'_>| matches!(part, Part::Call(_));
            content.parts.iter().any(is_call)
                && !matches!(content.parts.first(), Some(Part::Thought { .. }))
        };
        self.contents[begin.unwrap_or_default()..].iter().any(lost)
    }

    /// `thinkingConfig`. Claude refuses to think on where it called a function and its
    /// thoughts before that are not at hand.
    fn thinking(&self, context: Context<'_>) -> Option<thinking::Config> {
        if context.generation == Generation::Claude && self.has_lost_thoughts() {
            return None;
        }
        thinking::config(
            &self.config.thinking,
            context.generation,
            context.model,
            self.config.max_output_tokens,
        )
    }
}

pub(super) fn comma(at: usize, out: &mut Vec<u8>) {
    if at > 0 {
        out.push(b',');
    }
}

fn texts(all: &[JsonStr<'_>], out: &mut Vec<u8>) {
    for (at, text) in all.iter().enumerate() {
        comma(at, out);
        out.extend_from_slice(b"{\"text\":");
        out.extend_from_slice(text.token().as_bytes());
        out.push(b'}');
    }
}

impl Content<'_> {
    /// `above`: instructions that are said here, since the model takes none.
    fn write(&self, above: &[JsonStr<'_>], context: Context<'_>, out: &mut Vec<u8>) {
        let role: &[u8] = match self.role {
            Role::User => b"{\"role\":\"user\",\"parts\":[",
            Role::Model => b"{\"role\":\"model\",\"parts\":[",
        };
        out.extend_from_slice(role);
        texts(above, out);
        let mut written = above.len();
        let mut dummy = context.generation.demands_signatures();
        for part in self.parts.iter().filter(|part| part.is_for(context)) {
            comma(written, out);
            part.write(self.role, context, &mut dummy, out);
            written += 1;
        }
        if written == 0 {
            // Nothing of the turn is for this model, but a turn it has to be; Claude refuses
            // blanks.
            out.extend_from_slice(b"{\"text\":\".\"}");
        }
        out.extend_from_slice(b"]}");
        let shown: Vec<&Media<'_>> = self
            .parts
            .iter()
            .filter_map(|part| match part {
                Part::Answer(answer) => Some(answer),
                _ => None,
            })
            .flat_map(|answer| &answer.media)
            .filter(|media| !media.fits_answer(context))
            .collect();
        if !shown.is_empty() {
            // Answers stand alone in their turn.
            out.push(b',');
            out.extend_from_slice(role);
            for (at, media) in shown.into_iter().enumerate() {
                comma(at, out);
                media.write(out);
            }
            if context.generation != Generation::Claude {
                // Vertex AI wants a word with every picture.
                out.extend_from_slice(b",{\"text\":\" \"}");
            }
            out.extend_from_slice(b"]}");
        }
    }
}

impl Part<'_> {
    /// Whether the part is for this model at all.
    fn is_for(&self, context: Context<'_>) -> bool {
        let is_claude = context.generation == Generation::Claude;
        match self {
            Self::Thought { .. } => is_claude,
            Self::Blank => !is_claude,
            Self::Text { text, signature } => {
                let carries = signature.is_some() && context.generation.knows_signatures();
                !(is_claude && text.is_empty())
                    && (carries || !text.is_empty() || signature.is_none())
            }
            Self::Call(_) | Self::Answer(_) | Self::Media(_) => true,
        }
    }

    /// `dummy`: the next call is the first of its turn, which is refused without a signature
    /// whatever else is signed.
    fn write(&self, role: Role, context: Context<'_>, dummy: &mut bool, out: &mut Vec<u8>) {
        // Image models want every image of theirs signed.
        let is_models = role == Role::Model;
        match self {
            Self::Blank => out.extend_from_slice(b"{\"text\":\" \"}"),
            Self::Text { text, signature } => {
                out.extend_from_slice(b"{\"text\":");
                out.extend_from_slice(text.token().as_bytes());
                write_signature(signature.as_deref(), context, out);
                out.push(b'}');
            }
            Self::Thought { text, signature } => {
                out.extend_from_slice(b"{\"thought\":true,\"text\":");
                out.extend_from_slice(text.token().as_bytes());
                out.extend_from_slice(b",\"thoughtSignature\":");
                write_string(out, signature);
                out.push(b'}');
            }
            Self::Call(call) => call.write(context, std::mem::take(dummy), out),
            Self::Answer(answer) => answer.write(context, out),
            Self::Media(media) => {
                media.write(out);
                let dummy = is_models && context.generation.demands_signatures();
                let dummy = dummy.then_some(signature::DUMMY);
                out.pop();
                write_signature(media.signature.as_deref().or(dummy), context, out);
                out.push(b'}');
            }
        }
    }
}

impl Call<'_> {
    fn write(&self, context: Context<'_>, needs_dummy: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"functionCall\":{\"name\":");
        write_string(out, &self.name);
        out.extend_from_slice(b",\"args\":");
        out.extend_from_slice(self.args.as_bytes());
        write_id(context, &self.id, out);
        out.push(b'}');
        let dummy = needs_dummy.then_some(signature::DUMMY);
        write_signature(self.signature.as_deref().or(dummy), context, out);
        out.push(b'}');
    }
}

impl Answer<'_> {
    fn write(&self, context: Context<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"functionResponse\":{\"name\":");
        write_string(out, &self.name);
        out.extend_from_slice(b",\"response\":{");
        if let Some(output) = &self.output {
            // Kept a text: as an object, Google would read its numbers as
            // doubles and its `$ref` as references.
            out.extend_from_slice(b"\"output\":\"");
            for piece in output {
                out.extend_from_slice(piece.escaped().as_bytes());
            }
            out.push(b'"');
        }
        out.push(b'}');
        let shown = self.media.iter().filter(|media| media.fits_answer(context));
        for (at, media) in shown.clone().enumerate() {
            out.extend_from_slice(if at == 0 { b",\"parts\":[" } else { b"," });
            media.write(out);
        }
        if shown.count() > 0 {
            out.push(b']');
        }
        write_id(context, &self.id, out);
        out.extend_from_slice(b"}}");
    }
}

impl Media<'_> {
    /// Whether a function's answer may hold it: from the third generation on, and what is
    /// in the request.
    fn fits_answer(&self, context: Context<'_>) -> bool {
        context.generation == Generation::Gemini3 && matches!(self.source, Source::Inline { .. })
    }

    fn write(&self, out: &mut Vec<u8>) {
        match &self.source {
            Source::Inline { mime, data } => {
                out.extend_from_slice(b"{\"inlineData\":{\"mimeType\":");
                write_string(out, mime);
                out.extend_from_slice(b",\"data\":");
                write_string(out, data);
                out.push(b'}');
            }
            Source::File { mime, uri } => {
                out.extend_from_slice(b"{\"fileData\":{\"fileUri\":");
                write_string(out, uri);
                if let Some(mime) = mime {
                    out.extend_from_slice(b",\"mimeType\":");
                    write_string(out, mime);
                }
                out.push(b'}');
            }
            // Whoever lets addresses in supplies what is there before writing.
            Source::Remote(_) => out.extend_from_slice(b"{\"text\":\"\""),
        }
        if let Some(video) = self.video {
            out.extend_from_slice(format!(",\"videoMetadata\":{video}").as_bytes());
        }
        out.push(b'}');
    }
}

fn write_id(context: Context<'_>, id: &str, out: &mut Vec<u8>) {
    // Vertex refuses ids of calls; the other two echo them.
    if context.dialect == Dialect::Vertex || id.is_empty() {
        return;
    }
    out.extend_from_slice(b",\"id\":");
    if context.generation == Generation::Claude {
        // Anthropic's ids are of one alphabet, and histories come from elsewhere too.
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let id: String = id.chars().map(|c| if fits(c) { c } else { '_' }).collect();
        write_string(out, &id);
    } else {
        write_string(out, id);
    }
}

fn write_signature(signature: Option<&str>, context: Context<'_>, out: &mut Vec<u8>) {
    if let Some(signature) = signature
        && context.generation.knows_signatures()
    {
        out.extend_from_slice(b",\"thoughtSignature\":");
        write_string(out, &signature::normalized(signature));
    }
}
