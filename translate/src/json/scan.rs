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
    Scanner {
        bytes: text.as_bytes(),
        at: 0,
        nodes,
        open: NOTHING,
        in_object: false,
    }
    .document()
}

struct Scanner<'t> {
    bytes: &'t [u8],
    at: usize,
    nodes: &'t mut Vec<Node>,
    /// The innermost array or object that has not ended.
    open: u32,
    /// Whether that is an object.
    in_object: bool,
}

impl Scanner<'_> {
    fn document(&mut self) -> Option<()> {
        loop {
            // Where there is another value, which may be the first of an array or object.
            if self.value()? {
                continue;
            }
            loop {
                let byte = self.visible();
                if self.open == NOTHING {
                    return byte.is_none().then_some(());
                }
                match byte? {
                    b',' => {
                        self.at += 1;
                        if self.in_object {
                            self.visible();
                            self.name()?;
                        }
                        break;
                    }
                    b'}' if self.in_object => self.close(),
                    b']' if !self.in_object => self.close(),
                    _ => return None,
                }
            }
        }
    }

    /// Takes a value, of an array or object that is not empty only the beginning: then it is
    /// true.
    #[inline]
    fn value(&mut self) -> Option<bool> {
        match self.visible()? {
            b'"' => self.string()?,
            b'{' => {
                self.open(Kind::Object);
                if self.visible()? != b'}' {
                    self.name()?;
                    return Some(true);
                }
                self.close();
            }
            b'[' => {
                self.open(Kind::Array);
                if self.visible()? != b']' {
                    return Some(true);
                }
                self.close();
            }
            b't' => self.word(b"true", Kind::Boolean)?,
            b'f' => self.word(b"false", Kind::Boolean)?,
            b'n' => self.word(b"null", Kind::Null)?,
            b'-' | b'0'..=b'9' => self.number()?,
            _ => return None,
        }
        Some(false)
    }

    /// The next byte that is no white space.
    #[inline]
    fn visible(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(&byte) if byte > b' ' => return Some(byte),
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                byte => return byte.copied(),
            }
        }
    }

    /// Takes the name of a member, and the colon behind it.
    #[inline]
    fn name(&mut self) -> Option<()> {
        if self.bytes.get(self.at) != Some(&b'"') {
            return None;
        }
        self.string()?;
        if self.visible()? != b':' {
            return None;
        }
        self.at += 1;
        Some(())
    }

    #[inline]
    fn string(&mut self) -> Option<()> {
        let ended = strings::end_of(self.bytes, self.at + 1)?;
        let start = self.at;
        self.at = ended.at + 1;
        self.push(start, Kind::String);
        if ended.escapes
            && let Some(node) = self.nodes.last_mut()
        {
            node.escapes = true;
            node.numbered = ended.numbered;
            if ended.numbered
                && let Some(around) = self.nodes.get_mut(self.open as usize)
            {
                around.numbered = true;
            }
        }
        Some(())
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Option<()> {
        let start = self.at;
        self.at += word.len();
        if self.bytes.get(start..self.at)? != word {
            return None;
        }
        self.push(start, kind);
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        // Nothing stands behind a leading zero.
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        self.push(start, Kind::Number);
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let begin = self.at;
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
        (self.at > begin).then_some(())
    }

    /// Takes note of a value without others in it, which ends here.
    #[inline]
    fn push(&mut self, start: usize, kind: Kind) {
        let next = self.nodes.len() as u32 + 1;
        self.nodes.push(Node {
            start: start as u32,
            end: self.at as u32,
            next,
            kind,
            height: 0,
            escapes: false,
            numbered: false,
        });
    }

    #[inline]
    fn open(&mut self, kind: Kind) {
        let start = self.at;
        self.at += 1;
        let around = std::mem::replace(&mut self.open, self.nodes.len() as u32);
        self.in_object = kind == Kind::Object;
        self.push(start, kind);
        if let Some(node) = self.nodes.last_mut() {
            node.next = around;
        }
    }

    /// Ends the innermost array or object, here.
    #[inline]
    fn close(&mut self) {
        self.at += 1;
        let next = self.nodes.len() as u32;
        let Some(ended) = self.nodes.get_mut(self.open as usize) else {
            return;
        };
        let around = std::mem::replace(&mut ended.next, next);
        ended.end = self.at as u32;
        ended.height = ended.height.saturating_add(1);
        let (height, numbered) = (ended.height, ended.numbered);
        self.open = around;
        if let Some(around) = self.nodes.get_mut(around as usize) {
            around.height = around.height.max(height);
            around.numbered |= numbered;
            self.in_object = around.kind == Kind::Object;
        }
    }
}
