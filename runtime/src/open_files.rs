//! How many files the process may have open: each client takes one, and each of its streams
//! one more where the upstream speaks HTTP/1.1.

/// Raises the limit as far as the system lets anybody. Shells and service managers start with
/// 1,024, for the sake of programs that use select(2); there is none in this process.
#[cfg(unix)]
pub fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Some systems say that there is no limit and do have one; then it stays as it is.
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, ?limit, "the limit of open files stays as it is");
    }
}

/// There is no such limit to raise.
#[cfg(not(unix))]
pub fn raise_limit() {}
