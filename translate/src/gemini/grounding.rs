//! What an answer rests on: search results, places, documents and recited works, as
//! Google tells them beside a candidate.
//!
//! This is metadata: what of it cannot be read is passed over, since the answer stands
//! without it.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::serial::JsonStr;

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

// https://ai.google.dev/api/generate-content#GroundingMetadata
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GroundingMetadata<'a> {
    #[serde(borrow)]
    grounding_chunks: Option<Vec<Option<GroundingChunk<'a>>>>,
    #[serde(borrow)]
    grounding_supports: Option<Vec<Option<GroundingSupport<'a>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GroundingChunk<'a> {
    #[serde(borrow)]
    web: Option<Source<'a>>,
    #[serde(borrow)]
    maps: Option<Source<'a>>,
    #[serde(borrow)]
    retrieved_context: Option<Source<'a>>,
    #[serde(borrow)]
    image: Option<Source<'a>>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Source<'a> {
    #[serde(borrow)]
    uri: Option<JsonStr<'a>>,
    #[serde(borrow)]
    source_uri: Option<JsonStr<'a>>,
    #[serde(borrow)]
    document_name: Option<JsonStr<'a>>,
    #[serde(borrow)]
    file_search_store: Option<JsonStr<'a>>,
    #[serde(borrow)]
    title: Option<JsonStr<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GroundingSupport<'a> {
    #[serde(borrow)]
    segment: Option<WireSegment<'a>>,
    grounding_chunk_indices: Option<Vec<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireSegment<'a> {
    part_index: Option<i64>,
    start_index: Option<i64>,
    end_index: Option<i64>,
    #[serde(borrow)]
    text: Option<JsonStr<'a>>,
}

// `citationSources` on the Gemini API, `citations` on Vertex AI.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CitationMetadata<'a> {
    #[serde(borrow, alias = "citations")]
    citation_sources: Option<Vec<CitationSource<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CitationSource<'a> {
    start_index: Option<i64>,
    end_index: Option<i64>,
    #[serde(borrow)]
    uri: Option<JsonStr<'a>>,
    #[serde(borrow)]
    title: Option<JsonStr<'a>>,
}

/// Hands out the sources of a `groundingMetadata`: one for each source of each segment,
/// or, where there are no segments, one for each source.
pub fn grounded<'a>(metadata: &'a RawValue, mut each: impl FnMut(Citation<'a>)) {
    let Ok(metadata) = serde_json::from_str::<GroundingMetadata<'a>>(metadata.get()) else {
        return;
    };
    let sources: Vec<Option<Source<'a>>> = metadata
        .grounding_chunks
        .unwrap_or_default()
        .iter()
        .map(|chunk| {
            let chunk = chunk.as_ref()?;
            chunk
                .web
                .or(chunk.maps)
                .or(chunk.retrieved_context)
                .or(chunk.image)
        })
        .collect();
    let supports = metadata.grounding_supports.unwrap_or_default();
    for support in supports.iter().flatten() {
        let Some(segment) = &support.segment else {
            continue;
        };
        let segment = Segment {
            part: segment.part_index.map(offset),
            // proto3's JSON leaves out what is 0.
            start: offset(segment.start_index.unwrap_or(0)),
            end: offset(segment.end_index.unwrap_or(0)),
            text: segment.text,
        };
        for &index in support.grounding_chunk_indices.iter().flatten() {
            let at = usize::try_from(index).ok();
            if let Some(Some(source)) = at.and_then(|at| sources.get(at)) {
                each(source.citation(Some(segment)));
            }
        }
    }
    if supports.is_empty() {
        for source in sources.into_iter().flatten() {
            each(source.citation(None));
        }
    }
}

/// Hands out the works that a `citationMetadata` says were recited.
pub fn recited<'a>(metadata: &'a RawValue, mut each: impl FnMut(Citation<'a>)) {
    let Ok(metadata) = serde_json::from_str::<CitationMetadata<'a>>(metadata.get()) else {
        return;
    };
    for source in metadata.citation_sources.iter().flatten() {
        let segment = source.end_index.map(|end| Segment {
            part: None,
            start: offset(source.start_index.unwrap_or(0)),
            end: offset(end),
            text: None,
        });
        each(Citation {
            segment,
            url: source.uri,
            title: source.title,
        });
    }
}

impl<'a> Source<'a> {
    fn citation(self, segment: Option<Segment<'a>>) -> Citation<'a> {
        Citation {
            segment,
            url: self
                .uri
                .or(self.source_uri)
                .or(self.document_name)
                .or(self.file_search_store),
            title: self.title,
        }
    }
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
        let metadata = serde_json::from_str(
            r#"{"groundingChunks":[{"web":{"uri":"https://a"}}],
                "groundingSupports":[{"segment":{"endIndex":3},"groundingChunkIndices":[-1,1,0]}]}"#,
        )
        .expect("JSON");
        let mut told = 0;
        grounded(metadata, |_| told += 1);
        assert_eq!(told, 1);
    }
}
