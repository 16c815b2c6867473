//! Borrowed JSON: values stay tokens of the body they came in, so that text
//! crosses the gateway as it was escaped, and every complaint names its path.
//!
//! Objects and arrays are read one level at a time. A serde-derived tree would
//! be shorter, but it cannot say where in the request a wrong type stands.

use std::{borrow::Cow, fmt};

use memchr::memmem;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

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

/// What kind of value a token is, in words.
#[must_use]
pub fn kind(raw: &RawValue) -> &'static str {
    match raw.get().as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// A kind of JSON value that something has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `"…"`
    String,
    /// `[…]`
    Array,
    /// `{…}`
    Object,
}

/// The token, which has to be of this kind.
///
/// # Errors
/// When it is of another.
pub fn of_kind(raw: &RawValue, kind: Kind) -> Result<&RawValue, WrongType> {
    let (first, expected) = match kind {
        Kind::String => ('"', "a string"),
        Kind::Array => ('[', "an array"),
        Kind::Object => ('{', "an object"),
    };
    if raw.get().starts_with(first) {
        Ok(raw)
    } else {
        Err(wrong(raw, expected))
    }
}

/// Whether the token is `null`.
#[must_use]
pub fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

fn wrong(raw: &RawValue, expected: &'static str) -> WrongType {
    WrongType {
        expected,
        found: kind(raw),
    }
}

/// A JSON string token, quotes and escapes included.
///
/// OpenAI's and Google's JSON escape alike, so text goes on as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonStr<'a>(&'a str);

impl<'a> JsonStr<'a> {
    /// `""`.
    pub const EMPTY: Self = Self("\"\"");

    /// The token's text between its quotes, still escaped.
    #[must_use]
    pub fn escaped(self) -> &'a str {
        &self.0[1..self.0.len() - 1]
    }

    /// The whole token, with its quotes.
    #[must_use]
    pub fn token(self) -> &'a str {
        self.0
    }

    /// Whether it is `""`.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.len() == 2
    }

    /// The text; borrowed when nothing in it is escaped. A lone surrogate, which
    /// a token may hold and a text may not, becomes U+FFFD.
    #[must_use]
    pub fn text(self) -> Cow<'a, str> {
        if memchr::memchr(b'\\', self.0.as_bytes()).is_none() {
            return Cow::Borrowed(self.escaped());
        }
        let mended = mend_surrogates(self.0);
        // A mended string token always parses.
        Cow::Owned(serde_json::from_str(&mended).unwrap_or_default())
    }

    /// Whether it holds half of a surrogate pair, such as `"\ud800"`.
    #[must_use]
    pub fn has_lone_surrogate(self) -> bool {
        has_lone_surrogate(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for JsonStr<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        string(raw).map_err(|_| serde::de::Error::custom("expected a string"))
    }
}

/// The token as a string.
///
/// # Errors
/// When it is none.
pub fn string(raw: &RawValue) -> Result<JsonStr<'_>, WrongType> {
    if raw.get().starts_with('"') {
        Ok(JsonStr(raw.get()))
    } else {
        Err(wrong(raw, "a string"))
    }
}

/// The token as a boolean.
///
/// # Errors
/// When it is none.
pub fn boolean(raw: &RawValue) -> Result<bool, WrongType> {
    match raw.get() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(wrong(raw, "a boolean")),
    }
}

/// The token as a finite number.
///
/// # Errors
/// When it is none.
pub fn number(raw: &RawValue) -> Result<f64, WrongType> {
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

/// The token as an integer; `3.0` counts as one.
///
/// # Errors
/// When it is none, or outside of 64 bits.
pub fn integer(raw: &RawValue) -> Result<i64, WrongType> {
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
pub fn array(raw: &RawValue) -> Result<Vec<&RawValue>, WrongType> {
    // serde would put the whole of a long text into an error that nobody reads.
    if !raw.get().trim_ascii_start().starts_with('[') {
        return Err(wrong(raw, "an array"));
    }
    serde_json::from_str(raw.get()).map_err(|_| wrong(raw, "an array"))
}

/// The members of an object.
///
/// # Errors
/// When it is none.
pub fn object(raw: &RawValue) -> Result<Object<'_>, WrongType> {
    if !raw.get().trim_ascii_start().starts_with('{') {
        return Err(wrong(raw, "an object"));
    }
    serde_json::from_str(raw.get()).map_err(|_| wrong(raw, "an object"))
}

/// The members of an object in their order. Of members with one name the last
/// counts, as in JavaScript and Python.
#[derive(Clone, Debug, Default)]
pub struct Object<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// The member of this name; `null` counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.members
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, raw)| *raw)
            .filter(|raw| !is_null(raw))
    }

    /// All members, `null` too.
    pub fn members(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.members.iter().map(|(key, raw)| (&**key, *raw))
    }

    /// Whether it has no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The members that are not `null`.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.members
            .iter()
            .filter(|(_, raw)| !is_null(raw))
            .map(|(key, raw)| (&**key, *raw))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some(Key(key)) = map.next_key()? {
                    members.push((key, map.next_value()?));
                }
                Ok(Object { members })
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A key, borrowed where it can be: `Cow` alone would always own.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Deeper JSON nobody takes: protobuf's parsers end at 100 messages, and others near it.
pub const MAX_DEPTH: usize = 100;

/// How deep arrays and objects are nested in raw JSON.
#[must_use]
pub fn depth(raw: &str) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'\\' => {
                            bytes.next();
                        }
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'{' | b'[' => {
                now += 1;
                most = most.max(now);
            }
            b'}' | b']' => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// Whether raw JSON holds an escaped half of a surrogate pair in one of its strings.
#[must_use]
pub fn has_lone_surrogate(raw: &str) -> bool {
    first_lone_surrogate(raw.as_bytes(), 0).is_some()
}

/// Replaces every escaped half of a surrogate pair by U+FFFD.
#[must_use]
pub fn mend_surrogates(raw: &str) -> Cow<'_, str> {
    let mut mended = String::new();
    let mut from = 0;
    while let Some(at) = first_lone_surrogate(raw.as_bytes(), from) {
        mended.push_str(&raw[from..at]);
        mended.push_str("\\ufffd");
        from = at + 6;
    }
    if from == 0 {
        return Cow::Borrowed(raw);
    }
    mended.push_str(&raw[from..]);
    Cow::Owned(mended)
}

/// Where the first `\uXXXX` stands that is half of a pair without its other half.
/// `from` is not inside of an escape.
fn first_lone_surrogate(bytes: &[u8], from: usize) -> Option<usize> {
    // Almost no text has one: without a candidate nothing is looked at twice.
    memmem::find(&bytes[from..], b"\\u")?;
    let mut at = from;
    while let Some(step) = memchr::memchr(b'\\', &bytes[at..]) {
        let escape = at + step;
        if bytes.get(escape + 1) != Some(&b'u') {
            at = escape + 2;
            if at > bytes.len() {
                return None;
            }
            continue;
        }
        match code_unit(bytes, escape) {
            Some(0xD800..=0xDBFF) => match code_unit(bytes, escape + 6) {
                Some(0xDC00..=0xDFFF) => at = escape + 12,
                _ => return Some(escape),
            },
            Some(0xDC00..=0xDFFF) => return Some(escape),
            Some(_) => at = escape + 6,
            None => return None,
        }
    }
    None
}

/// The code unit of the `\uXXXX` that begins at `at`.
fn code_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let escape = bytes.get(at..at + 6)?;
    let digits = std::str::from_utf8(escape.strip_prefix(b"\\u")?).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

/// The text whose inside of a token is `escaped`, mended as [`JsonStr::text`] mends it.
#[must_use]
pub fn unescaped(escaped: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', escaped.as_bytes()).is_none() {
        return Cow::Borrowed(escaped);
    }
    let token = format!("\"{}\"", mend_surrogates(escaped));
    // The inside of a mended token always parses.
    Cow::Owned(serde_json::from_str(&token).unwrap_or_default())
}

/// Appends `text` as a JSON string, quotes included.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    write_escaped(out, text);
    out.push(b'"');
}

/// Appends `text` escaped for the inside of a JSON string.
pub fn write_escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..=0x1F => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(&bytes[from..at]);
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
                from = at + 1;
                continue;
            }
            _ => continue,
        };
        out.extend_from_slice(&bytes[from..at]);
        out.extend_from_slice(escape);
        from = at + 1;
    }
    out.extend_from_slice(&bytes[from..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).expect("JSON")
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
            string(raw(r#""a\ud800b""#)).expect("a string").text(),
            "a\u{fffd}b"
        );
    }

    #[test]
    fn depths() {
        for (text, depth_of) in [("1", 0), ("[[],{}]", 2), (r#"{"[\"{":["]"]}"#, 2)] {
            assert_eq!(depth(text), depth_of, "{text}");
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(integer(raw("3.0")), Ok(3));
        assert_eq!(integer(raw("-7")), Ok(-7));
        assert!(integer(raw("3.5")).is_err());
        assert!(integer(raw("1e300")).is_err());
        assert!(number(raw("\"1\"")).is_err());
        let large = number(raw("1e400")).expect_err("larger than any");
        assert_ne!(large.expected, large.found);
    }

    #[test]
    fn the_last_of_equal_members_counts_and_null_is_absent() {
        let object = object(raw(r#"{"a":1,"b":null,"\u0061":2}"#)).expect("an object");
        assert_eq!(object.get("a").map(RawValue::get), Some("2"));
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
