//! What an answer rests on: search results, places, documents and recited works, as
//! Google tells them beside a candidate.
//!
//! This is metadata: what of it cannot be read is passed over, since the answer stands
//! without it.

use crate::json::{self, Array, JsonStr, Object, Raw};

/// A source of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Citation<'a> {
    /// What of the answer rests on it. `None`: Google does not say, so all of it.
    pub segment: Option<Segment<'a>>,
    /// Where it is found, as far as Google says.
    pub url: Option<JsonStr<'a>>,
    /// What it is called.
    pub title: Option<JsonStr<'a>>,
}

/// A piece of an answer's text.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The part whose text it is a piece of; `None`: the candidate's text as a whole.
    pub part: Option<usize>,
    /// Where it begins, in bytes of UTF-8.
    pub start: usize,
    /// Where it ends, in bytes of UTF-8.
    pub end: usize,
    /// The piece itself, where Google repeats it.
    pub text: Option<JsonStr<'a>>,
}

/// Hands out the sources of a `groundingMetadata`: one for each source of each segment,
/// or, where there are no segments, one for each source.
// https://ai.google.dev/api/generate-content#GroundingMetadata
pub fn grounded<'a>(metadata: Raw<'a>, mut each: impl FnMut(Citation<'a>)) {
    let Some(metadata) = metadata.as_object() else {
        return;
    };
    let chunks = list(metadata, "groundingChunks").into_iter().flatten();
    let sources: Vec<Option<Object<'a>>> = chunks.map(source).collect();
    let supports = list(metadata, "groundingSupports");
    for support in supports.into_iter().flatten().filter_map(Raw::as_object) {
        let Some(segment) = support.get("segment").and_then(Raw::as_object) else {
            continue;
        };
        let segment = Segment {
            part: integer(segment, "partIndex").map(offset),
            // proto3's JSON leaves out what is 0.
            start: offset(integer(segment, "startIndex").unwrap_or(0)),
            end: offset(integer(segment, "endIndex").unwrap_or(0)),
            text: string(segment, "text"),
        };
        for raw in list(support, "groundingChunkIndices").into_iter().flatten() {
            let at = json::integer(raw)
                .ok()
                .and_then(|at| usize::try_from(at).ok());
            if let Some(Some(source)) = at.and_then(|at| sources.get(at)) {
                each(citation(*source, Some(segment)));
            }
        }
    }
    if supports.is_none_or(Array::is_empty) {
        for source in sources.into_iter().flatten() {
            each(citation(source, None));
        }
    }
}

/// The source of a `groundingChunk`, whatever its kind.
fn source(chunk: Raw<'_>) -> Option<Object<'_>> {
    let chunk = chunk.as_object()?;
    ["web", "maps", "retrievedContext", "image"]
        .iter()
        .find_map(|kind| chunk.get(kind)?.as_object())
}

fn citation<'a>(source: Object<'a>, segment: Option<Segment<'a>>) -> Citation<'a> {
    Citation {
        segment,
        url: ["uri", "sourceUri", "documentName", "fileSearchStore"]
            .iter()
            .find_map(|name| string(source, name)),
        title: string(source, "title"),
    }
}

/// Hands out the works that a `citationMetadata` says were recited.
pub fn recited<'a>(metadata: Raw<'a>, mut each: impl FnMut(Citation<'a>)) {
    let Some(metadata) = metadata.as_object() else {
        return;
    };
    // On the Gemini API, and on Vertex AI.
    let sources = list(metadata, "citationSources").or_else(|| list(metadata, "citations"));
    for source in sources.into_iter().flatten().filter_map(Raw::as_object) {
        let segment = integer(source, "endIndex").map(|end| Segment {
            part: None,
            start: offset(integer(source, "startIndex").unwrap_or(0)),
            end: offset(end),
            text: None,
        });
        each(Citation {
            segment,
            url: string(source, "uri"),
            title: string(source, "title"),
        });
    }
}

fn list<'a>(object: Object<'a>, name: &str) -> Option<Array<'a>> {
    object.get(name)?.as_array()
}

fn string<'a>(object: Object<'a>, name: &str) -> Option<JsonStr<'a>> {
    object.get(name)?.as_string()
}

fn integer(object: Object<'_>, name: &str) -> Option<i64> {
    json::integer(object.get(name)?).ok()
}

/// An offset that a negative number is none of.
fn offset(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_not_there_is_not_another() {
        let metadata = json::Document::read(
            r#"{"groundingChunks":[{"web":{"uri":"https://a"}}],
                "groundingSupports":[{"segment":{"endIndex":3},"groundingChunkIndices":[-1,1,0]}]}"#,
        )
        .expect("JSON");
        let mut told = 0;
        grounded(metadata.root(), |_| told += 1);
        assert_eq!(told, 1);
    }
}
