//! Random bytes for ids, of which each request takes a few.

use std::{
    cell::RefCell,
    hash::{BuildHasher as _, RandomState},
};

/// Read from the system at once: it costs a call, and an id takes 16.
const AHEAD: usize = 1024;

struct Ahead {
    bytes: [u8; AHEAD],
    used: usize,
}

thread_local! {
    static HELD: RefCell<Ahead> = const {
        RefCell::new(Ahead { bytes: [0; AHEAD], used: AHEAD })
    };
}

/// 16 bytes that nobody has had before. For ids: secrets are made by
/// [`generate`](crate::secret::generate).
#[must_use]
pub fn id_bytes() -> [u8; 16] {
    HELD.with_borrow_mut(|held| {
        if held.used == AHEAD {
            if getrandom::fill(&mut held.bytes).is_err() {
                return unseen();
            }
            held.used = 0;
        }
        let mut id = [0; 16];
        id.copy_from_slice(&held.bytes[held.used..held.used + 16]);
        held.used += 16;
        id
    })
}

/// Without the system's randomness: what std has for its maps, which is still another each time.
fn unseen() -> [u8; 16] {
    let half = || RandomState::new().hash_one(()).to_le_bytes();
    let mut id = [0; 16];
    id[..8].copy_from_slice(&half());
    id[8..].copy_from_slice(&half());
    id
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn none_comes_twice_in_any_thread() {
        let ids = || (0..1000).map(|_| id_bytes()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(ids)).collect();
        let mut seen: HashSet<[u8; 16]> = ids().into_iter().collect();
        for thread in threads {
            seen.extend(thread.join().unwrap());
        }
        seen.extend((0..100).map(|_| unseen()));
        assert_eq!(seen.len(), 5100);
    }
}
