//! How much of a schema is written: references and merges may make any number of bytes of a
//! few.

use std::{borrow::Cow, cell::Cell};

use super::tree::Value;

/// How many nodes all schemas of a request write beyond their own. References may multiply a
/// few bytes into any number of them; what lies beyond is left open.
const MAX_NODES: usize = 20_000;
/// A node takes as many bytes at least.
const BYTES_PER_NODE: usize = 4;
/// How many bytes all schemas of a request may write again because a reference or a merge
/// repeats them, beyond so many times their own length: a long description that is referred to
/// often is few nodes and many bytes.
const MAX_REPEATED: usize = 256 << 10;
const REPEATED_PER_BYTE: usize = 8;

/// What may still be written.
pub(super) struct Budget {
    /// Nodes.
    nodes: Cell<usize>,
    /// Bytes that were written before.
    repeated: Cell<usize>,
}

impl Budget {
    /// For a schema of so many bytes, which is one of so many in its request.
    pub(super) fn of(length: usize, schemas: usize) -> Self {
        let share = schemas.max(1);
        Self {
            nodes: Cell::new(MAX_NODES / share + length / BYTES_PER_NODE),
            repeated: Cell::new(MAX_REPEATED / share + REPEATED_PER_BYTE * length),
        }
    }

    /// Whether so many more nodes may be written.
    pub(super) fn spend(&self, nodes: usize) -> bool {
        let left = self.nodes.get();
        self.nodes.set(left.saturating_sub(nodes));
        left >= nodes
    }

    /// Whether a schema may be written again.
    pub(super) fn repeat<'v>(
        &self,
        members: impl Iterator<Item = (&'v Cow<'v, str>, &'v Value<'v>)>,
    ) -> bool {
        let mut left = self.repeated.get();
        let may = members
            .into_iter()
            .all(|(key, value)| take(&mut left, key.len()) && weigh(value, &mut left));
        // Once it is too much it stays so: what is left is not weighed again and again.
        self.repeated.set(if may { left } else { 0 });
        may
    }
}

/// Takes so many bytes from what is left, if there are as many.
fn take(left: &mut usize, bytes: usize) -> bool {
    match left.checked_sub(bytes) {
        Some(rest) => {
            *left = rest;
            true
        }
        None => false,
    }
}

/// Takes about as many bytes as a value is long.
fn weigh(value: &Value<'_>, left: &mut usize) -> bool {
    const NODE: usize = 8;
    take(left, NODE)
        && match value {
            Value::String(text) => take(left, text.len()),
            Value::Array(elements) => elements.iter().all(|value| weigh(value, left)),
            Value::Object(members) => members
                .iter()
                .all(|(key, value)| take(left, key.len()) && weigh(value, left)),
            _ => true,
        }
}
