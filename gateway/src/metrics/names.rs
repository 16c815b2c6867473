//! Names that become labels. Clients name models, and an operator may have any number of keys;
//! what they write must not fill the memory of this process and of Prometheus.

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;

/// Of a longer name so many bytes are told.
const LONGEST: usize = 128;
const OTHER: &str = "(other)";

/// What there is for each name.
#[derive(Debug)]
pub(super) struct Names<T> {
    known: RwLock<HashMap<Arc<str>, Arc<T>>>,
    other: Arc<T>,
}

impl<T> Names<T> {
    /// `other` is made of the name that all share for which there is no room.
    pub(super) fn new(other: impl FnOnce(Arc<str>) -> T) -> Self {
        Self {
            known: RwLock::default(),
            other: Arc::new(other(OTHER.into())),
        }
    }

    /// What there is for a name, made when there is room: while fewer than `most` are known.
    pub(super) fn get(&self, name: &str, most: usize, make: impl FnOnce(Arc<str>) -> T) -> Arc<T> {
        let name = &name[..name.floor_char_boundary(LONGEST)];
        if let Some(known) = self.known.read().get(name) {
            return Arc::clone(known);
        }
        let mut known = self.known.write();
        if known.len() >= most && !known.contains_key(name) {
            return Arc::clone(&self.other);
        }
        let name: Arc<str> = name.into();
        let made = known
            .entry(Arc::clone(&name))
            .or_insert_with(|| Arc::new(make(name)));
        Arc::clone(made)
    }

    /// Whether this is what all share for which there is no room.
    pub(super) fn is_other(&self, made: &Arc<T>) -> bool {
        Arc::ptr_eq(made, &self.other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_few_and_short() {
        let names = Names::new(|name| name);
        for number in 0..1000 {
            let name = format!("{number} {}", "ä".repeat(5000));
            assert!(names.get(&name, 10, |name| name).len() <= LONGEST);
        }
        assert_eq!(names.known.read().len(), 10);
        let other = names.get("late", 10, |name| name);
        assert!(names.is_other(&other) && &**other == OTHER);
        // Who was in time keeps its place, and there may be room for others later.
        let early = format!("3 {}", "ä".repeat(5000));
        assert!(names.get(&early, 10, |name| name).starts_with("3 ä"));
        assert_eq!(&**names.get("late", 11, |name| name), "late");
    }
}
