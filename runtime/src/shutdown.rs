//! How a process ends: the first signal asks, the second insists.

use tokio_util::sync::CancellationToken;

/// Two stages of an end. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Cancelled when the process is asked to end: finish what runs, take nothing new.
    pub drain: CancellationToken,
    /// Cancelled when it has to end at once.
    pub abort: CancellationToken,
}

impl Shutdown {
    /// One that nothing triggers but its owner.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Triggers on SIGTERM or SIGINT: the first drains, the second aborts.
    #[must_use]
    pub fn on_signals() -> Self {
        let this = Self::new();
        tokio::spawn({
            let this = this.clone();
            async move {
                signal().await;
                tracing::info!("shutting down; a second signal ends at once");
                this.drain.cancel();
                signal().await;
                tracing::warn!("second signal: ending at once");
                this.abort.cancel();
            }
        });
        this
    }

    /// Ends everything at once.
    pub fn abort(&self) {
        self.drain.cancel();
        self.abort.cancel();
    }
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::error!("cannot listen for signals; end this process with SIGKILL");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(not(unix))]
async fn signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
