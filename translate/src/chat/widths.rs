//! Which byte of a text is which character of it, without the text: how many characters in a
//! row are how many bytes long. A stream keeps this of all that it has told, so it is small:
//! nothing for a text of ASCII alone, and a byte or two wherever the length changes.

use memchr::memchr;

use crate::json;

/// The lengths of a text's characters in UTF-8.
#[derive(Debug, Default)]
pub(super) struct Widths {
    /// The runs before the last one: the length of a character less one in the upper two
    /// bits, then five bits of the number of characters, and with [`MORE`] seven bits in each
    /// byte that follows.
    coded: Vec<u8>,
    last: Run,
    bytes: usize,
    characters: usize,
}

/// Characters in a row that are equally long.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    /// How many bytes each has; 0 before there is any.
    width: usize,
    characters: usize,
}

const MORE: u8 = 0x20;

impl Widths {
    /// The text goes on with this, which is escaped as in JSON.
    pub(super) fn push(&mut self, escaped: &str) {
        // ASCII in a row, escapes among it.
        let mut ascii = 0;
        let mut rest = escaped;
        loop {
            let plain = memchr(b'\\', rest.as_bytes()).unwrap_or(rest.len());
            let (plain, escape) = rest.split_at(plain);
            if plain.is_ascii() {
                ascii += plain.len();
            } else {
                self.run(1, std::mem::take(&mut ascii));
                for c in plain.chars() {
                    self.run(c.len_utf8(), 1);
                }
            }
            if escape.is_empty() {
                return self.run(1, ascii);
            }
            let (next, length) = json::first_escape(escape);
            if next.is_ascii() {
                ascii += 1;
            } else {
                self.run(1, std::mem::take(&mut ascii));
                self.run(next.len_utf8(), 1);
            }
            rest = escape.get(length..).unwrap_or_default();
        }
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Characters so far.
    pub(super) fn characters(&self) -> usize {
        self.characters
    }

    fn run(&mut self, width: usize, characters: usize) {
        if characters == 0 {
            return;
        }
        self.bytes += width * characters;
        self.characters += characters;
        if self.last.width == width {
            self.last.characters += characters;
            return;
        }
        self.last.write(&mut self.coded);
        self.last = Run { width, characters };
    }

    /// For finding characters.
    pub(super) fn index(&self) -> Index {
        let mut runs = Vec::new();
        let (mut bytes, mut characters) = (0, 0);
        let mut coded = &self.coded[..];
        let before = std::iter::from_fn(|| Run::read(&mut coded));
        for run in before.chain([self.last]) {
            runs.push(Begin {
                bytes,
                characters,
                width: run.width,
            });
            bytes += run.width * run.characters;
            characters += run.characters;
        }
        Index {
            runs,
            bytes,
            characters,
        }
    }
}

impl Run {
    fn write(self, out: &mut Vec<u8>) {
        let Some(upper) = self.width.checked_sub(1) else {
            return;
        };
        // What is cut off here is written after it.
        let low = |number: usize, mask: usize| (number & mask) as u8;
        let mut rest = self.characters >> 5;
        let more = |rest: usize, flag: u8| if rest > 0 { flag } else { 0 };
        out.push(low(upper, 3) << 6 | more(rest, MORE) | low(self.characters, 0x1F));
        while rest > 0 {
            let byte = low(rest, 0x7F);
            rest >>= 7;
            out.push(more(rest, 0x80) | byte);
        }
    }

    fn read(coded: &mut &[u8]) -> Option<Self> {
        let (&first, mut rest) = coded.split_first()?;
        let mut characters = usize::from(first & 0x1F);
        let (mut shift, mut more) = (5, first & MORE != 0);
        while more && let Some((&byte, after)) = rest.split_first() {
            characters |= usize::from(byte & 0x7F) << shift;
            (shift, more, rest) = (shift + 7, byte & 0x80 != 0, after);
        }
        *coded = rest;
        Some(Self {
            width: usize::from(first >> 6) + 1,
            characters,
        })
    }
}

/// Finds characters by bytes.
#[derive(Debug)]
pub(super) struct Index {
    runs: Vec<Begin>,
    bytes: usize,
    characters: usize,
}

/// Where a run begins.
#[derive(Clone, Copy, Debug)]
struct Begin {
    bytes: usize,
    characters: usize,
    width: usize,
}

impl Index {
    /// How many whole characters are before this byte.
    pub(super) fn characters_before(&self, byte: usize) -> usize {
        if byte >= self.bytes {
            return self.characters;
        }
        let (begin, into) = self.at(byte);
        begin.characters + into / begin.width
    }

    /// Where the character begins that this byte is of: the byte itself, mostly.
    pub(super) fn boundary(&self, byte: usize) -> usize {
        if byte >= self.bytes {
            return self.bytes;
        }
        let (begin, into) = self.at(byte);
        byte - into % begin.width
    }

    /// The run that holds a byte of the text, and how far into it the byte is.
    fn at(&self, byte: usize) -> (Begin, usize) {
        // The first run begins at 0.
        let at = self.runs.partition_point(|run| run.bytes <= byte) - 1;
        (self.runs[at], byte - self.runs[at].bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_text_takes_little_room() {
        let mut ascii = Widths::default();
        for _ in 0..10_000 {
            ascii.push("The quick brown fox jumps over the lazy dog.\n");
        }
        assert_eq!(ascii.coded.capacity(), 0);
        for (sentence, at_most) in [
            ("Voix ambiguë d’un cœur qui, au zéphyr, préfère ", 3),
            ("天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。1. ", 12),
            ("aé", 1),
        ] {
            let mut widths = Widths::default();
            for _ in 0..10_000 {
                widths.push(sentence);
            }
            let part = widths.bytes() / widths.coded.len();
            assert!(part >= at_most, "{sentence}: 1/{part}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

        #[test]
        fn characters_are_found_as_in_the_text(pieces in proptest::collection::vec(("[ab]{0,90}|[é]{0,5}|[天a]{0,40}|\\PC{0,9}|[\\x00-\\x2F\\\\é]{0,9}", any::<bool>()), 0..12)) {
            let mut widths = Widths::default();
            let mut text = String::new();
            for (piece, numbers) in &pieces {
                let mut escaped = Vec::new();
                json::write_escaped(&mut escaped, piece);
                let mut escaped = String::from_utf8(escaped).expect("text");
                if *numbers {
                    escaped = piece.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
                }
                widths.push(&escaped);
                text.push_str(&json::unescaped(&escaped));
            }
            let index = widths.index();
            prop_assert_eq!((widths.bytes(), widths.characters()), (text.len(), text.chars().count()));
            for byte in 0..text.len() + 3 {
                let boundary = text.floor_char_boundary(byte);
                prop_assert_eq!(index.boundary(byte), boundary);
                prop_assert_eq!(index.characters_before(byte), text[..boundary].chars().count());
            }
        }
    }
}
