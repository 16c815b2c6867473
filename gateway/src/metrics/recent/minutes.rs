//! Chat requests by the minute in which they ended.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::{Came, Chat, Fault, spread::Spread};

/// How many minutes are kept; each takes 700 bytes.
pub const MINUTES: usize = 180;

/// What ended in a minute.
#[derive(Clone, Debug, Default)]
pub struct Minute {
    /// When it began, in minutes since 1970.
    pub begins: i64,
    /// Requests that were answered whole.
    pub answered: u64,
    /// Those that were not, by nobody's fault but ours, the pool's or Google's.
    pub failed: u64,
    /// Those that were refused for what they asked.
    pub refused: u64,
    /// Those whose client went away first.
    pub cancelled: u64,
    /// Tokens of their prompts, as OpenAI counts.
    pub prompt_tokens: u64,
    /// Tokens of their answers, reasoning included.
    pub completion_tokens: u64,
    /// How long whole answers took.
    pub durations: Spread,
    /// How long the first pieces of whole streams took.
    pub first_pieces: Spread,
}

impl Minute {
    /// Requests, whatever came of them.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.answered + self.failed + self.refused + self.cancelled
    }

    /// Adds what another minute has.
    pub fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.failed += other.failed;
        self.refused += other.refused;
        self.cancelled += other.cancelled;
        self.prompt_tokens = self.prompt_tokens.saturating_add(other.prompt_tokens);
        self.completion_tokens = self
            .completion_tokens
            .saturating_add(other.completion_tokens);
        self.durations.add(&other.durations);
        self.first_pieces.add(&other.first_pieces);
    }
}

/// Those in which something ended, in their order.
#[derive(Debug, Default)]
pub(super) struct Minutes(VecDeque<Minute>);

impl Minutes {
    pub(super) fn count(&mut self, chat: &Chat<'_>, came: Came, now: Timestamp) {
        let minute = self.at(now);
        match came {
            Came::ToAnAnswer => {
                minute.answered += 1;
                minute.durations.count(chat.duration);
                if let Some(first) = chat.first_piece {
                    minute.first_pieces.count(first);
                }
            }
            Came::ToNothing(Fault::Ours) => minute.failed += 1,
            Came::ToNothing(Fault::Clients) => minute.refused += 1,
            Came::ClientLeft => minute.cancelled += 1,
        }
        if let Some(usage) = chat.usage {
            let (prompt, completion) = (usage.prompt_tokens(), usage.completion_tokens());
            minute.prompt_tokens = minute.prompt_tokens.saturating_add(prompt);
            minute.completion_tokens = minute.completion_tokens.saturating_add(completion);
        }
    }

    /// The present minute. When the wall clock was set back it is the last one, until that time
    /// has come again.
    fn at(&mut self, now: Timestamp) -> &mut Minute {
        let begins = minute_of(now);
        let is_new = self.0.back().is_none_or(|last| last.begins < begins);
        if is_new {
            if self.0.len() == MINUTES {
                self.0.pop_front();
            }
            self.0.push_back(Minute {
                begins,
                ..Minute::default()
            });
        }
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    pub(super) fn until(&self, now: Timestamp) -> Vec<Minute> {
        let kept = i64::try_from(MINUTES).unwrap_or(i64::MAX);
        let last = self.0.back().map_or(i64::MIN, |minute| minute.begins);
        let last = last.max(minute_of(now));
        let mut minutes: Vec<_> = (last - kept + 1..=last)
            .map(|begins| Minute {
                begins,
                ..Minute::default()
            })
            .collect();
        for minute in &self.0 {
            let place = kept - 1 - (last - minute.begins);
            let place = usize::try_from(place).ok();
            if let Some(place) = place.and_then(|place| minutes.get_mut(place)) {
                place.clone_from(minute);
            }
        }
        minutes
    }
}

fn minute_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use jiff::SignedDuration;
    use translate::gemini::usage::Usage;

    use super::*;

    fn ended(minutes: &mut Minutes, outcome: &'static str, status: u16, now: Timestamp) {
        let chat = Chat {
            request_id: &Arc::from("req_1"),
            model: Some("gemini-2.5-flash"),
            status,
            outcome,
            duration: Duration::from_millis(300),
            first_piece: Some(Duration::from_millis(100)),
            usage: Some(Usage {
                prompt: 7,
                candidates: 5,
                total: 12,
                ..Usage::default()
            }),
        };
        minutes.count(&chat, chat.came(), now);
    }

    #[test]
    fn each_has_what_ended_in_it() {
        let mut minutes = Minutes::default();
        let noon: Timestamp = "2026-11-26T12:00:30Z".parse().unwrap();
        let after = |seconds| noon + SignedDuration::from_secs(seconds);
        ended(&mut minutes, "ok", 200, noon);
        ended(&mut minutes, "invalid_type", 400, after(20));
        // The clock is set back by an hour.
        ended(&mut minutes, "cancelled", 499, after(-3600));
        ended(&mut minutes, "upstream_error", 200, after(180));
        ended(&mut minutes, "rate_limit_exceeded", 429, after(180));
        let told = minutes.until(after(240));
        assert_eq!(told.len(), MINUTES);
        let at = |back: usize| &told[MINUTES - 1 - back];
        assert_eq!((at(0).requests(), at(2).requests()), (0, 0));
        let counts = |minute: &Minute| {
            (
                minute.answered,
                minute.failed,
                minute.refused,
                minute.cancelled,
            )
        };
        assert_eq!(counts(at(4)), (1, 0, 1, 1));
        assert_eq!(counts(at(1)), (0, 2, 0, 0));
        assert_eq!((at(4).prompt_tokens, at(4).completion_tokens), (21, 15));
        assert_eq!(
            (at(4).durations.total(), at(4).first_pieces.total()),
            (1, 1)
        );
        assert!(told.is_sorted_by_key(|minute| minute.begins));
    }

    #[test]
    fn only_so_many_are_kept() {
        let mut minutes = Minutes::default();
        let noon: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        for minute in 0..1000 {
            let now = noon + SignedDuration::from_mins(minute);
            ended(&mut minutes, "ok", 200, now);
        }
        assert_eq!(minutes.0.len(), MINUTES);
        let told = minutes.until(noon + SignedDuration::from_mins(999));
        assert!(told.iter().all(|minute| minute.answered == 1));
        // A day without a request.
        let told = minutes.until(noon + SignedDuration::from_mins(999 + 24 * 60));
        assert!(told.iter().all(|minute| minute.requests() == 0));
        assert_eq!(told.len(), MINUTES);
    }
}
