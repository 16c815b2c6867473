//! Borrowed JSON: values stay tokens of the body they came in, so that text
//! crosses the gateway as it was escaped, and every complaint names its path.
//!
//! A text is looked at once ([`Document`]), which finds whether it is JSON and where each
//! value stands; what reads the values never scans it again. A serde-derived tree would be
//! shorter, but it cannot say where in the request a wrong type stands.

use std::fmt;

mod document;
mod scan;
mod strings;
mod text;

pub use document::{Array, Document, Index, Object, Raw};
pub(crate) use text::first_escape;
pub use text::{
    JsonStr, has_lone_surrogate, mend_surrogates, unescaped, write_escaped, write_integer,
    write_string,
};

/// Where in a request a value stands; displayed as `messages[3].content`.
#[derive(Clone, Copy, Debug)]
pub enum Path<'p> {
    /// The whole body.
    Root,
    /// A member of an object.
    Key(&'p Path<'p>, &'p str),
    /// An element of an array.
    Index(&'p Path<'p>, usize),
}

impl<'p> Path<'p> {
    /// The member `key` of this.
    #[must_use]
    pub fn key(&'p self, key: &'p str) -> Self {
        Self::Key(self, key)
    }

    /// The element `index` of this.
    #[must_use]
    pub fn index(&'p self, index: usize) -> Self {
        Self::Index(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => f.write_str(key),
            Self::Key(parent, key) => write!(f, "{parent}.{key}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// What a value is instead of what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType {
    /// What it should be.
    pub expected: &'static str,
    /// What it is.
    pub found: &'static str,
}

/// A kind of JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// A number of any size.
    Number,
    /// `"…"`
    String,
    /// `[…]`
    Array,
    /// `{…}`
    Object,
}

impl Kind {
    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// The value, which has to be of this kind.
///
/// # Errors
/// When it is of another.
pub fn of_kind(raw: Raw<'_>, kind: Kind) -> Result<Raw<'_>, WrongType> {
    if raw.kind() == kind {
        Ok(raw)
    } else {
        Err(wrong(raw, kind.name()))
    }
}

fn wrong(raw: Raw<'_>, expected: &'static str) -> WrongType {
    WrongType {
        expected,
        found: raw.kind().name(),
    }
}

/// The value as a string.
///
/// # Errors
/// When it is none.
#[inline]
pub fn string(raw: Raw<'_>) -> Result<JsonStr<'_>, WrongType> {
    raw.as_string().ok_or_else(|| wrong(raw, "a string"))
}

/// The value as a boolean.
///
/// # Errors
/// When it is none.
#[inline]
pub fn boolean(raw: Raw<'_>) -> Result<bool, WrongType> {
    match raw.get() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(wrong(raw, "a boolean")),
    }
}

/// The value as a finite number.
///
/// # Errors
/// When it is none.
pub fn number(raw: Raw<'_>) -> Result<f64, WrongType> {
    if raw.kind() != Kind::Number {
        return Err(wrong(raw, "a number"));
    }
    serde_json::from_str(raw.get()).map_err(|_| match wrong(raw, "a number") {
        // `1e400` is a number in JSON, and none of 64 bits.
        WrongType {
            found: "a number", ..
        } => WrongType {
            expected: "a number of 64 bits",
            found: "a larger one",
        },
        wrong => wrong,
    })
}

/// The value as an integer; `3.0` counts as one.
///
/// # Errors
/// When it is none, or outside of 64 bits.
pub fn integer(raw: Raw<'_>) -> Result<i64, WrongType> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Ok(integer) = serde_json::from_str(raw.get()) {
        return Ok(integer);
    }
    match number(raw) {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 53 bits")]
        Ok(float) if float.fract() == 0.0 && float.abs() <= EXACT => Ok(float as i64),
        Ok(_) => Err(WrongType {
            expected: "an integer of at most 64 bits",
            found: "another number",
        }),
        Err(error) => Err(WrongType {
            expected: "an integer",
            ..error
        }),
    }
}

/// The elements of an array.
///
/// # Errors
/// When it is none.
#[inline]
pub fn array(raw: Raw<'_>) -> Result<Array<'_>, WrongType> {
    raw.as_array().ok_or_else(|| wrong(raw, "an array"))
}

/// The members of an object.
///
/// # Errors
/// When it is none; or when a name in it is no text, which is told as an object that was found
/// where one was expected.
#[inline]
pub fn object(raw: Raw<'_>) -> Result<Object<'_>, WrongType> {
    raw.as_object()
        .filter(Object::has_whole_names)
        .ok_or_else(|| wrong(raw, "an object"))
}

/// Deeper JSON nobody takes: protobuf's parsers end at 100 messages, and others near it.
pub const MAX_DEPTH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Document<'_> {
        Document::read(text).expect("JSON")
    }

    #[test]
    fn paths_read_as_clients_write_them() {
        let root = Path::Root;
        let messages = root.key("messages");
        let message = messages.index(3);
        assert_eq!(message.key("content").to_string(), "messages[3].content");
    }

    #[test]
    fn lone_surrogates_are_found_and_mended() {
        for (text, lone) in [
            (r#""plain""#, false),
            (r#""\ud83d\ude00""#, false),
            (r#""\uD83D""#, true),
            (r#""\ude00\ud83d""#, true),
            (r#""\\ud800""#, false),
            (r#""\\\ud800""#, true),
            (r#""\ud83dx\ude00""#, true),
            (r#""ends in \\""#, false),
        ] {
            assert_eq!(has_lone_surrogate(text), lone, "{text}");
            let mended = mend_surrogates(text);
            assert!(serde_json::from_str::<String>(&mended).is_ok(), "{mended}");
            assert_eq!(lone, mended != text);
        }
        assert_eq!(
            string(read(r#""a\ud800b""#).root())
                .expect("a string")
                .text(),
            "a\u{fffd}b"
        );
    }

    #[test]
    fn depths() {
        for (text, depth_of) in [("1", 0), ("[[],{}]", 2), (r#"{"[\"{":["]"]}"#, 2)] {
            assert_eq!(read(text).root().depth(), depth_of, "{text}");
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(integer(read("3.0").root()), Ok(3));
        assert_eq!(integer(read("-7").root()), Ok(-7));
        assert!(integer(read("3.5").root()).is_err());
        assert!(integer(read("1e300").root()).is_err());
        assert!(number(read("\"1\"").root()).is_err());
        let large = number(read("1e400").root()).expect_err("larger than any");
        assert_ne!(large.expected, large.found);
    }

    #[test]
    fn the_last_of_equal_members_counts_and_null_is_absent() {
        let document = read(r#"{"a":1,"b":null,"\u0061":2}"#);
        let object = object(document.root()).expect("an object");
        assert_eq!(object.get("a").map(Raw::get), Some("2"));
        assert!(object.get("b").is_none());
    }

    #[test]
    fn escapes_what_json_demands() {
        let text = "a\"b\\c\n\u{1}\u{7f}é😀";
        let mut out = Vec::new();
        write_string(&mut out, text);
        let back: String = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(back, text);
    }
}
