//! The events of a stream do not depend on how its bytes are split, and none of its text
//! is lost.

use bytes::Bytes;
use translate::sse::{EventBuffer, Framing, documents};

/// The first byte is the length of the pieces; the rest is the stream.
pub(crate) fn check(data: &[u8]) {
    let Some((&length, stream)) = data.split_first() else {
        return;
    };
    let at_once = told(stream, stream.len().max(1));
    assert_eq!(told(stream, usize::from(length).max(1)), at_once);
    assert_eq!(told(stream, 1), at_once);
    let kept: usize = at_once.iter().map(Bytes::len).sum();
    assert!(kept <= stream.len());
}

fn told(stream: &[u8], length: usize) -> Vec<Bytes> {
    let mut buffer = EventBuffer::new(Framing::Sse);
    let mut told = Vec::new();
    for piece in stream.chunks(length) {
        buffer.push(piece);
        while let Some(event) = buffer.next_event() {
            told.extend(documents(&event));
        }
    }
    told.extend(buffer.last_event().iter().flat_map(documents));
    assert_eq!(buffer.waiting(), 0);
    told
}
