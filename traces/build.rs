//! Compiles OpenTelemetry's published protocol, without protoc.

use std::{error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    println!("cargo:rerun-if-changed=opentelemetry");
    let files = protox::compile(
        ["opentelemetry/proto/collector/trace/v1/trace_service.proto"],
        [&root],
    )?;
    // The server's half is for the stand-in of a collector that tests have.
    tonic_prost_build::configure()
        .build_transport(true)
        .compile_fds(files)?;
    Ok(())
}
