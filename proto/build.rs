//! Compiles the contract with a pure Rust compiler, so that no protoc is needed.

use std::{error::Error, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    println!("cargo:rerun-if-changed=antigravity");
    let files = protox::compile(
        [
            "antigravity/token/v1/token_service.proto",
            "antigravity/token/v1/project_service.proto",
            "antigravity/token/v1/database_service.proto",
            "antigravity/token/v1/usage_service.proto",
        ],
        [&root],
    )?;
    let descriptors = PathBuf::from(std::env::var("OUT_DIR")?).join("antigravity.bin");
    std::fs::write(&descriptors, files.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_transport(true)
        .skip_debug([
            ".antigravity.token.v1.AccessToken",
            ".antigravity.token.v1.CreateProjectRequest",
            ".antigravity.token.v1.UpdateProjectRequest",
            ".antigravity.token.v1.ImportProjectsRequest",
            ".antigravity.token.v1.ExportProjectsRequest",
            ".antigravity.token.v1.PutOAuthClientRequest",
            ".antigravity.token.v1.RestoreRequest",
            ".antigravity.token.v1.BackUpResponse",
            ".antigravity.token.v1.BeginLoginResponse",
            ".antigravity.token.v1.FinishLoginRequest",
        ])
        .compile_fds(files)?;
    Ok(())
}
