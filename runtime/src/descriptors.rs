//! How many files and connections this process may have open.

/// Raises the soft limit to the hard one, since 1,024 (the usual soft limit) connections are
/// soon had. What the limit is now; `None`: there is none, or it cannot be told.
#[must_use]
pub fn raise_limit() -> Option<u64> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if limit.current == limit.maximum || setrlimit(Resource::Nofile, raised).is_err() {
            return limit.current;
        }
        limit.maximum
    }
    #[cfg(not(unix))]
    None
}
