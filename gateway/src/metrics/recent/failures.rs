//! The last requests that came to nothing.

use std::{collections::VecDeque, sync::Arc};

use jiff::Timestamp;

use super::Chat;

/// How many are kept of each kind, so that a client that asks for what is not there pushes out
/// no failure of ours.
const KEPT: usize = 50;

/// Where to look for the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The gateway, the pool or Google.
    Ours,
    /// What was asked.
    Clients,
}

/// A request that came to nothing. Never what was asked or answered.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When it ended.
    pub at: Timestamp,
    /// As its client was told, and as the log names it.
    pub request_id: Arc<str>,
    /// The status of its answer; of a stream that broke, that with which it had begun.
    pub status: u16,
    /// What the client was told.
    pub code: &'static str,
    /// Which model was asked for, as the client wrote it.
    pub model: Option<Box<str>>,
    /// Where to look.
    pub fault: Fault,
}

#[derive(Debug, Default)]
pub(super) struct Failures {
    ours: VecDeque<Failure>,
    clients: VecDeque<Failure>,
}

impl Failures {
    pub(super) fn keep(&mut self, chat: &Chat<'_>, fault: Fault, now: Timestamp) {
        let kept = match fault {
            Fault::Ours => &mut self.ours,
            Fault::Clients => &mut self.clients,
        };
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Failure {
            at: now,
            request_id: Arc::clone(chat.request_id),
            status: chat.status,
            code: chat.outcome,
            model: chat.model.map(Into::into),
            fault,
        });
    }

    pub(super) fn newest_first(&self) -> Vec<Failure> {
        let mut all: Vec<_> = self.ours.iter().chain(&self.clients).cloned().collect();
        all.sort_by_key(|failure| std::cmp::Reverse(failure.at));
        all
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn are_few_and_those_of_clients_push_out_none_of_ours() {
        let mut failures = Failures::default();
        let began: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        let mut fail = |nth: i64, fault| {
            let chat = Chat {
                request_id: &Arc::from(format!("req_{nth}")),
                model: None,
                status: 400,
                outcome: "invalid_type",
                duration: Duration::ZERO,
                first_piece: None,
                usage: None,
            };
            failures.keep(&chat, fault, began + SignedDuration::from_secs(nth));
        };
        fail(0, Fault::Ours);
        for nth in 1..1000 {
            fail(nth, Fault::Clients);
        }
        let told = failures.newest_first();
        assert_eq!(told.len(), KEPT + 1);
        assert_eq!(
            (&*told[0].request_id, told[0].fault),
            ("req_999", Fault::Clients)
        );
        assert_eq!(
            (&*told[KEPT].request_id, told[KEPT].fault),
            ("req_0", Fault::Ours)
        );
    }
}
