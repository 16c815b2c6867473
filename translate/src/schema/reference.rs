//! `$ref`: what in a schema another place of it means.

use std::{borrow::Cow, collections::HashMap};

use super::tree::Value;

/// Schemas that have a name of their own, by `$id` and `$anchor`.
pub(super) type Named<'v> = HashMap<Cow<'v, str>, &'v Value<'v>>;

/// Gathers what has a name of its own.
pub(super) fn named<'v>(root: &'v Value<'v>) -> Named<'v> {
    let mut found = HashMap::new();
    let mut open = vec![root];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                if let Some(id) = members.get("$id").and_then(Value::as_str) {
                    found.entry(id.into()).or_insert(value);
                }
                if let Some(anchor) = members.get("$anchor").and_then(Value::as_str) {
                    found.entry(format!("#{anchor}").into()).or_insert(value);
                }
                open.extend(members.values());
            }
            Value::Array(elements) => open.extend(elements),
            _ => {}
        }
    }
    found
}

/// What `reference` means; `None`: nothing in this schema.
pub(super) fn resolve<'v>(
    root: &'v Value<'v>,
    named: &Named<'v>,
    reference: &str,
) -> Option<&'v Value<'v>> {
    if let Some(known) = named.get(reference) {
        return Some(known);
    }
    let (document, fragment) = reference.split_once('#')?;
    let within = match document {
        "" => root,
        document => named.get(document)?,
    };
    within.pointer(&percent_decoded(fragment))
}

/// A fragment of a URI as the text that it stands for (RFC 6901, section 6).
fn percent_decoded(fragment: &str) -> Cow<'_, str> {
    if !fragment.contains('%') {
        return fragment.into();
    }
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = (byte == b'%').then(|| after.get(..2)).flatten();
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).map_or(fragment.into(), Cow::Owned)
}
