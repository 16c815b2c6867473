//! How many requests run at once: of all clients together, and of each key.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// The most that may run. `None`: as many as come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Most {
    /// Of all clients.
    pub in_all: Option<usize>,
    /// Of one key.
    pub per_key: Option<usize>,
}

/// Who runs.
#[derive(Debug)]
pub struct Limits {
    most: Most,
    all: Option<Arc<Semaphore>>,
    keys: Mutex<HashMap<Arc<str>, Arc<Semaphore>>>,
}

/// A request that runs, until this is dropped.
#[derive(Debug)]
pub struct Running {
    _of_all: Option<OwnedSemaphorePermit>,
    _of_key: Option<OwnedSemaphorePermit>,
    /// How its key stands.
    pub standing: Option<Standing>,
}

/// How a key stands to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Requests at once.
    pub limit: usize,
    /// How many more could run.
    pub remaining: usize,
}

impl Limits {
    /// Nobody runs yet.
    #[must_use]
    pub fn new(most: Most) -> Self {
        Self {
            most,
            all: most.in_all.map(semaphore),
            keys: Mutex::default(),
        }
    }

    /// A request of this key begins.
    ///
    /// # Errors
    /// As many as may run do.
    pub fn begin(&self, key: &Arc<str>) -> Result<Running, Error> {
        let of_key = match self.most.per_key {
            Some(limit) => {
                let semaphore = self.of_key(key, limit);
                let permit = Arc::clone(&semaphore).try_acquire_owned();
                let permit = permit.map_err(|_| Error::Busy {
                    of_key: true,
                    limit,
                })?;
                let standing = Standing {
                    limit,
                    remaining: semaphore.available_permits(),
                };
                Some((permit, standing))
            }
            None => None,
        };
        let of_all = match (&self.all, self.most.in_all) {
            (Some(all), Some(limit)) => {
                let permit = Arc::clone(all).try_acquire_owned();
                Some(permit.map_err(|_| Error::Busy {
                    of_key: false,
                    limit,
                })?)
            }
            _ => None,
        };
        let (of_key, standing) = of_key.unzip();
        Ok(Running {
            _of_all: of_all,
            _of_key: of_key,
            standing,
        })
    }

    /// Keys are the operator's: there are few, and none comes from a client.
    fn of_key(&self, key: &Arc<str>, limit: usize) -> Arc<Semaphore> {
        let mut keys = self.keys.lock();
        let semaphore = keys
            .entry(Arc::clone(key))
            .or_insert_with(|| semaphore(limit));
        Arc::clone(semaphore)
    }
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_and_all_share_one() {
        let limits = Limits::new(Most {
            in_all: Some(3),
            per_key: Some(2),
        });
        let [ann, bob] = ["ann", "bob"].map(Arc::<str>::from);
        let first = limits.begin(&ann).unwrap();
        assert_eq!(
            first.standing,
            Some(Standing {
                limit: 2,
                remaining: 1
            })
        );
        let _second = limits.begin(&ann).unwrap();
        let refused = limits.begin(&ann).unwrap_err();
        assert!(matches!(
            refused,
            Error::Busy {
                of_key: true,
                limit: 2
            }
        ));
        let _third = limits.begin(&bob).unwrap();
        let refused = limits.begin(&bob).unwrap_err();
        assert!(matches!(
            refused,
            Error::Busy {
                of_key: false,
                limit: 3
            }
        ));
        drop(first);
        // Who was refused by one limit holds no place of the other.
        let _again = limits.begin(&bob).unwrap();
        assert!(limits.begin(&ann).is_err());
    }

    #[test]
    fn without_limits_all_run() {
        let limits = Limits::new(Most::default());
        let key = Arc::from("ann");
        let running: Vec<_> = (0..10_000).map(|_| limits.begin(&key)).collect();
        assert!(running.iter().all(Result::is_ok));
    }
}
