//! Candidates as `GenerateContentResponse` documents: one for a unary answer, several for a stream.

use super::ask::Ask;
use super::speech::{Candidate, Piece};
use super::tokens;
use crate::catalogue::{Family, Model, Upstream};
use crate::json::{Json, object};
use crate::signature;

/// Where an answer comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) upstream: Upstream,
    pub(crate) response_id: String,
    /// RFC 3339; Vertex tells it.
    pub(crate) create_time: String,
}

/// Candidates with all that is told around them.
#[derive(Debug)]
pub(crate) struct Rendering<'a> {
    pub(crate) origin: Origin,
    pub(crate) model: &'a Model,
    pub(crate) prompt_tokens: u64,
    pub(crate) cached_tokens: u64,
    pub(crate) logprobs: Option<u64>,
    /// Whether the answer rests on a search.
    pub(crate) searched: bool,
    pub(crate) candidates: Vec<Candidate>,
}

impl<'a> Rendering<'a> {
    pub(crate) fn new(
        ask: &Ask<'_>,
        model: &'a Model,
        origin: Origin,
        candidates: Vec<Candidate>,
    ) -> Self {
        let prompt_tokens = ask.prompt_tokens();
        let cached_tokens = if ask.uses_cache() { CACHED_CONTENT } else { 0 };
        Self {
            origin,
            model,
            prompt_tokens: prompt_tokens + cached_tokens,
            cached_tokens,
            logprobs: ask.logprobs(),
            searched: ask.may_use("googleSearch", "google_search"),
            candidates,
        }
    }

    /// The whole answer at once.
    pub(crate) fn unary(&self) -> Json {
        let candidates: Vec<Json> = self
            .candidates
            .iter()
            .enumerate()
            .map(|(index, candidate)| {
                let steps = steps_of(candidate, 1);
                let parts = self.parts(candidate, &steps.concat(), true);
                self.candidate(index, candidate, parts, true)
            })
            .collect();
        let (said, thought) = self.totals();
        self.response(candidates, self.usage(said, thought))
    }

    /// The answer in events; texts are spread over `text_chunks` at most. The events of several candidates interleave.
    pub(crate) fn events(&self, text_chunks: usize) -> Vec<Json> {
        let plans: Vec<Vec<Vec<Piece>>> = self
            .candidates
            .iter()
            .map(|candidate| steps_of(candidate, text_chunks))
            .collect();
        let longest = plans.iter().map(Vec::len).max().unwrap_or(0);
        let mut events = Vec::new();
        let (mut said, mut thought) = (0, 0);
        for step in 0..longest {
            for (index, (plan, candidate)) in plans.iter().zip(&self.candidates).enumerate() {
                let Some(pieces) = plan.get(step) else {
                    continue;
                };
                let last = step + 1 == plan.len();
                let told: u64 = pieces
                    .iter()
                    .filter(|piece| !is_thought(piece))
                    .map(Piece::tokens)
                    .sum();
                said += told;
                if told > 0 || last {
                    thought = thought.max(self.totals().1);
                }
                let parts = self.parts(candidate, pieces, last);
                let rendered = self.candidate(index, candidate, parts, last);
                events.push(self.response(vec![rendered], self.usage(said, thought)));
            }
        }
        events
    }

    /// An answer that has no candidates because the prompt was blocked.
    pub(crate) fn blocked(&self, reason: &str) -> Json {
        let mut response = object! {
            "promptFeedback": object! {
                "blockReason": reason,
                "safetyRatings": [object! { "category": "HARM_CATEGORY_HATE_SPEECH", "probability": "HIGH" }],
            },
            "usageMetadata": self.usage(0, 0),
        };
        self.sign(&mut response);
        response
    }

    fn totals(&self) -> (u64, u64) {
        (
            self.candidates.iter().map(Candidate::tokens).sum(),
            self.candidates
                .iter()
                .map(|candidate| candidate.thought_tokens)
                .sum(),
        )
    }

    fn parts(&self, candidate: &Candidate, pieces: &[Piece], last: bool) -> Vec<Json> {
        let mut parts = Vec::new();
        let first_call = candidate
            .pieces
            .iter()
            .find(|piece| matches!(piece, Piece::Call { .. }));
        let signs = self.model.thinks() && candidate.thought_tokens > 0;
        for piece in pieces {
            let mut part = match piece {
                Piece::Thought(text) => object! { "thought": true, "text": text },
                Piece::Text(text) => object! { "text": text },
                Piece::Call { name, args, id } => {
                    let mut call = object! { "name": name, "args": args.clone() };
                    if let Some(id) = id {
                        call.set("id", id);
                    }
                    object! { "functionCall": call }
                }
                Piece::Image(data) => {
                    object! { "inlineData": object! { "mimeType": "image/png", "data": *data } }
                }
                Piece::Speech(data) => {
                    object! { "inlineData": object! { "mimeType": "audio/L16;codec=pcm;rate=24000", "data": *data } }
                }
                Piece::Code(code) => {
                    object! { "executableCode": object! { "language": "PYTHON", "code": *code } }
                }
                Piece::Output(output) => {
                    object! { "codeExecutionResult": object! { "outcome": "OUTCOME_OK", "output": *output } }
                }
            };
            // Of parallel calls only the first is signed; every image is.
            let signed = signs
                && self.model.family() == Family::Gemini
                && (Some(piece) == first_call || matches!(piece, Piece::Image(_)));
            if signed {
                part.set("thoughtSignature", signature::issue());
            }
            parts.push(part);
            if matches!(piece, Piece::Thought(_)) && self.model.family() == Family::Claude {
                parts.push(
                    object! { "thought": true, "text": "", "thoughtSignature": signature::issue() },
                );
            }
        }
        let texts_only = first_call.is_none()
            && candidate
                .pieces
                .iter()
                .all(|piece| !matches!(piece, Piece::Image(_)));
        if last && signs && texts_only && self.model.family() == Family::Gemini {
            parts.push(object! { "text": "", "thoughtSignature": signature::issue() });
        }
        parts
    }

    fn candidate(&self, index: usize, candidate: &Candidate, parts: Vec<Json>, last: bool) -> Json {
        let spoken: String = parts
            .iter()
            .filter(|part| part.get("thought").is_none())
            .filter_map(|part| part.get("text")?.as_str())
            .collect();
        let content = if parts.is_empty() {
            object! { "role": "model" }
        } else {
            object! { "role": "model", "parts": parts }
        };
        let mut rendered = object! { "content": content };
        if last {
            rendered.set("finishReason", &candidate.finish_reason);
            if let Some(message) = &candidate.finish_message {
                rendered.set("finishMessage", message);
            }
            if candidate.finish_reason == "SAFETY" {
                let rating = object! {
                    "category": "HARM_CATEGORY_DANGEROUS_CONTENT",
                    "probability": "HIGH",
                    "blocked": true,
                };
                rendered.set("safetyRatings", [rating]);
            }
        }
        if index > 0 || self.origin.upstream == Upstream::Gemini {
            rendered.set("index", index as u64);
        }
        if self.searched {
            // Events before the last have it empty.
            let metadata = if last {
                grounding(candidate)
            } else {
                object! {}
            };
            rendered.set("groundingMetadata", metadata);
        }
        if let Some(top) = self.logprobs.filter(|_| !spoken.is_empty()) {
            rendered.set("avgLogprobs", LOGPROB);
            rendered.set("logprobsResult", logprobs(&spoken, top));
        } else if last && self.origin.upstream == Upstream::Vertex && !spoken.is_empty() {
            rendered.set("avgLogprobs", LOGPROB);
        }
        rendered
    }

    fn response(&self, candidates: Vec<Json>, usage: Json) -> Json {
        let mut response = object! { "candidates": candidates, "usageMetadata": usage };
        self.sign(&mut response);
        response
    }

    fn sign(&self, response: &mut Json) {
        response.set("modelVersion", &self.model.id);
        if self.origin.upstream == Upstream::Vertex {
            response.set("createTime", &self.origin.create_time);
        }
        response.set("responseId", &self.origin.response_id);
    }

    fn usage(&self, said: u64, thought: u64) -> Json {
        let modality = |tokens: u64| [object! { "modality": "TEXT", "tokenCount": tokens }];
        // Claude's thinking is not told apart from its answer.
        let (said, thought) = if self.model.family() == Family::Gemini {
            (said, thought)
        } else {
            (said + thought, 0)
        };
        let mut usage = object! { "promptTokenCount": self.prompt_tokens };
        if said > 0 {
            usage.set("candidatesTokenCount", said);
        }
        usage.set("totalTokenCount", self.prompt_tokens + said + thought);
        if self.cached_tokens > 0 {
            usage.set("cachedContentTokenCount", self.cached_tokens);
        }
        if self.origin.upstream == Upstream::Vertex {
            usage.set("trafficType", "ON_DEMAND");
        }
        usage.set("promptTokensDetails", modality(self.prompt_tokens));
        let made = |is_one: fn(&Piece) -> bool| -> u64 {
            let pieces = self.candidates.iter().flat_map(|one| &one.pieces);
            pieces
                .filter(|piece| is_one(piece))
                .map(Piece::tokens)
                .sum()
        };
        let drawn = made(|piece| matches!(piece, Piece::Image(_)));
        let spoken = made(|piece| matches!(piece, Piece::Speech(_)));
        if drawn + spoken > 0 && said >= drawn + spoken {
            let details: Vec<Json> = [
                ("IMAGE", drawn),
                ("AUDIO", spoken),
                ("TEXT", said - drawn - spoken),
            ]
            .into_iter()
            .filter(|(modality, tokens)| *tokens > 0 || (*modality == "TEXT" && drawn > 0))
            .map(|(modality, tokens)| object! { "modality": modality, "tokenCount": tokens })
            .collect();
            usage.set("candidatesTokensDetails", details);
        } else if said > 0 && self.origin.upstream == Upstream::Vertex {
            usage.set("candidatesTokensDetails", modality(said));
        }
        if thought > 0 {
            usage.set("thoughtsTokenCount", thought);
        }
        usage
    }
}

/// What a `cachedContent` counts.
const CACHED_CONTENT: u64 = 4_096;
/// The log probability of every token: this Google is rather sure of itself.
const LOGPROB: f64 = -0.125;

fn is_thought(piece: &Piece) -> bool {
    matches!(piece, Piece::Thought(_))
}

/// Two sources: one of the first word, which needs no start, and one of the rest. Places are in bytes.
fn grounding(candidate: &Candidate) -> Json {
    let text: String = candidate
        .pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let first = text.split(' ').next().unwrap_or_default();
    let rest = text[first.len()..].trim_start();
    let source = |name: &str| object! { "web": object! { "uri": format!("https://{name}.example/"), "title": name } };
    let first_segment = object! { "endIndex": first.len() as u64, "text": first };
    let rest_segment = object! {
        "startIndex": (text.len() - rest.len()) as u64,
        "endIndex": text.len() as u64,
        "text": rest,
    };
    object! {
        "webSearchQueries": ["hello"],
        "searchEntryPoint": object! { "renderedContent": "<div>hello</div>" },
        "groundingChunks": [source("one"), source("two")],
        "groundingSupports": [
            object! { "segment": first_segment, "groundingChunkIndices": [0_u64] },
            object! { "segment": rest_segment, "groundingChunkIndices": [0_u64, 1_u64] },
        ],
    }
}

/// What each event of a stream brings. There is at least one, for the finish reason.
fn steps_of(candidate: &Candidate, text_chunks: usize) -> Vec<Vec<Piece>> {
    let mut steps: Vec<Vec<Piece>> = Vec::new();
    let calls = candidate
        .pieces
        .iter()
        .any(|piece| matches!(piece, Piece::Call { .. }));
    for piece in &candidate.pieces {
        match piece {
            Piece::Text(text) => {
                steps.extend(
                    spread(text, text_chunks)
                        .into_iter()
                        .map(|chunk| vec![Piece::Text(chunk)]),
                );
            }
            other => steps.push(vec![other.clone()]),
        }
    }
    if text_chunks > 1 && calls {
        // Streams with calls end with an event of its own for the finish reason.
        steps.push(vec![Piece::Text(String::new())]);
    }
    if steps.is_empty() {
        steps.push(Vec::new());
    }
    steps
}

/// Cuts between tokens into nearly equal chunks.
fn spread(text: &str, chunks: usize) -> Vec<String> {
    let pieces = tokens::pieces(text);
    let size = pieces.len().div_ceil(chunks.max(1)).max(1);
    pieces.chunks(size).map(|chunk| chunk.concat()).collect()
}

fn logprobs(text: &str, top: u64) -> Json {
    let told = |token: &str, log_probability: f64| {
        let id = token
            .bytes()
            .fold(7_u64, |id, byte| (id * 31 + u64::from(byte)) % 250_000);
        object! { "token": token, "tokenId": id, "logProbability": log_probability }
    };
    let pieces = tokens::pieces(text);
    let chosen: Vec<Json> = pieces.iter().map(|token| told(token, LOGPROB)).collect();
    let mut result = object! {};
    if top > 0 {
        let alternatives: Vec<Json> = pieces
            .iter()
            .map(|token| {
                let candidates: Vec<Json> = (0..top)
                    .map(|rank| match rank {
                        0 => told(token, LOGPROB),
                        rank => told(&format!("{token}{rank}"), LOGPROB - 2.0 - rank as f64),
                    })
                    .collect();
                object! { "candidates": candidates }
            })
            .collect();
        result.set("topCandidates", alternatives);
    }
    result.set("chosenCandidates", chosen);
    result
}

/// Several responses as the one that a unary call would have answered: candidates by index, parts in order, the last
/// of everything else.
pub(crate) fn merge(events: &[Json]) -> Json {
    let mut merged = object! {};
    let mut candidates: Vec<Json> = Vec::new();
    for event in events {
        for (name, value) in event.as_object().into_iter().flatten() {
            if name != "candidates" {
                merged.set(name, value.clone());
            }
        }
        for candidate in event.get("candidates").map(Json::items).unwrap_or_default() {
            let index = candidate.get("index").and_then(Json::as_u64).unwrap_or(0) as usize;
            while candidates.len() <= index.min(7) {
                candidates.push(object! {});
            }
            add(&mut candidates[index.min(7)], candidate);
        }
    }
    if !candidates.is_empty() {
        let Json::Object(rest) = merged else {
            return merged;
        };
        merged = object! { "candidates": candidates };
        for (name, value) in rest {
            merged.set(&name, value);
        }
    }
    merged
}

fn add(candidate: &mut Json, more: &Json) {
    for (name, value) in more.as_object().into_iter().flatten() {
        let earlier = candidate
            .get("content")
            .and_then(|content| content.get("parts"))
            .map(Json::items);
        match (name.as_str(), earlier, value.get("parts").map(Json::items)) {
            ("content", Some(earlier), Some(later)) => {
                let parts = joined(earlier, later);
                candidate.set("content", object! { "role": "model", "parts": parts });
            }
            ("content", Some(_), None) => {}
            _ => candidate.set(name, value.clone()),
        }
    }
}

/// Texts of one kind that follow each other are one part, unless one is signed.
fn joined(earlier: &[Json], later: &[Json]) -> Vec<Json> {
    let mut parts = earlier.to_vec();
    for part in later {
        let plain = |part: &Json| {
            part.as_object().is_some_and(|fields| {
                fields
                    .keys()
                    .all(|name| name == "text" || name == "thought")
            })
        };
        let thought = |part: &Json| part.get("thought").is_some();
        match (parts.last_mut(), part.get("text").and_then(Json::as_str)) {
            (Some(before), Some(text))
                if plain(before) && plain(part) && thought(before) == thought(part) =>
            {
                let whole = before
                    .get("text")
                    .and_then(Json::as_str)
                    .unwrap_or_default()
                    .to_owned()
                    + text;
                before.set("text", whole);
            }
            _ => parts.push(part.clone()),
        }
    }
    parts
}
