//! Where a string ends, and that it is one: the escapes and the characters that JSON allows.
//!
//! Texts are most of a request, and have an escape in every other line: to stop at each of
//! them costs more than all the rest. So whole blocks are looked at, and escapes are told from
//! what is escaped by arithmetic on bits, as simdjson does (<https://arxiv.org/abs/1902.08318>).

use wide::u8x16;

/// A string that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// Where its closing quote stands.
    pub(super) at: usize,
    /// Whether something in it is escaped.
    pub(super) escapes: bool,
    /// Whether something in it is escaped by its number, as `\u00e9` is.
    pub(super) numbered: bool,
}

/// How far a string goes whose first byte behind the quote is at `begin` before something is
/// special in it: mostly to its end. Near the end of the text that may be said too soon.
#[inline]
pub(super) fn plain(bytes: &[u8], begin: usize) -> usize {
    let mut at = begin;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<16>) {
        let found = special(chunk);
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += 16;
    }
    at
}

/// Quotes, backslashes and control characters, a bit for each.
#[inline]
fn special(chunk: &[u8; 16]) -> u32 {
    let chunk = u8x16::new(*chunk);
    let quotes = chunk.simd_eq(u8x16::splat(b'"'));
    let backslashes = chunk.simd_eq(u8x16::splat(b'\\'));
    let controls = chunk.simd_le(u8x16::splat(0x1F));
    (quotes | backslashes | controls).to_bitmask()
}

/// What there is in 64 bytes, a bit for each.
#[derive(Default)]
struct Block {
    quotes: u64,
    backslashes: u64,
    controls: u64,
}

impl Block {
    #[inline]
    fn of(chunk: &[u8; 64]) -> Self {
        let mut block = Self::default();
        for (nth, quarter) in chunk.as_chunks::<16>().0.iter().enumerate() {
            let quarter = u8x16::new(*quarter);
            let place = |found: u8x16| u64::from(found.to_bitmask()) << (16 * nth);
            block.quotes |= place(quarter.simd_eq(u8x16::splat(b'"')));
            block.backslashes |= place(quarter.simd_eq(u8x16::splat(b'\\')));
            block.controls |= place(quarter.simd_le(u8x16::splat(0x1F)));
        }
        block
    }
}

/// The line feeds in 64 bytes as they are escaped: the letter n.
#[inline]
fn letters_n(chunk: &[u8; 64]) -> u64 {
    let mut letters = 0;
    for (nth, quarter) in chunk.as_chunks::<16>().0.iter().enumerate() {
        let found = u8x16::new(*quarter).simd_eq(u8x16::splat(b'n'));
        letters |= u64::from(found.to_bitmask()) << (16 * nth);
    }
    letters
}

/// The end of the string that goes on at `begin`, with whatever is in it; `None`: it is none.
pub(super) fn end_of(bytes: &[u8], begin: usize) -> Option<Ended> {
    let mut at = begin;
    // Whether the block before ended in a backslash that escapes what comes next.
    let mut carried = 0;
    let (mut escapes, mut numbered) = (false, false);
    loop {
        let rest = bytes.get(at..)?;
        let mut padded = [0; 64];
        let chunk = match rest.first_chunk() {
            Some(chunk) => chunk,
            None => {
                // Zeros stand behind the last byte, which no string holds.
                padded[..rest.len()].copy_from_slice(rest);
                &padded
            }
        };
        let block = Block::of(chunk);
        let escaped = escaped(block.backslashes, &mut carried);
        let end = block.quotes & !escaped;
        // The bits below the first quote that is none of the text; all, when there is none.
        let inside = (end & end.wrapping_neg()).wrapping_sub(1);
        if block.controls & inside != 0 {
            return None;
        }
        escapes |= escaped & inside != 0;
        // Most of what is escaped needs no look of its own.
        let mut others = escaped & inside & !(block.quotes | block.backslashes);
        if others != 0 {
            others &= !letters_n(chunk);
        }
        while others != 0 {
            let letter = at + others.trailing_zeros() as usize;
            others &= others - 1;
            match bytes.get(letter)? {
                b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                b'u' => {
                    let digits = bytes.get(letter + 1..letter + 5)?;
                    let is_digit = |digit: &u8| DIGITS[usize::from(*digit)];
                    if !digits.iter().all(is_digit) {
                        return None;
                    }
                    numbered = true;
                }
                _ => return None,
            }
        }
        if end != 0 {
            return Some(Ended {
                at: at + end.trailing_zeros() as usize,
                escapes,
                numbered,
            });
        }
        at += 64;
    }
}

/// Whether a byte is a hexadecimal digit.
const DIGITS: [bool; 256] = {
    let mut digits = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        digits[byte] = (byte as u8).is_ascii_hexdigit();
        byte += 1;
    }
    digits
};

/// Which bytes are escaped, of which these are the backslashes. An escaped backslash escapes
/// nothing, so of several in a row every other one counts: a subtraction finds which, by its
/// borrows.
#[inline]
fn escaped(backslashes: u64, carried: &mut u64) -> u64 {
    const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;
    let free = backslashes & !*carried;
    let after = free << 1;
    let series = (after | ODD).wrapping_sub(free) ^ ODD;
    let escaped = series ^ (backslashes | *carried);
    *carried = (series & backslashes) >> 63;
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As a reader of single bytes sees it.
    fn plainly(bytes: &[u8]) -> Option<Ended> {
        let (mut at, mut escapes, mut numbered) = (0, false, false);
        loop {
            match bytes.get(at)? {
                b'"' => {
                    return Some(Ended {
                        at,
                        escapes,
                        numbered,
                    });
                }
                b'\\' => {
                    escapes = true;
                    match bytes.get(at + 1)? {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                        b'u' => {
                            numbered = true;
                            let digits = bytes.get(at + 2..at + 6)?;
                            if !digits.iter().all(u8::is_ascii_hexdigit) {
                                return None;
                            }
                            at += 6;
                        }
                        _ => return None,
                    }
                }
                0..=0x1F => return None,
                _ => at += 1,
            }
        }
    }

    fn ended(bytes: &[u8]) -> Option<Ended> {
        end_of(bytes, plain(bytes, 0))
    }

    #[test]
    fn backslashes_in_a_row_wherever_blocks_end() {
        for before in 0..70 {
            for backslashes in 0..140 {
                let text = format!("{}{}\"\"", "x".repeat(before), "\\".repeat(backslashes));
                let ended = ended(text.as_bytes());
                assert_eq!(ended, plainly(text.as_bytes()), "{before} {backslashes}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn blocks_and_bytes_agree(pieces in proptest::collection::vec(
            "[a-zé😀n ]{0,40}|\\\\\"|(\\\\\\\\){1,9}|\\\\n|\\\\u[0-9a-fA-F]{4}|\\\\[a-z/]|\"|[\\x00-\\x20]|\\\\u[0-9g]{3}", 0..24), begin in 0_usize..3) {
            let text = pieces.concat();
            let bytes = &text.as_bytes()[begin.min(text.len())..];
            prop_assert_eq!(ended(bytes), plainly(bytes));
        }
    }
}
