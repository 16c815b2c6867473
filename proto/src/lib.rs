//! The gRPC contract between gateways, operators and the token-service.
//!
//! The messages are generated from `antigravity/token/v1/*.proto`, where every
//! field is documented. Messages that carry secrets have a `Debug` that does
//! not tell them.

/// Package `antigravity.token.v1`.
#[expect(
    missing_docs,
    clippy::doc_markdown,
    clippy::allow_attributes,
    reason = "generated; the .proto files hold the documentation"
)]
pub mod v1 {
    tonic::include_proto!("antigravity.token.v1");

    /// The encoded `FileDescriptorSet`, for server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/antigravity.bin"));
}

mod group;
mod redacted;
mod usage;

pub use group::{UNSTATED_REST, model_group};
