//! Texts of JSON: as they are escaped, and as what they say.

use std::borrow::Cow;

use memchr::memmem;

/// A JSON string token, quotes and escapes included.
///
/// OpenAI's and Google's JSON escape alike, so text goes on as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonStr<'a> {
    token: &'a str,
    escapes: bool,
    numbered: bool,
}

impl<'a> JsonStr<'a> {
    /// `""`.
    pub const EMPTY: Self = Self::of("\"\"", false, false);

    /// The token of a string, and whether something in it is escaped, and by its number.
    pub(super) const fn of(token: &'a str, escapes: bool, numbered: bool) -> Self {
        Self {
            token,
            escapes,
            numbered,
        }
    }

    /// The token's text between its quotes, still escaped.
    #[must_use]
    pub fn escaped(self) -> &'a str {
        &self.token[1..self.token.len() - 1]
    }

    /// As [`JsonStr::escaped`]; half pairs of surrogates, which no client reads, become U+FFFD.
    #[must_use]
    pub fn mended(self) -> Cow<'a, str> {
        if self.numbered {
            mend_surrogates(self.escaped())
        } else {
            Cow::Borrowed(self.escaped())
        }
    }

    /// The whole token, with its quotes.
    #[must_use]
    pub fn token(self) -> &'a str {
        self.token
    }

    /// Whether it is `""`.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.token.len() == 2
    }

    /// The text; borrowed when nothing in it is escaped. A lone surrogate, which
    /// a token may hold and a text may not, becomes U+FFFD.
    #[must_use]
    pub fn text(self) -> Cow<'a, str> {
        if !self.escapes {
            return Cow::Borrowed(self.escaped());
        }
        let mended = if self.numbered {
            mend_surrogates(self.token)
        } else {
            Cow::Borrowed(self.token)
        };
        // A mended string token always parses.
        Cow::Owned(serde_json::from_str(&mended).unwrap_or_default())
    }

    /// Whether this is its text.
    #[must_use]
    pub fn says(self, text: &str) -> bool {
        if self.escapes {
            self.text() == text
        } else {
            self.escaped() == text
        }
    }

    /// Whether it holds half of a surrogate pair, such as `"\ud800"`.
    #[must_use]
    pub fn has_lone_surrogate(self) -> bool {
        self.numbered && has_lone_surrogate(self.token)
    }
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

/// The character that an escape at the beginning of `escaped` stands for, and how long the
/// escape is. Half of a surrogate pair is U+FFFD.
#[must_use]
pub(crate) fn first_escape(escaped: &str) -> (char, usize) {
    let bytes = escaped.as_bytes();
    let plain = match bytes.get(1) {
        Some(b'u') => None,
        Some(b'b') => Some('\u{8}'),
        Some(b'f') => Some('\u{c}'),
        Some(b'n') => Some('\n'),
        Some(b'r') => Some('\r'),
        Some(b't') => Some('\t'),
        other => Some(
            other
                .copied()
                .map_or(char::REPLACEMENT_CHARACTER, char::from),
        ),
    };
    if let Some(plain) = plain {
        return (plain, 2);
    }
    let units = [code_unit(bytes, 0), code_unit(bytes, 6)];
    let mut decoded = char::decode_utf16(units.into_iter().map_while(|unit| unit));
    let first = decoded.next().and_then(Result::ok);
    let first = first.unwrap_or(char::REPLACEMENT_CHARACTER);
    (first, if first.len_utf16() == 2 { 12 } else { 6 })
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

/// Appends a number.
pub fn write_integer(out: &mut Vec<u8>, number: u64) {
    let begin = out.len();
    let mut rest = number;
    loop {
        out.push(b'0' + (rest % 10) as u8);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out[begin..].reverse();
}

/// What stands in no JSON string as it is.
const ESCAPED: [bool; 256] = {
    let mut escaped = [false; 256];
    let mut control = 0;
    while control < 0x20 {
        escaped[control] = true;
        control += 1;
    }
    escaped[b'"' as usize] = true;
    escaped[b'\\' as usize] = true;
    escaped
};

/// Appends `text` escaped for the inside of a JSON string.
pub fn write_escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if !ESCAPED[usize::from(byte)] {
            continue;
        }
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0C => b"\\f",
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(&bytes[from..at]);
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
                from = at + 1;
                continue;
            }
        };
        out.extend_from_slice(&bytes[from..at]);
        out.extend_from_slice(escape);
        from = at + 1;
    }
    out.extend_from_slice(&bytes[from..]);
}
