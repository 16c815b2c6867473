//! Reads a client's body within its limits of size and time.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use crate::error::Error;

/// How many times the time between two reads the whole body may take.
const WHOLE: u32 = 10;

/// The whole body.
///
/// # Errors
/// It is larger than `limit`, does not go on within `idle`, breaks off or is compressed.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    idle: Duration,
) -> Result<Bytes, Error> {
    let compressed = headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| encoding != "identity");
    if compressed {
        return Err(Error::CompressedBody);
    }
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(Error::BodyTooLarge { limit });
    }
    let whole = tokio::time::timeout(idle * WHOLE, collect(body, announced, limit, idle));
    whole.await.map_err(|_| Error::BodyTimeout)?
}

async fn collect(
    mut body: Body,
    announced: Option<usize>,
    limit: usize,
    idle: Duration,
) -> Result<Bytes, Error> {
    let mut collected = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(idle, body.frame())
            .await
            .map_err(|_| Error::BodyTimeout)?;
        match frame {
            None => return Ok(collected.freeze()),
            Some(Err(_)) => return Err(Error::BodyBroken),
            Some(Ok(frame)) => {
                let Some(data) = frame.data_ref() else {
                    continue;
                };
                if collected.len() + data.len() > limit {
                    return Err(Error::BodyTooLarge { limit });
                }
                if announced == Some(data.len()) {
                    // Most requests come in one piece, which nobody has to copy.
                    return frame.into_data().map_err(|_| Error::BodyBroken);
                }
                if collected.capacity() == 0 {
                    // Announced lengths are not believed beyond what is usual.
                    collected.reserve(announced.unwrap_or(0).min(1 << 20));
                }
                collected.extend_from_slice(data);
            }
        }
    }
}
