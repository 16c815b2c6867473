//! A request's body as the pieces that it is made of, none of which is copied for it.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body of known length.
#[derive(Debug)]
pub struct Pieces {
    pieces: [Bytes; 3],
    at: usize,
}

impl Pieces {
    /// What is in front, the middle, and the end.
    #[must_use]
    pub fn new(pieces: [Bytes; 3]) -> Self {
        let mut this = Self { pieces, at: 0 };
        this.pass_empty();
        this
    }

    fn pass_empty(&mut self) {
        while self.pieces.get(self.at).is_some_and(Bytes::is_empty) {
            self.at += 1;
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let at = self.at;
        let piece = self.pieces.get_mut(at).map(std::mem::take);
        self.pass_empty();
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.at >= self.pieces.len()
    }

    fn size_hint(&self) -> SizeHint {
        let left: usize = self.pieces.iter().map(Bytes::len).sum();
        SizeHint::with_exact(left as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn all_of_it_and_its_length() {
        for texts in [["", "", ""], ["a", "", "c"], ["", "b", ""], ["a", "b", "c"]] {
            let body = Pieces::new(texts.map(|text| Bytes::from_static(text.as_bytes())));
            let whole = texts.concat();
            assert_eq!(body.size_hint().exact(), Some(whole.len() as u64));
            assert_eq!(body.is_end_stream(), whole.is_empty());
            assert_eq!(body.collect().await.unwrap().to_bytes(), whole);
        }
    }
}
