//! The sources of an answer as OpenAI's `annotations`.
//!
//! Google counts bytes of its own text; OpenAI counts characters of what the client was
//! told, in which code that ran and what it printed stand between the pieces of text.

use std::{collections::BTreeSet, ops::Range};

use super::{
    widths::{self, Widths},
    write,
};
use crate::{
    gemini::{
        event::PartKind,
        grounding::{Citation, Segment},
    },
    json,
};

/// What a choice has said, so that places in it can be found: the lengths of it, not the
/// text, since a stream holds this until its end.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The model's own text.
    own: Widths,
    /// The characters that the client was told beside it.
    aside: usize,
    /// Where the pieces of its own text begin that something stands before.
    pieces: Vec<Piece>,
    /// Google's parts.
    parts: Vec<Part>,
    /// The next part may be the rest of the last one, which a stream has cut.
    is_cut: bool,
}

/// Own text without anything else in it.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Where in the own text it begins, in bytes of UTF-8, as Google counts.
    begin: usize,
    /// The characters that were told before it beside the own text.
    aside: usize,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    kind: PartKind,
    /// Where in the own text it begins.
    begin: usize,
}

impl Said {
    /// The next chunk of the answer begins.
    pub(super) fn chunk(&mut self) {
        self.is_cut = true;
    }

    /// A part begins.
    pub(super) fn part(&mut self, kind: PartKind) {
        let goes_on = std::mem::take(&mut self.is_cut)
            && kind != PartKind::Other
            && self.parts.last().is_some_and(|last| last.kind == kind);
        if !goes_on {
            let begin = self.own.bytes();
            self.parts.push(Part { kind, begin });
        }
    }

    /// The model said so.
    pub(super) fn text(&mut self, escaped: &str) {
        if self.aside > self.pieces.last().map_or(0, |piece| piece.aside) {
            let (begin, aside) = (self.own.bytes(), self.aside);
            self.pieces.push(Piece { begin, aside });
        }
        self.own.push(escaped);
    }

    /// The client was told so, though it is none of the model's text.
    pub(super) fn aside(&mut self, escaped: &str) {
        self.aside += json::unescaped(escaped).chars().count();
    }

    /// Whether the client was told nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.total() == 0
    }

    /// The characters that the client was told.
    fn total(&self) -> usize {
        self.own.characters() + self.aside
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
    /// How many characters it has, where Google repeats it.
    characters: Option<usize>,
}

impl From<Segment<'_>> for Place {
    fn from(segment: Segment<'_>) -> Self {
        Self {
            part: segment.part,
            bytes: (segment.start, segment.end),
            characters: segment.text.map(|text| text.text().chars().count()),
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
        let places = Places {
            said,
            index: said.own.index(),
        };
        // Sources of the answer as a whole matter when no place is known.
        let placed = self.all.iter().any(|cited| cited.place.is_some());
        let mut between: &[u8] = b"";
        for cited in &self.all {
            let range = match &cited.place {
                Some(place) => places.characters(place),
                None if placed => continue,
                None => 0..said.total(),
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

/// Finds places in what the client was told.
struct Places<'s> {
    said: &'s Said,
    index: widths::Index,
}

impl Places<'_> {
    /// Where `place` is in what the client was told, in characters.
    fn characters(&self, place: &Place) -> Range<usize> {
        let base = place.part.and_then(|part| self.base(part, place));
        let base = base.unwrap_or(0);
        let (start, end) = place.bytes;
        let start = self.index.boundary(base.saturating_add(start));
        let end = self.index.boundary(base.saturating_add(end));
        if start >= end {
            return 0..0;
        }
        let told = |byte: usize, piece_of: usize| {
            self.index.characters_before(byte) + self.before_piece(piece_of)
        };
        told(start, start)..told(end, end - 1)
    }

    /// Where the part begins whose own offsets these are. The documentation says that they
    /// are, while most answers count all of the text and name no part; so it has to fit.
    fn base(&self, part: usize, place: &Place) -> Option<usize> {
        let parts = &self.said.parts;
        let begin = parts.get(part)?.begin;
        let ends = parts
            .get(part + 1)
            .map_or(self.said.own.bytes(), |next| next.begin);
        let (start, end) = place.bytes;
        let (start, end) = (begin.checked_add(start)?, begin.checked_add(end)?);
        let characters = || self.index.characters_before(end) - self.index.characters_before(start);
        let fits = start <= end
            && end <= ends
            && [start, end].map(|byte| self.index.boundary(byte)) == [start, end]
            && place.characters.is_none_or(|told| told == characters());
        fits.then_some(begin)
    }

    /// The characters beside the own text that were told before a byte of it.
    fn before_piece(&self, byte: usize) -> usize {
        let pieces = &self.said.pieces;
        let at = pieces.partition_point(|piece| piece.begin <= byte);
        at.checked_sub(1).map_or(0, |last| pieces[last].aside)
    }
}
