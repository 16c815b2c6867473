//! JSON Schemas of functions and answers: whether they are any, and what is left of them
//! for the APIs that take no JSON Schema.

use std::borrow::Cow;

use crate::{
    gemini::model::Generation,
    json::{self, Document, Raw},
};

mod alternatives;
mod budget;
mod check;
mod convert;
mod loops;
mod merge;
mod reference;
mod single;
mod tree;
mod words;

pub use check::{Fault, checked};
pub use convert::{answer, arguments, nothing};

/// A JSON Schema that was looked over.
#[derive(Clone, Copy, Debug)]
pub struct Schema<'a> {
    /// As it came.
    pub raw: Raw<'a>,
    /// Whether it can go out as it came where JSON Schema is taken: it is of a usual depth,
    /// all of it is JSON Schema (Python's names of types, for one, are not), and its references
    /// are such as Google follows.
    pub is_standard: bool,
}

/// Whose subset of JSON Schema is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subset {
    /// Gemini's `Schema`.
    Gemini,
    /// What Code Assist makes of that for Claude: no limits of length, number or pattern,
    /// and at least one required property in every object.
    Claude,
}

impl Subset {
    /// What the models of a generation take.
    #[must_use]
    pub fn of(generation: Generation) -> Self {
        match generation {
            Generation::Claude => Self::Claude,
            _ => Self::Gemini,
        }
    }
}

/// Whether a type's name is one of an object.
#[must_use]
pub fn is_object(kind: &str) -> bool {
    words::type_name(kind) == Some("OBJECT")
}

/// Whether a schema has no properties at its root, as functions without arguments have.
#[must_use]
pub fn is_empty(schema: Raw<'_>) -> bool {
    let Ok(object) = json::object(schema) else {
        return false;
    };
    let empty_properties = object.get("properties").is_none_or(|properties| {
        json::object(properties).is_ok_and(|properties| properties.iter().next().is_none())
    });
    let says_more = ["$ref", "allOf", "anyOf", "oneOf", "patternProperties"]
        .iter()
        .any(|key| object.get(key).is_some());
    let open = object
        .get("additionalProperties")
        .is_some_and(|values| values.get() != "false");
    empty_properties && !says_more && !open
}

/// The property that an object without a required one gets for Claude.
const PLACEHOLDER: &str = "_placeholder";

/// Arguments of a call without what was only there for Claude's sake.
#[must_use]
pub fn without_placeholder(args: &str) -> Cow<'_, str> {
    if !args.contains(PLACEHOLDER) {
        return args.into();
    }
    let mut out = Vec::with_capacity(args.len());
    match Document::read(args) {
        Ok(args) if args.root().depth() <= 100 => copy_without(args.root(), &mut out),
        _ => return args.into(),
    }
    // What was copied from a text is one.
    String::from_utf8(out).map_or(args.into(), Cow::Owned)
}

fn copy_without(raw: Raw<'_>, out: &mut Vec<u8>) {
    if let Ok(object) = json::object(raw) {
        out.push(b'{');
        let kept = object.members().filter(|(key, _)| *key != PLACEHOLDER);
        for (at, (key, value)) in kept.enumerate() {
            if at > 0 {
                out.push(b',');
            }
            json::write_string(out, &key);
            out.push(b':');
            copy_without(value, out);
        }
        out.push(b'}');
    } else if let Ok(array) = json::array(raw) {
        out.push(b'[');
        for (at, value) in array.into_iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            copy_without(value, out);
        }
        out.push(b']');
    } else {
        out.extend_from_slice(raw.get().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_placeholder_goes_as_it_came() {
        let args =
            r#"{"a":{"_placeholder":true,"b":[{"_placeholder":true},1e400]},"_placeholder":true}"#;
        assert_eq!(without_placeholder(args), r#"{"a":{"b":[{},1e400]}}"#);
        let other = r#"{"a": "_placeholder"}"#;
        assert_eq!(without_placeholder(other), r#"{"a":"_placeholder"}"#);
        assert_eq!(without_placeholder("{ }"), "{ }");
    }

    #[test]
    fn functions_without_arguments() {
        for (schema, empty) in [
            ("{}", true),
            (r#"{"type":"object","properties":{},"required":[]}"#, true),
            (r#"{"type":"object","additionalProperties":false}"#, true),
            (r#"{"type":"object","additionalProperties":true}"#, false),
            (r##"{"$ref":"#/$defs/A"}"##, false),
        ] {
            let document = Document::read(schema).expect("JSON");
            assert_eq!(is_empty(document.root()), empty, "{schema}");
        }
    }
}
