//! The one pass over a text of JSON: whether it is any, and where its values stand.

use super::{Kind, strings};

/// A value in a text, or the name of a member, which stands before its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) start: u32,
    pub(super) end: u32,
    /// The first node behind it and all that is in it; while it is open, the one around it.
    pub(super) next: u32,
    pub(super) kind: Kind,
    /// How many arrays and objects are within each other here, itself included, up to 255.
    pub(super) height: u8,
    /// Whether something in a text here is escaped.
    pub(super) escapes: bool,
    /// Whether something here is escaped by its number, of which halves of surrogate pairs are.
    pub(super) numbered: bool,
}

/// Around the outermost value.
const NOTHING: u32 = u32::MAX;

/// Appends the values of `text` in their order, each before what is in it.
///
/// `None`: it is not JSON, or of 4 GiB, which nobody sends.
pub(super) fn scan(text: &str, nodes: &mut Vec<Node>) -> Option<()> {
    if text.len() >= NOTHING as usize {
        return None;
    }
    let bytes = text.as_bytes();
    let mut places = Places {
        nodes,
        open: NOTHING,
        in_object: false,
    };
    let mut at = 0;
    // A turn for each value, which is the first one in an array or object that has just begun.
    loop {
        at = visible(bytes, at);
        match *bytes.get(at)? {
            b'"' => at = places.string(bytes, at)?,
            b'{' => {
                places.open(Kind::Object, at);
                at = visible(bytes, at + 1);
                if bytes.get(at) != Some(&b'}') {
                    at = places.name(bytes, at)?;
                    continue;
                }
                at += 1;
                places.close(at);
            }
            b'[' => {
                places.open(Kind::Array, at);
                at = visible(bytes, at + 1);
                if bytes.get(at) != Some(&b']') {
                    continue;
                }
                at += 1;
                places.close(at);
            }
            b't' => at = places.word(bytes, at, b"true", Kind::Boolean)?,
            b'f' => at = places.word(bytes, at, b"false", Kind::Boolean)?,
            b'n' => at = places.word(bytes, at, b"null", Kind::Null)?,
            b'-' | b'0'..=b'9' => {
                let end = end_of_number(bytes, at)?;
                places.push(at, end, Kind::Number, false, false);
                at = end;
            }
            _ => return None,
        }
        // What stands behind a value ends what it is in, or another one comes.
        loop {
            at = visible(bytes, at);
            if places.open == NOTHING {
                return (at == bytes.len()).then_some(());
            }
            let byte = *bytes.get(at)?;
            at += 1;
            match byte {
                b',' if places.in_object => {
                    at = places.name(bytes, visible(bytes, at))?;
                    break;
                }
                b',' => break,
                b'}' if places.in_object => places.close(at),
                b']' if !places.in_object => places.close(at),
                _ => return None,
            }
        }
    }
}

/// Where the next byte is that is no white space.
#[inline]
fn visible(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        if *byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            break;
        }
        at += 1;
    }
    at
}

fn end_of_number(bytes: &[u8], mut at: usize) -> Option<usize> {
    if bytes.get(at) == Some(&b'-') {
        at += 1;
    }
    // Nothing stands behind a leading zero.
    at = if bytes.get(at) == Some(&b'0') {
        at + 1
    } else {
        end_of_digits(bytes, at)?
    };
    if bytes.get(at) == Some(&b'.') {
        at = end_of_digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let signed = matches!(bytes.get(at + 1), Some(b'+' | b'-'));
        at = end_of_digits(bytes, at + 1 + usize::from(signed))?;
    }
    Some(at)
}

/// There is one digit at least.
#[inline]
fn end_of_digits(bytes: &[u8], begin: usize) -> Option<usize> {
    let mut at = begin;
    while let Some(b'0'..=b'9') = bytes.get(at) {
        at += 1;
    }
    (at > begin).then_some(at)
}

/// The places that were found, and which of them are open.
struct Places<'n> {
    nodes: &'n mut Vec<Node>,
    /// The innermost array or object that has not ended.
    open: u32,
    /// Whether that is an object.
    in_object: bool,
}

impl Places<'_> {
    /// Takes note of a value without others in it.
    #[inline]
    fn push(&mut self, start: usize, end: usize, kind: Kind, escapes: bool, numbered: bool) {
        let next = self.nodes.len() as u32 + 1;
        self.nodes.push(Node {
            start: start as u32,
            end: end as u32,
            next,
            kind,
            height: 0,
            escapes,
            numbered,
        });
    }

    /// Takes the string whose quote is at `start`, and hands out where it ends, as all of
    /// these do.
    #[inline]
    fn string(&mut self, bytes: &[u8], start: usize) -> Option<usize> {
        let plain = strings::plain(bytes, start + 1);
        if bytes.get(plain) != Some(&b'"') {
            return self.escaped(bytes, start, plain);
        }
        self.push(start, plain + 1, Kind::String, false, false);
        Some(plain + 1)
    }

    /// As [`Places::string`], where it is known up to `plain`.
    #[inline(never)]
    fn escaped(&mut self, bytes: &[u8], start: usize, plain: usize) -> Option<usize> {
        let ended = strings::end_of(bytes, plain)?;
        let end = ended.at + 1;
        self.push(start, end, Kind::String, ended.escapes, ended.numbered);
        if ended.numbered
            && let Some(around) = self.nodes.get_mut(self.open as usize)
        {
            around.numbered = true;
        }
        Some(end)
    }

    /// The name of a member, and the colon behind it.
    #[inline]
    fn name(&mut self, bytes: &[u8], start: usize) -> Option<usize> {
        if *bytes.get(start)? != b'"' {
            return None;
        }
        let end = self.string(bytes, start)?;
        let colon = visible(bytes, end);
        (*bytes.get(colon)? == b':').then_some(colon + 1)
    }

    fn word(&mut self, bytes: &[u8], start: usize, word: &[u8], kind: Kind) -> Option<usize> {
        let end = start + word.len();
        if bytes.get(start..end)? != word {
            return None;
        }
        self.push(start, end, kind, false, false);
        Some(end)
    }

    #[inline]
    fn open(&mut self, kind: Kind, start: usize) {
        self.nodes.push(Node {
            start: start as u32,
            end: 0,
            next: self.open,
            kind,
            height: 1,
            escapes: false,
            numbered: false,
        });
        self.open = self.nodes.len() as u32 - 1;
        self.in_object = kind == Kind::Object;
    }

    /// Ends the innermost array or object.
    #[inline]
    fn close(&mut self, end: usize) {
        let next = self.nodes.len() as u32;
        let Some(ended) = self.nodes.get_mut(self.open as usize) else {
            return;
        };
        let around = std::mem::replace(&mut ended.next, next);
        ended.end = end as u32;
        let (height, numbered) = (ended.height.saturating_add(1), ended.numbered);
        self.open = around;
        if let Some(around) = self.nodes.get_mut(around as usize) {
            around.height = around.height.max(height);
            around.numbered |= numbered;
            self.in_object = around.kind == Kind::Object;
        }
    }
}
