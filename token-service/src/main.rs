//! The `token-service` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    token_service::command::main()
}
