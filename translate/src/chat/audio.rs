//! Speech: Google's pieces of base64 as one stream of base64, and as a file that plays.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// How speech is handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AudioFormat {
    /// As Google sends it, which is OpenAI's `pcm16`: 24 kHz, 16 bits, little-endian, mono.
    // https://ai.google.dev/gemini-api/docs/speech-generation
    #[default]
    Pcm16,
    /// In a WAV file, when the answer is whole; a stream is always `pcm16`.
    Wav,
}

/// Joins pieces of base64, each with a padding of its own, to one that is decoded at once
/// or piece by piece.
#[derive(Debug, Default)]
pub(super) struct Joint {
    /// The bytes that are no whole group of three yet.
    rest: Vec<u8>,
}

impl Joint {
    /// What the client is told of the next piece; `None` when it is no base64.
    pub(super) fn push(&mut self, piece: &str) -> Option<String> {
        if self.rest.is_empty() && piece.len().is_multiple_of(4) && !piece.ends_with('=') {
            return Some(piece.to_owned());
        }
        let mut bytes = self.rest.clone();
        STANDARD.decode_vec(piece, &mut bytes).ok()?;
        self.rest = bytes.split_off(bytes.len() - bytes.len() % 3);
        Some(STANDARD.encode(bytes))
    }

    /// The end of it, padded.
    pub(super) fn end(&self) -> String {
        STANDARD.encode(&self.rest)
    }
}

/// The samples per second that a MIME type such as `audio/L16;codec=pcm;rate=24000` tells;
/// `None` when it tells of something else than bare samples.
pub(super) fn sample_rate(mime: &str) -> Option<u32> {
    let mut fields = mime.split(';').map(str::trim);
    let kind = fields.next().unwrap_or_default();
    if !kind.eq_ignore_ascii_case("audio/l16") && !kind.eq_ignore_ascii_case("audio/pcm") {
        return None;
    }
    let rate = fields.find_map(|field| field.strip_prefix("rate=")?.parse().ok());
    Some(rate.unwrap_or(24_000))
}

/// The beginning of a WAV file with `data` after it, both in base64. Its length is a
/// multiple of three, so that the two can be written one behind the other.
pub(super) fn wav_header(rate: u32, data: &str) -> String {
    const BEFORE_DATA: u32 = 54;
    let padding = data.bytes().rev().take_while(|byte| *byte == b'=').count();
    let length = u32::try_from((data.len() / 4 * 3).saturating_sub(padding)).unwrap_or(u32::MAX);
    let mut header = Vec::with_capacity(BEFORE_DATA as usize);
    header.extend_from_slice(b"RIFF");
    header.extend_from_slice(&length.saturating_add(BEFORE_DATA - 8).to_le_bytes());
    header.extend_from_slice(b"WAVEfmt ");
    header.extend_from_slice(&16u32.to_le_bytes());
    header.extend_from_slice(&1u16.to_le_bytes()); // Integer samples,
    header.extend_from_slice(&1u16.to_le_bytes()); // one channel,
    header.extend_from_slice(&rate.to_le_bytes());
    header.extend_from_slice(&rate.saturating_mul(2).to_le_bytes());
    header.extend_from_slice(&2u16.to_le_bytes());
    header.extend_from_slice(&16u16.to_le_bytes()); // of sixteen bits.
    // A chunk that players pass over fills up to a multiple of three.
    header.extend_from_slice(b"JUNK");
    header.extend_from_slice(&2u32.to_le_bytes());
    header.extend_from_slice(&[0; 2]);
    header.extend_from_slice(b"data");
    header.extend_from_slice(&length.to_le_bytes());
    STANDARD.encode(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_whatever_their_lengths() {
        let bytes: Vec<u8> = (0..=255).collect();
        for size in 1..20 {
            let mut joint = Joint::default();
            let mut joined = String::new();
            for piece in bytes.chunks(size) {
                joined += &joint.push(&STANDARD.encode(piece)).expect("base64");
            }
            joined += &joint.end();
            assert_eq!(joined, STANDARD.encode(&bytes), "{size}");
        }
        let mut joint = Joint::default();
        joint.push("QQ==");
        // What is no base64 takes nothing away.
        assert_eq!(joint.push("a?=="), None);
        assert_eq!(joint.end(), "QQ==");
    }

    #[test]
    fn a_wav_file_says_how_long_it_is() {
        let samples = STANDARD.encode([1, 2, 3, 4]);
        let file = wav_header(24_000, &samples) + &samples;
        let file = STANDARD.decode(file).expect("base64");
        assert_eq!(&file[..4], b"RIFF");
        assert_eq!(file[4..8], (file.len() as u32 - 8).to_le_bytes());
        assert_eq!(file[24..28], 24_000u32.to_le_bytes());
        assert_eq!(&file[46..50], b"data");
        assert_eq!(file[50..], [4, 0, 0, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn bare_samples_tell_their_rate() {
        assert_eq!(sample_rate("audio/L16;codec=pcm;rate=16000"), Some(16_000));
        assert_eq!(sample_rate("audio/pcm"), Some(24_000));
        assert_eq!(sample_rate("audio/mp3"), None);
    }
}
