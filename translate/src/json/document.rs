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

    /// Its index, for the next document.
    #[must_use]
    pub fn into_index(self) -> Index {
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
    fn node(self) -> &'a Node {
        &self.document.index.nodes[self.at as usize]
    }

    fn of(self, at: u32) -> Self {
        Self {
            document: self.document,
            at,
        }
    }

    /// The token, as it stands in the text.
    #[must_use]
    pub fn get(self) -> &'a str {
        let node = self.node();
        &self.document.text[node.start as usize..node.end as usize]
    }

    /// What kind of value it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        self.node().kind
    }

    /// Whether it is `null`.
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
    #[must_use]
    pub fn as_string(self) -> Option<JsonStr<'a>> {
        let node = self.node();
        (node.kind == Kind::String).then(|| JsonStr::of(self.get(), node.escapes, node.numbered))
    }

    /// The elements of the array that it is.
    #[must_use]
    pub fn as_array(self) -> Option<Array<'a>> {
        (self.kind() == Kind::Array).then_some(Array(self))
    }

    /// The members of the object that it is.
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
        for (key, raw) in self.pairs() {
            if key.says(name) {
                found = Some(raw);
            }
        }
        found.filter(|raw| !raw.is_null())
    }

    /// All members, `null` too.
    pub fn members(&self) -> impl Iterator<Item = (Cow<'a, str>, Raw<'a>)> + use<'a> {
        self.pairs().map(|(key, raw)| (key.text(), raw))
    }

    /// Whether it has no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.inner().next().is_none()
    }

    /// The members that are not `null`.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'a, str>, Raw<'a>)> + use<'a> {
        self.members().filter(|(_, raw)| !raw.is_null())
    }

    /// Its members, `null` too, by their names as they are escaped.
    pub fn pairs(&self) -> impl Iterator<Item = (JsonStr<'a>, Raw<'a>)> + use<'a> {
        let mut inner = self.0.inner();
        std::iter::from_fn(move || Some((inner.next()?.as_string()?, inner.next()?)))
    }

    /// Whether all its names are text, which one with half of a surrogate pair is not.
    pub(super) fn has_whole_names(&self) -> bool {
        !self.0.node().numbered || self.pairs().all(|(key, _)| !key.has_lone_surrogate())
    }
}
