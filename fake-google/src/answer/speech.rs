//! What is said: thoughts, text, calls and images, and why it ends.

use std::collections::HashSet;

use super::ask::{Ask, Mode, Tool};
use super::instance::{free_form, instance};
use super::subject::{keys, next_step, squash, subject};
use super::tokens;
use crate::catalogue::{Family, Kind, Model, Upstream};
use crate::counters::fingerprint;
use crate::json::{Json, object};

/// An echo is cut here, so that a long prompt does not make a long answer.
const ECHO_CHARS: usize = 2_000;
/// Verbs that say nothing about what a tool is for.
const VAGUE: [&str; 12] = [
    "call", "create", "fetch", "find", "function", "list", "make", "query", "search", "send",
    "tool", "update",
];
/// The smallest PNG: one transparent pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

/// A little noise: four samples, then two and three, so that no piece ends where base64 does.
const SPEECH: [&str; 3] = ["CwALABAADQA=", "FQASAA==", "AwAPAA0A"];

/// One piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    Thought(String),
    Text(String),
    Call {
        name: String,
        args: Json,
        id: Option<String>,
    },
    /// A PNG in base64.
    Image(&'static str),
    /// Samples in base64.
    Speech(&'static str),
    /// Code that is run at Google.
    Code(&'static str),
    /// What it prints.
    Output(&'static str),
}

impl Piece {
    pub(crate) fn tokens(&self) -> u64 {
        match self {
            Self::Thought(text) | Self::Text(text) => tokens::count(text),
            Self::Code(text) | Self::Output(text) => tokens::count(text),
            Self::Call { name, args, .. } => tokens::count(name) + tokens::count(&args.to_line()),
            Self::Image(_) => tokens::IMAGE_OUTPUT,
            Self::Speech(_) => tokens::SPEECH_OUTPUT,
        }
    }
}

/// One of the answers.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) pieces: Vec<Piece>,
    /// Tokens of thinking, told or not.
    pub(crate) thought_tokens: u64,
    pub(crate) finish_reason: String,
    pub(crate) finish_message: Option<String>,
}

impl Candidate {
    /// Tokens of everything but thoughts.
    pub(crate) fn tokens(&self) -> u64 {
        self.pieces
            .iter()
            .filter(|piece| !matches!(piece, Piece::Thought(_)))
            .map(Piece::tokens)
            .sum()
    }

    /// An answer without content that ends for `reason`.
    pub(crate) fn silent(reason: &str, message: Option<&str>) -> Self {
        Self {
            pieces: Vec::new(),
            thought_tokens: 0,
            finish_reason: reason.to_owned(),
            finish_message: message.map(str::to_owned),
        }
    }

    /// Says something else than what it was going to.
    pub(crate) fn says(&mut self, text: &str) {
        self.pieces
            .retain(|piece| matches!(piece, Piece::Thought(_)));
        self.pieces.push(Piece::Text(text.to_owned()));
    }

    /// Breaks off in the middle of the text for `reason`.
    pub(crate) fn break_off(&mut self, reason: &str) {
        let half = self.tokens().div_ceil(2);
        self.cut(half);
        reason.clone_into(&mut self.finish_reason);
    }

    /// Keeps so many tokens of what is not thoughts. Calls and images are kept or dropped whole.
    fn cut(&mut self, mut left: u64) {
        self.pieces.retain_mut(|piece| match piece {
            Piece::Thought(_) => true,
            Piece::Text(text) => {
                let pieces = tokens::pieces(text);
                let kept = pieces
                    .len()
                    .min(usize::try_from(left).unwrap_or(usize::MAX));
                left -= kept as u64;
                *text = pieces[..kept].concat();
                kept > 0
            }
            whole => {
                let fits = whole.tokens() <= left;
                left = if fits { left - whole.tokens() } else { 0 };
                fits
            }
        });
    }
}

/// The answers of `model` on `upstream`.
pub(crate) fn speak(ask: &Ask<'_>, model: &Model, upstream: Upstream, nth: u64) -> Candidate {
    let thinks = model.thinks() && !ask.thinking_is_off();
    let thought = format!(
        "The user said {} words. One sentence will do.",
        ask.last_text().split_whitespace().count()
    );
    let mut pieces = content(ask, model, upstream);
    if nth > 0
        && let Some(Piece::Text(text)) = pieces.first_mut()
        && ask.response_schema().is_none()
    {
        text.push_str(&format!(" (Take {}.)", nth + 1));
    }
    if thinks && ask.includes_thoughts() {
        pieces.insert(0, Piece::Thought(thought.clone()));
    }
    let mut candidate = Candidate {
        pieces,
        thought_tokens: if thinks { tokens::count(&thought) } else { 0 },
        finish_reason: "STOP".to_owned(),
        finish_message: None,
    };
    stop(&mut candidate, &ask.stop_sequences());
    limit(
        &mut candidate,
        ask.max_output_tokens().unwrap_or(model.output_token_limit),
    );
    if model.family() == Family::Claude
        && candidate
            .pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Call { .. }))
    {
        "OTHER".clone_into(&mut candidate.finish_reason);
    }
    candidate
}

/// Thinking counts against the limit too, and comes first.
fn limit(candidate: &mut Candidate, limit: u64) {
    if candidate.thought_tokens + candidate.tokens() <= limit {
        return;
    }
    candidate.thought_tokens = candidate.thought_tokens.min(limit);
    candidate.cut(limit - candidate.thought_tokens);
    "MAX_TOKENS".clone_into(&mut candidate.finish_reason);
}

fn stop(candidate: &mut Candidate, sequences: &[&str]) {
    for piece in &mut candidate.pieces {
        if let Piece::Text(text) = piece
            && let Some(at) = sequences
                .iter()
                .filter(|stop| !stop.is_empty())
                .filter_map(|stop| text.find(stop))
                .min()
        {
            text.truncate(at);
        }
    }
}

fn content(ask: &Ask<'_>, model: &Model, upstream: Upstream) -> Vec<Piece> {
    let text = next_step(ask).unwrap_or_else(|| ask.last_text());
    let calls = calls(ask, &text);
    if !calls.is_empty() {
        return calls
            .iter()
            .enumerate()
            .map(|(nth, tool)| Piece::Call {
                name: tool.name.to_owned(),
                args: arguments(tool, &text),
                id: call_id(model, upstream, tool.name, &text, nth),
            })
            .collect();
    }
    if ask.wants("AUDIO", 3) {
        return SPEECH.map(Piece::Speech).to_vec();
    }
    if model.kind == Kind::Image && ask.wants("IMAGE", 2) {
        return vec![
            Piece::Text("Here is a picture, one pixel of it. ".to_owned()),
            Piece::Image(PNG),
        ];
    }
    let words = Piece::Text(words(ask, &text));
    if ask.may_use("codeExecution", "code_execution") {
        return vec![
            Piece::Code("print(\"caf\u{e9}\")\n"),
            Piece::Output("caf\u{e9}\n"),
            words,
        ];
    }
    vec![words]
}

fn words(ask: &Ask<'_>, text: &str) -> String {
    let results = ask.results();
    if let Some(schema) = ask.response_schema() {
        let value = instance(schema, &subject(text));
        return match (ask.response_mime_type(), value) {
            ("text/x.enum", Json::String(choice)) => choice,
            (_, value) => value.to_line(),
        };
    }
    let said = if results.is_empty() {
        let echo: String = text.chars().take(ECHO_CHARS).collect();
        let media = match ask.media() {
            0 => String::new(),
            1 => " and sent 1 file".to_owned(),
            many => format!(" and sent {many} files"),
        };
        if echo.is_empty() {
            format!("Hello! You said nothing{media}.")
        } else {
            format!("Hello! You said{media}: {echo}")
        }
    } else {
        let told: Vec<String> = results
            .iter()
            .map(|(name, result)| format!("{name} says {}", result.to_line()))
            .collect();
        format!("Here is what I found: {}.", told.join("; "))
    };
    if ask.response_mime_type() == "application/json" {
        free_form(&said, &keys(text)).to_line()
    } else {
        said
    }
}

/// The tools to call, see the module above.
fn calls<'a>(ask: &Ask<'a>, text: &str) -> Vec<Tool<'a>> {
    let tools = ask.tools();
    let mode = ask.mode();
    if mode == Mode::None || tools.is_empty() {
        return Vec::new();
    }
    let silent = ask.text_of_last_turn().is_empty() && next_step(ask).is_none();
    let meant: Vec<Tool<'a>> = if silent {
        Vec::new()
    } else {
        let said = squash(text);
        let named: Vec<Tool<'a>> = tools
            .iter()
            .copied()
            .filter(|tool| said.contains(&squash(tool.name)))
            .collect();
        if named.is_empty() {
            let words: HashSet<&str> = said.split(' ').collect();
            tools
                .iter()
                .copied()
                .filter(|tool| hinted(tool.name, &words))
                .collect()
        } else {
            named
        }
    };
    match (meant.is_empty(), mode) {
        (true, Mode::Any) => tools.into_iter().take(1).collect(),
        _ => meant,
    }
}

fn hinted(name: &str, words: &HashSet<&str>) -> bool {
    squash(name)
        .split(' ')
        .filter(|word| word.chars().count() >= 4 && !VAGUE.contains(word))
        .any(|word| words.contains(word))
}

fn arguments(tool: &Tool<'_>, text: &str) -> Json {
    tool.schema.map_or_else(
        || object! {},
        |schema| match instance(schema, &subject(text)) {
            Json::Object(fields) => Json::Object(fields),
            _ => object! {},
        },
    )
}

/// The older models of the official APIs give calls no id.
fn call_id(
    model: &Model,
    upstream: Upstream,
    tool: &str,
    text: &str,
    nth: usize,
) -> Option<String> {
    let seed = fingerprint(&format!("{tool} {text} {nth}"));
    match model.family() {
        Family::Claude => Some(format!("toolu_vrtx_01{seed}{nth:08}FakeFake")),
        Family::Gpt => Some(format!("call_{seed}")),
        Family::Gemini if upstream == Upstream::CodeAssist || model.checks_signatures() => {
            Some(format!(
                "call_{}",
                u64::from_str_radix(&seed, 16).unwrap_or(0) % 10_000_000 + nth as u64
            ))
        }
        Family::Gemini => None,
    }
}
