//! The sources of an answer as OpenAI's `annotations`.
//!
//! Google counts bytes of its own text; OpenAI counts characters of what the client was
//! told, in which code that ran and what it printed stand between the pieces of text.

use std::{collections::BTreeSet, ops::Range};

use super::write;
use crate::{
    gemini::grounding::{Citation, Segment},
    json,
};

/// What a choice has said, so that places in it can be found.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// All of it, escaped.
    pub(super) content: String,
    /// The pieces of `content` that are the model's own text.
    text: Vec<Range<usize>>,
    /// The length of that text in bytes of UTF-8, as Google counts it.
    bytes: usize,
    /// Where in that text each of Google's parts begins.
    parts: Vec<usize>,
}

impl Said {
    /// A part begins.
    pub(super) fn part(&mut self) {
        self.parts.push(self.bytes);
    }

    /// The model said so.
    pub(super) fn text(&mut self, escaped: &str) {
        let begin = self.content.len();
        self.content.push_str(escaped);
        self.bytes += json::unescaped(escaped).len();
        match self.text.last_mut() {
            Some(last) if last.end == begin => last.end = self.content.len(),
            _ => self.text.push(begin..self.content.len()),
        }
    }

    /// The client was told so, though it is none of the model's text.
    pub(super) fn aside(&mut self, escaped: &str) {
        self.content.push_str(escaped);
    }
}

/// The sources that a choice was told to rest on.
#[derive(Debug, Default)]
pub(super) struct Citations {
    all: Vec<Cited>,
    /// A stream may tell a source on several chunks.
    known: BTreeSet<Cited>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cited {
    place: Option<Place>,
    url: String,
    title: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    part: Option<usize>,
    bytes: (usize, usize),
    text: Option<String>,
}

impl From<Segment<'_>> for Place {
    fn from(segment: Segment<'_>) -> Self {
        Self {
            part: segment.part,
            bytes: (segment.start, segment.end),
            text: segment.text.map(|text| text.text().into_owned()),
        }
    }
}

impl Citations {
    pub(super) fn add(&mut self, citation: Citation<'_>) {
        // A source without a name is nothing to be told.
        if citation.url.is_none() && citation.title.is_none() {
            return;
        }
        let text = |text: Option<json::JsonStr<'_>>| {
            text.map_or_else(String::new, |text| text.text().into_owned())
        };
        let cited = Cited {
            place: citation.segment.map(Place::from),
            url: text(citation.url),
            title: text(citation.title),
        };
        if self.known.insert(cited.clone()) {
            self.all.push(cited);
        }
    }

    /// Appends the elements of `annotations`, separated by commas.
    pub(super) fn write(&self, said: &Said, out: &mut Vec<u8>) {
        if self.all.is_empty() {
            return;
        }
        let index = Index::of(said);
        // Sources of the answer as a whole matter when no place is known.
        let placed = self.all.iter().any(|cited| cited.place.is_some());
        let mut between: &[u8] = b"";
        for cited in &self.all {
            let range = match &cited.place {
                Some(place) => index.characters(place),
                None if placed => continue,
                None => 0..index.total,
            };
            if range.is_empty() {
                continue;
            }
            out.extend_from_slice(between);
            between = b",";
            out.extend_from_slice(b"{\"type\":\"url_citation\",\"url_citation\":");
            out.extend_from_slice(
                format!(
                    "{{\"start_index\":{},\"end_index\":{},\"url\":",
                    range.start, range.end
                )
                .as_bytes(),
            );
            json::write_string(out, &cited.url);
            write::key(out, "title");
            json::write_string(out, &cited.title);
            out.extend_from_slice(b"}}");
        }
    }
}

/// Finds characters by bytes.
struct Index<'s> {
    /// The model's text, without what stands between its pieces.
    text: String,
    /// For each piece of text: where it begins in `text`, in bytes, and in what the client
    /// was told, in characters.
    pieces: Vec<(usize, usize)>,
    /// Where in `text` each of Google's parts begins.
    parts: &'s [usize],
    /// The characters before each block of [`BLOCK`] bytes of `text`.
    blocks: Vec<usize>,
    /// The characters of all that the client was told.
    total: usize,
}

const BLOCK: usize = 256;

impl<'s> Index<'s> {
    fn of(said: &'s Said) -> Self {
        let mut text = String::new();
        let mut pieces = Vec::with_capacity(said.text.len());
        let (mut told, mut from) = (0, 0);
        let plain = |range: Range<usize>| json::unescaped(&said.content[range]);
        for range in &said.text {
            told += plain(from..range.start).chars().count();
            pieces.push((text.len(), told));
            let piece = plain(range.clone());
            told += piece.chars().count();
            text.push_str(&piece);
            from = range.end;
        }
        told += plain(from..said.content.len()).chars().count();
        let mut blocks = Vec::with_capacity(text.len() / BLOCK + 1);
        let (mut counted, mut block) = (0, 0);
        while block <= text.len() {
            blocks.push(counted);
            let end = (block + BLOCK).min(text.len());
            counted += characters(&text.as_bytes()[block..end]);
            block += BLOCK;
        }
        Self {
            text,
            pieces,
            parts: &said.parts,
            blocks,
            total: told,
        }
    }

    /// Where `place` is in what the client was told, in characters.
    fn characters(&self, place: &Place) -> Range<usize> {
        let (start, end) = place.bytes;
        // A part's offsets are its own, but streams cut parts, and most answers count all
        // of the text: the repeated piece says which it is.
        let base = place.part.and_then(|part| self.parts.get(part).copied());
        let base = base.filter(|base| {
            let piece = self
                .text
                .get(base.saturating_add(start)..base.saturating_add(end));
            place.text.is_none() || piece == place.text.as_deref()
        });
        let base = base.unwrap_or(0);
        let start = self.boundary(base.saturating_add(start));
        let end = self.boundary(base.saturating_add(end));
        if start >= end {
            return 0..0;
        }
        let piece_of = |byte: usize| {
            let at = self.pieces.partition_point(|(begin, _)| *begin <= byte);
            // The first piece begins at 0.
            self.pieces[at - 1]
        };
        let told = |byte: usize, (begin, told): (usize, usize)| {
            told + self.before(byte) - self.before(begin)
        };
        told(start, piece_of(start))..told(end, piece_of(end - 1))
    }

    fn boundary(&self, byte: usize) -> usize {
        let mut byte = byte.min(self.text.len());
        while !self.text.is_char_boundary(byte) {
            byte -= 1;
        }
        byte
    }

    /// The characters of `text` before `byte`.
    fn before(&self, byte: usize) -> usize {
        let block = byte / BLOCK;
        self.blocks[block] + characters(&self.text.as_bytes()[block * BLOCK..byte])
    }
}

/// How many characters begin in these bytes of UTF-8.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| (**byte as i8) >= -0x40).count()
}
