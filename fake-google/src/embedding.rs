//! Embeddings: deterministic unit vectors in which texts that share words are near each other.

use sha2::{Digest, Sha256};

use crate::json::{Json, object};

/// Dimensions unless `outputDimensionality` asks for fewer.
const DIMENSIONS: usize = 3_072;

/// `:embedContent`
pub(crate) fn one(request: &Json) -> Json {
    object! { "embedding": object! { "values": values(request) } }
}

/// `:batchEmbedContents`
pub(crate) fn batch(request: &Json) -> Json {
    let requests = request.get("requests").map(Json::items).unwrap_or_default();
    let embeddings: Vec<Json> = requests
        .iter()
        .map(|request| object! { "values": values(request) })
        .collect();
    object! { "embeddings": embeddings }
}

fn values(request: &Json) -> Vec<f64> {
    let dimensions = request
        .either("outputDimensionality", "output_dimensionality")
        .and_then(Json::as_u64)
        .map_or(DIMENSIONS, |wanted| (wanted as usize).clamp(1, DIMENSIONS));
    let parts = request
        .get("content")
        .and_then(|content| content.get("parts"))
        .map(Json::items)
        .unwrap_or_default();
    let text: Vec<&str> = parts
        .iter()
        .filter_map(|part| part.get("text")?.as_str())
        .collect();
    let mut vector = vec![0.0_f64; dimensions];
    for word in text.join(" ").to_lowercase().split_whitespace() {
        for (nth, byte) in Sha256::digest(word).iter().enumerate() {
            vector[(usize::from(*byte) * 31 + nth * 97) % dimensions] += 1.0;
        }
    }
    let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    if length == 0.0 {
        vector[0] = 1.0;
        return vector;
    }
    // As many digits as a 32-bit float has.
    vector
        .iter()
        .map(|value| (value / length * 1e8).round() / 1e8)
        .collect()
}
