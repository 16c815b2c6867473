//! Gates at which requests wait until a test opens them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// The gates that somebody waits at or has asked about.
#[derive(Debug, Default)]
pub(crate) struct Gates(Mutex<HashMap<String, Arc<watch::Sender<Gate>>>>);

#[derive(Clone, Copy, Debug, Default)]
struct Gate {
    waiting: usize,
    open: bool,
}

impl Gates {
    fn gate(&self, name: &str) -> Arc<watch::Sender<Gate>> {
        let mut gates = self.0.lock();
        Arc::clone(
            gates
                .entry(name.to_owned())
                .or_insert_with(|| Arc::new(watch::Sender::default())),
        )
    }

    /// Waits until the gate is opened.
    pub(crate) async fn pass(&self, name: &str) {
        let gate = self.gate(name);
        let mut changes = gate.subscribe();
        gate.send_modify(|gate| gate.waiting += 1);
        // The sender lives in this function, so that waiting cannot fail.
        let _ = changes.wait_for(|gate| gate.open).await;
    }

    /// Waits until so many requests have come to the gate.
    pub(crate) async fn reached(&self, name: &str, by: usize) {
        let gate = self.gate(name);
        let _ = gate.subscribe().wait_for(|gate| gate.waiting >= by).await;
    }

    /// Lets everybody who waits at the gate go on; who comes later waits again.
    pub(crate) fn open(&self, name: &str) {
        if let Some(gate) = self.0.lock().remove(name) {
            gate.send_modify(|gate| gate.open = true);
        }
    }
}
