//! Who used what, by the hour: reports summed up until they are in the store. Pure.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::Duration,
};

use jiff::Timestamp;

use crate::{outcomes::REMEMBERED, store::storable};

pub(crate) const HOUR_MS: i64 = 3_600_000;
/// Names come from clients; of a longer one so many bytes are told.
const LONGEST_NAME: usize = 128;
/// Models are named by clients too: beyond so many in an hour the rest share a name.
const MODELS: usize = 1000;
const OTHER: &str = "(other)";
/// Reports that are kept one by one until they are stored; about 5 MB.
const TOLD_APART: usize = 32_768;

/// What is summed up together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Account {
    /// When the hour began, in milliseconds.
    pub(crate) hour: i64,
    pub(crate) api_key_name: String,
    pub(crate) project: String,
    pub(crate) model: String,
}

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) attempts: u64,
    pub(crate) answers: u64,
    pub(crate) cancelled: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) cached_tokens: u64,
    pub(crate) completion_tokens: u64,
    pub(crate) reasoning_tokens: u64,
    /// Of the answers together.
    pub(crate) first_event: Duration,
    pub(crate) duration: Duration,
}

impl std::ops::AddAssign for Used {
    fn add_assign(&mut self, other: Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.attempts, other.attempts);
        add(&mut self.answers, other.answers);
        add(&mut self.cancelled, other.cancelled);
        add(&mut self.prompt_tokens, other.prompt_tokens);
        add(&mut self.cached_tokens, other.cached_tokens);
        add(&mut self.completion_tokens, other.completion_tokens);
        add(&mut self.reasoning_tokens, other.reasoning_tokens);
        self.first_event = self.first_event.saturating_add(other.first_event);
        self.duration = self.duration.saturating_add(other.duration);
    }
}

/// A report, as far as the ledger is concerned.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: u128,
    pub(crate) account: Account,
    pub(crate) used: Used,
}

/// What is not in the store yet. A store that others write to too looks at each report, as one
/// that is repeated to another replica is to count once; of those that have waited for long, only
/// sums are left.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    each: VecDeque<Entry>,
    folded: BTreeMap<Account, Used>,
    /// The reports that are in those sums.
    folded_ids: Vec<u128>,
}

impl Entries {
    pub(crate) fn is_empty(&self) -> bool {
        self.each.is_empty() && self.folded.is_empty()
    }

    /// All of it, summed up.
    pub(crate) fn sums(&self) -> BTreeMap<Account, Used> {
        let mut sums = self.folded.clone();
        for entry in &self.each {
            *sums.entry(entry.account.clone()).or_default() += entry.used;
        }
        sums
    }

    /// The sums without these reports, as far as each is told apart.
    pub(crate) fn sums_without(&self, counted: &HashSet<u128>) -> BTreeMap<Account, Used> {
        let mut sums = self.folded.clone();
        for entry in self
            .each
            .iter()
            .filter(|entry| !counted.contains(&entry.id))
        {
            *sums.entry(entry.account.clone()).or_default() += entry.used;
        }
        sums
    }

    /// The reports that are in it, the oldest first.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u128> {
        let each = self.each.iter().map(|entry| entry.id);
        self.folded_ids.iter().copied().chain(each)
    }

    fn enter(&mut self, entry: Entry) {
        self.each.push_back(entry);
        self.forget();
    }

    /// Puts what could not be stored back before what came meanwhile.
    fn put_back(&mut self, earlier: Self) {
        for (account, used) in earlier.folded {
            *self.folded.entry(account).or_default() += used;
        }
        let later = std::mem::replace(&mut self.folded_ids, earlier.folded_ids);
        self.folded_ids.extend(later);
        let later = std::mem::replace(&mut self.each, earlier.each);
        self.each.extend(later);
        self.forget();
    }

    /// No more than is remembered: a store may take nothing for days.
    fn forget(&mut self) {
        while self.each.len() > TOLD_APART {
            let Some(oldest) = self.each.pop_front() else {
                return;
            };
            *self.folded.entry(oldest.account).or_default() += oldest.used;
            self.folded_ids.push(oldest.id);
        }
        if self.folded_ids.len() > 2 * REMEMBERED {
            self.folded_ids.drain(..self.folded_ids.len() - REMEMBERED);
        }
    }
}

/// The ledger's edge: what has come and is not in the store.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Entries,
    /// The names of models of the present hour.
    models: HashSet<String>,
    hour: i64,
    /// The store did not take the last entries.
    pub(crate) is_behind: bool,
}

impl Ledger {
    /// Takes a report in.
    pub(crate) fn enter(
        &mut self,
        id: u128,
        (api_key_name, project, model): (&str, &str, &str),
        used: Used,
        now: Timestamp,
    ) {
        let now = now.as_millisecond();
        let hour = now - now.rem_euclid(HOUR_MS);
        if hour != self.hour {
            self.hour = hour;
            self.models.clear();
        }
        let model = self.named(model, used.answers > 0);
        let account = Account {
            hour,
            api_key_name: storable(short(api_key_name)).into_owned(),
            project: storable(short(project)).into_owned(),
            model,
        };
        self.entries.enter(Entry { id, account, used });
    }

    /// Half of the names are for models that have answered: clients name others as they like.
    fn named(&mut self, model: &str, has_answered: bool) -> String {
        let model = storable(short(model));
        let model = &*model;
        if !self.models.contains(model) {
            let room = if has_answered { MODELS } else { MODELS / 2 };
            if self.models.len() >= room {
                return OTHER.to_owned();
            }
            self.models.insert(model.to_owned());
        }
        model.to_owned()
    }

    /// What is to be stored now.
    pub(crate) fn take(&mut self) -> Entries {
        std::mem::take(&mut self.entries)
    }

    /// It was not stored.
    pub(crate) fn put_back(&mut self, entries: Entries) {
        self.entries.put_back(entries);
    }
}

fn short(name: &str) -> &str {
    &name[..name.floor_char_boundary(LONGEST_NAME)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Used {
        Used {
            attempts: 1,
            answers: 1,
            prompt_tokens: 7,
            ..Used::default()
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn sums_up_by_the_hour_and_forgets_nothing_that_is_put_back() {
        let mut ledger = Ledger::default();
        ledger.enter(1, ("ann", "p1", "m"), one(), at(0));
        ledger.enter(2, ("ann", "p1", "m"), one(), at(1));
        let first = ledger.take();
        assert_eq!((first.sums().len(), first.ids().count()), (1, 2));
        ledger.enter(3, ("ann", "p1", "m"), one(), at(2));
        ledger.enter(4, ("bob", "p1", "m"), one(), at(7200));
        ledger.put_back(first);
        let all = ledger.take();
        assert_eq!(all.ids().collect::<Vec<_>>(), [1, 2, 3, 4]);
        let sums: Vec<_> = all.sums().values().map(|used| used.prompt_tokens).collect();
        assert_eq!(sums, [21, 7]);
        assert!(ledger.take().is_empty());
    }

    #[test]
    fn a_store_that_takes_nothing_for_long_costs_little_memory() {
        let mut ledger = Ledger::default();
        for number in 0..3 * REMEMBERED as u128 {
            ledger.enter(number, ("ann", "p1", "m"), one(), at(0));
            if number % 1000 == 0 {
                let entries = ledger.take();
                ledger.put_back(entries);
            }
        }
        let entries = ledger.take();
        assert!(entries.ids().count() <= 2 * REMEMBERED + TOLD_APART);
        assert_eq!(entries.ids().last(), Some(3 * REMEMBERED as u128 - 1));
        let attempts: u64 = entries.sums().values().map(|used| used.attempts).sum();
        assert_eq!(attempts, 3 * REMEMBERED as u64);
    }

    #[test]
    fn names_of_clients_do_not_fill_it() {
        let mut ledger = Ledger::default();
        let failed = Used {
            answers: 0,
            ..one()
        };
        for number in 0..5000 {
            let model = format!("{number}{}", "x".repeat(10_000));
            ledger.enter(number, ("ann", "p1", &model), failed, at(0));
        }
        // One that there is has its name all the same.
        ledger.enter(5000, ("ann", "p1", "real"), one(), at(0));
        let entries = ledger.take();
        assert_eq!(entries.sums().len(), MODELS / 2 + 2);
        assert!(entries.sums().keys().any(|account| account.model == "real"));
        let longest = entries
            .sums()
            .keys()
            .map(|account| account.model.len())
            .max();
        assert_eq!(longest, Some(LONGEST_NAME));
        // PostgreSQL takes no NUL, which would keep everything else out with it.
        ledger.enter(5001, ("a\0b", "p\0", "m\0"), one(), at(0));
        let entries = ledger.take();
        let sums = entries.sums();
        let account = sums.keys().next().unwrap();
        assert_eq!(account.api_key_name, "a\u{fffd}b");
        assert_eq!(account.project, "p\u{fffd}");
        assert_eq!(account.model, "m\u{fffd}");
        // Another hour has names of its own.
        ledger.enter(5002, ("ann", "p1", "new"), one(), at(3600));
        let entries = ledger.take();
        assert!(entries.sums().keys().all(|account| account.model == "new"));
    }
}
