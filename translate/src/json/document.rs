//! A text of JSON that was looked over, and the values in it.

use std::{borrow::Cow, fmt};

use serde::de::Error as _;
use serde_json::value::RawValue;

use super::{
    JsonStr, Kind,
    scan::{self, Node},
    text::has_lone_surrogate,
};

/// A text of JSON, and where each value in it stands.
#[derive(Debug)]
pub struct Document<'a> {
    text: &'a str,
    index: Index,
}

/// Where the values of a document stand. Its room can be used again for the next one.
#[derive(Clone, Debug, Default)]
pub struct Index {
    nodes: Vec<Node>,
}

/// Values of a document whose index is worth keeping: 16 KiB of them.
const MAX_KEPT: usize = 1024;

impl<'a> Document<'a> {
    /// Looks a text over.
    ///
    /// # Errors
    /// It is not JSON.
    pub fn read(text: &'a str) -> serde_json::Result<Self> {
        Self::read_with(text, Index::default())
    }

    /// As [`Document::read`], in the room of another document's index.
    ///
    /// # Errors
    /// It is not JSON.
    pub fn read_with(text: &'a str, mut index: Index) -> serde_json::Result<Self> {
        index.nodes.clear();
        match scan::scan(text, &mut index.nodes) {
            Some(()) => Ok(Self { text, index }),
            None => Err(why_not(text)),
        }
    }

    /// Its index, for the next document. What one of uncommon size took is not kept: a stream
    /// may wait long for its next one.
    #[must_use]
    pub fn into_index(self) -> Index {
        if self.index.nodes.capacity() > MAX_KEPT {
            return Index::default();
        }
        self.index
    }

    /// The outermost value.
    #[must_use]
    pub fn root(&self) -> Raw<'_> {
        Raw {
            document: self,
            at: 0,
        }
    }
}

/// Where a text ceases to be JSON, as whoever wrote it can find it.
#[cold]
fn why_not(text: &str) -> serde_json::Error {
    match serde_json::from_str::<&RawValue>(text) {
        Err(error) => error,
        Ok(_) => serde_json::Error::custom("it is too long"),
    }
}

/// A value of a document: its token, and what is in it.
#[derive(Clone, Copy)]
pub struct Raw<'a> {
    document: &'a Document<'a>,
    at: u32,
}

impl<'a> Raw<'a> {
    #[inline]
    fn node(self) -> &'a Node {
        &self.document.index.nodes[self.at as usize]
    }

    #[inline]
    fn of(self, at: u32) -> Self {
        Self {
            document: self.document,
            at,
        }
    }

    /// The token, as it stands in the text.
    #[inline]
    #[must_use]
    pub fn get(self) -> &'a str {
        let node = self.node();
        &self.document.text[node.start as usize..node.end as usize]
    }

    /// What kind of value it is.
    #[inline]
    #[must_use]
    pub fn kind(self) -> Kind {
        self.node().kind
    }

    /// Whether it is `null`.
    #[inline]
    #[must_use]
    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    /// How deep arrays and objects are nested in it, as far as 255.
    #[must_use]
    pub fn depth(self) -> usize {
        self.node().height.into()
    }

    /// Whether it holds an escaped half of a surrogate pair in one of its texts.
    #[must_use]
    pub fn has_lone_surrogate(self) -> bool {
        self.node().numbered && has_lone_surrogate(self.get())
    }

    /// The text that it is.
    #[inline]
    #[must_use]
    pub fn as_string(self) -> Option<JsonStr<'a>> {
        let node = self.node();
        (node.kind == Kind::String).then(|| JsonStr::of(self.get(), node.escapes, node.numbered))
    }

    /// The elements of the array that it is.
    #[inline]
    #[must_use]
    pub fn as_array(self) -> Option<Array<'a>> {
        (self.kind() == Kind::Array).then_some(Array(self))
    }

    /// The members of the object that it is.
    #[inline]
    #[must_use]
    pub fn as_object(self) -> Option<Object<'a>> {
        (self.kind() == Kind::Object).then_some(Object(self))
    }

    /// It and all values in it, and the names of members.
    pub fn values(self) -> impl Iterator<Item = Self> {
        let end = match self.kind() {
            Kind::Array | Kind::Object => self.node().next,
            _ => self.at + 1,
        };
        (self.at..end).map(move |at| self.of(at))
    }

    /// What stands in an array or object side by side; of an object, names too.
    fn inner(self) -> Inner<'a> {
        Inner {
            next: self.of(self.at + 1),
            end: self.node().next,
        }
    }
}

impl fmt::Debug for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

impl fmt::Display for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

/// Values side by side.
#[derive(Clone, Debug)]
struct Inner<'a> {
    next: Raw<'a>,
    end: u32,
}

impl<'a> Iterator for Inner<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        let raw = (self.next.at < self.end).then_some(self.next)?;
        self.next = raw.of(raw.node().next);
        Some(raw)
    }
}

/// The elements of an array in their order.
#[derive(Clone, Copy, Debug)]
pub struct Array<'a>(Raw<'a>);

impl<'a> Array<'a> {
    /// How many there are; they are counted.
    #[must_use]
    pub fn len(self) -> usize {
        self.0.inner().count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.inner().next().is_none()
    }
}

impl<'a> IntoIterator for Array<'a> {
    type Item = Raw<'a>;
    type IntoIter = Elements<'a>;

    fn into_iter(self) -> Elements<'a> {
        Elements(self.0.inner())
    }
}

/// Goes over the elements of an array.
#[derive(Clone, Debug)]
pub struct Elements<'a>(Inner<'a>);

impl<'a> Iterator for Elements<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        self.0.next()
    }
}

/// The members of an object in their order. Of members with one name the last
/// counts, as in JavaScript and Python.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a>(Raw<'a>);

impl<'a> Object<'a> {
    /// The member of this name; `null` counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Raw<'a>> {
        let mut found = None;
        for member in self.each() {
            // Many names are asked for that are not there: their lengths mostly tell.
            if member.has_length(name.len()) && member.is_called(name) {
                found = Some(member);
            }
        }
        let found = found.filter(|member| member.value.kind != Kind::Null)?;
        Some(self.0.of(found.at + 1))
    }

    /// All members, `null` too.
    pub fn members(&self) -> impl Iterator<Item = (Cow<'a, str>, Raw<'a>)> + use<'a> {
        let object = self.0;
        let each = self.each();
        each.map(move |member| (member.name(), object.of(member.at + 1)))
    }

    /// Whether it has no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.each().next().is_none()
    }

    /// The members that are not `null`.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'a, str>, Raw<'a>)> + use<'a> {
        let object = self.0;
        let each = self.each().filter(|member| member.value.kind != Kind::Null);
        each.map(move |member| (member.name(), object.of(member.at + 1)))
    }

    #[inline]
    fn each(&self) -> Members<'a> {
        let document = self.0.document;
        Members {
            text: document.text,
            nodes: &document.index.nodes,
            at: self.0.at + 1,
            end: self.0.node().next,
        }
    }

    /// Whether all its names are text, which one with half of a surrogate pair is not.
    #[inline]
    pub(super) fn has_whole_names(&self) -> bool {
        !self.0.node().numbered
            || self
                .each()
                .all(|member| !member.key.numbered || !has_lone_surrogate(member.token()))
    }
}

/// Goes over the members of an object.
struct Members<'a> {
    text: &'a str,
    nodes: &'a [Node],
    at: u32,
    end: u32,
}

/// A member of an object: its name, and its value behind it.
struct Member<'a> {
    text: &'a str,
    key: &'a Node,
    value: &'a Node,
    /// Which node the name is.
    at: u32,
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    #[inline]
    fn next(&mut self) -> Option<Member<'a>> {
        let at = self.at;
        if at >= self.end {
            return None;
        }
        let [key, value] = self.nodes.get(at as usize..)?.first_chunk::<2>()?;
        self.at = value.next;
        Some(Member {
            text: self.text,
            key,
            value,
            at,
        })
    }
}

impl<'a> Member<'a> {
    fn token(&self) -> &'a str {
        &self.text[self.key.start as usize..self.key.end as usize]
    }

    #[inline]
    fn name(&self) -> Cow<'a, str> {
        if self.key.escapes {
            return JsonStr::of(self.token(), true, self.key.numbered).text();
        }
        Cow::Borrowed(&self.text[self.key.start as usize + 1..self.key.end as usize - 1])
    }

    /// Whether its name may be of so many bytes.
    #[inline]
    fn has_length(&self, length: usize) -> bool {
        self.key.escapes || (self.key.end - self.key.start) as usize == length + 2
    }

    fn is_called(&self, name: &str) -> bool {
        if self.key.escapes {
            return self.name() == name;
        }
        let bytes = self.text.as_bytes();
        &bytes[self.key.start as usize + 1..self.key.end as usize - 1] == name.as_bytes()
    }
}
