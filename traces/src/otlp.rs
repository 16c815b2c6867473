//! OpenTelemetry's messages, generated from its published files (release 1.10.0, unchanged,
//! under `opentelemetry/`).

#![expect(
    missing_docs,
    clippy::doc_markdown,
    clippy::allow_attributes,
    rustdoc::invalid_html_tags,
    reason = "generated; the .proto files hold the documentation"
)]

pub mod collector {
    pub mod trace {
        pub mod v1 {
            tonic::include_proto!("opentelemetry.proto.collector.trace.v1");
        }
    }
}
pub mod common {
    pub mod v1 {
        tonic::include_proto!("opentelemetry.proto.common.v1");
    }
}
pub mod resource {
    pub mod v1 {
        tonic::include_proto!("opentelemetry.proto.resource.v1");
    }
}
pub mod trace {
    pub mod v1 {
        tonic::include_proto!("opentelemetry.proto.trace.v1");
    }
}
