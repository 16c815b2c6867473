//! Whether a JSON Schema is one, said before anybody is asked upstream. One pass over
//! the text, without a tree of it.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{
    Schema, loops,
    reference::{self, Named},
    words::type_name,
};
use crate::json::{self, MAX_DEPTH};

/// What is wrong with a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where in it, as `.properties.a`; empty: at its root.
    pub path: String,
    /// A sentence.
    pub why: String,
}

/// Deeper ones go out as `Schema`, which is cut: as JSON each level is two or three messages
/// of protobuf.
const MAX_STANDARD_DEPTH: usize = 32;

/// Looks a schema over.
///
/// # Errors
/// What is wrong with it, and where.
pub fn checked(raw: &RawValue) -> Result<Schema<'_>, Fault> {
    let fault = |why: String| Fault {
        path: String::new(),
        why,
    };
    let depth = json::depth(raw.get());
    if depth > MAX_DEPTH {
        return Err(fault(format!(
            "it is nested more than {MAX_DEPTH} levels deep."
        )));
    }
    let mut checker = Checker {
        is_standard: depth <= MAX_STANDARD_DEPTH,
        ..Checker::default()
    };
    checker.walk(raw)?;
    if checker.refers {
        let root: Value =
            serde_json::from_str(raw.get()).map_err(|error| fault(format!("{error}.")))?;
        let named = reference::named(&root);
        // Once more, now that there is something to look references up in: to remember
        // where each of them stands could take far more room than the schema does.
        let mut second = Checker {
            is_standard: checker.is_standard,
            document: Some((&root, &named)),
            ..Checker::default()
        };
        second.walk(raw)?;
        checker.is_standard = second.is_standard && !loops::is_endless(&root, &named);
    }
    Ok(Schema {
        raw,
        is_standard: checker.is_standard,
    })
}

#[derive(Default)]
struct Checker<'v> {
    /// The names of where the walk is.
    path: Vec<String>,
    fault: Option<Fault>,
    is_standard: bool,
    /// Whether there are references.
    refers: bool,
    /// What they are looked up in.
    document: Option<(&'v Value, &'v Named<'v>)>,
}

impl Checker<'_> {
    fn walk(&mut self, raw: &RawValue) -> Result<(), Fault> {
        let mut deserializer = serde_json::Deserializer::from_str(raw.get());
        let walked = Expect(self, Kind::Node).deserialize(&mut deserializer);
        if let Some(found) = self.fault.take() {
            return Err(found);
        }
        // Half of a surrogate pair in a name, or a number that no computer holds, which
        // JSON's grammar does not see.
        walked.map_err(|error| Fault {
            path: String::new(),
            why: format!("it cannot be read: {error}."),
        })
    }

    fn reference<E: serde::de::Error>(&mut self, target: &str) -> Result<(), E> {
        self.refers = true;
        let Some((root, named)) = &self.document else {
            return Ok(());
        };
        if reference::resolve(root, named, target).is_none() {
            return Err(self.fault(format!("'{target}' refers to nothing in this schema.")));
        }
        self.is_standard &= target == "#" || target.starts_with("#/");
        Ok(())
    }

    fn here(&self) -> String {
        self.path.concat()
    }

    fn fault<E: serde::de::Error>(&mut self, why: impl Into<String>) -> E {
        let path = self.here();
        let why = why.into();
        self.fault.get_or_insert(Fault { path, why });
        E::custom("a fault")
    }
}

/// What a value in a schema has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A schema: an object or a boolean.
    Node,
    /// An object of schemas.
    Nodes,
    /// A list of schemas, not empty.
    List,
    /// A schema, or a list of them.
    Items,
    /// A type's name, or a list of them.
    Type,
    /// A list of names.
    Names,
    /// A list of values, not empty.
    Values,
    /// Where another schema is.
    Reference,
}

impl Kind {
    /// What stands under a keyword; `None`: whatever.
    fn under(keyword: &str) -> Option<Self> {
        Some(match keyword {
            "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" => {
                Self::Nodes
            }
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => Self::List,
            "items" => Self::Items,
            "additionalProperties"
            | "additionalItems"
            | "unevaluatedProperties"
            | "unevaluatedItems"
            | "not"
            | "if"
            | "then"
            | "else"
            | "contains"
            | "propertyNames" => Self::Node,
            "type" => Self::Type,
            "required" => Self::Names,
            "enum" => Self::Values,
            "$ref" => Self::Reference,
            _ => return None,
        })
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Node => "expected a schema: an object or a boolean",
            Self::Nodes => "expected an object of schemas",
            Self::List => "expected a list of schemas that is not empty",
            Self::Items => "expected a schema or a list of schemas",
            Self::Type => "expected the name of a type or a list of names",
            Self::Names => "expected a list of names",
            Self::Values => "expected a list of values that is not empty",
            Self::Reference => "expected a string",
        }
    }
}

/// Any value that a tree can hold: `1e400` is JSON, and no number.
struct Whatever;

impl<'de> Deserialize<'de> for Whatever {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Whatever {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, Self>()?.is_some() {}
        Ok(self)
    }
}

struct Expect<'c, 'v>(&'c mut Checker<'v>, Kind);

impl Expect<'_, '_> {
    fn wrong<E: serde::de::Error>(self, found: &str) -> E {
        let expected = self.1.expected();
        self.0.fault(format!("{expected}, but got {found}."))
    }

    fn text<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        match self.1 {
            // Not said after all.
            Kind::Type if text.is_empty() => {
                self.0.is_standard = false;
                Ok(())
            }
            Kind::Type => match type_name(text) {
                Some(name) => {
                    self.0.is_standard &= text == name.to_ascii_lowercase();
                    Ok(())
                }
                None => Err(self.0.fault(format!(
                    "'{text}' is not a type; types are 'object', 'array', 'string', 'integer', \
                     'number', 'boolean' and 'null'."
                ))),
            },
            Kind::Reference => self.0.reference(text),
            Kind::Names => Ok(()),
            _ => Err(self.wrong("a string")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Expect<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Expect<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1.expected())
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        match self.1 {
            Kind::Node | Kind::Items => Ok(()),
            // As drafts before the fourth have it, on the property itself.
            Kind::Names => {
                self.0.is_standard = false;
                Ok(())
            }
            _ => Err(self.wrong("a boolean")),
        }
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        // Some writers spell an absent keyword out.
        self.0.is_standard = false;
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        Err(self.wrong("a number"))
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        Err(self.wrong("a number"))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        Err(self.wrong("a number"))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.text(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self(checker, kind) = self;
        let element = match kind {
            Kind::List | Kind::Items => Some(Kind::Node),
            Kind::Type => Some(Kind::Type),
            Kind::Names => None,
            Kind::Values => None,
            _ => return Err(Expect(checker, kind).wrong("an array")),
        };
        let mut length = 0;
        loop {
            checker.path.push(format!("[{length}]"));
            let more = match element {
                Some(kind) => list.next_element_seed(Expect(checker, kind))?.is_some(),
                None if kind == Kind::Names => match list.next_element::<&RawValue>()? {
                    Some(raw) if raw.get().starts_with('"') => true,
                    Some(raw) => {
                        return Err(checker
                            .fault(format!("expected a string, but got {}.", json::kind(raw))));
                    }
                    None => false,
                },
                None => list.next_element::<Whatever>()?.is_some(),
            };
            checker.path.pop();
            if !more {
                break;
            }
            length += 1;
        }
        if length == 0 && matches!(kind, Kind::List | Kind::Values | Kind::Type) {
            return Err(Expect(checker, kind).wrong("an empty list"));
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(checker, kind) = self;
        if !matches!(kind, Kind::Node | Kind::Nodes | Kind::Items) {
            return Err(Expect(checker, kind).wrong("an object"));
        }
        let (mut refers, mut says_more) = (false, false);
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            // "If a schema node has $ref set, then only description and default can be set
            // alongside it", says Google.
            match &*key {
                "$ref" => refers = true,
                "description" | "default" => {}
                // OpenAPI's word, which `Schema` knows.
                "nullable" => {
                    says_more = true;
                    checker.is_standard &= kind == Kind::Nodes;
                }
                key => says_more |= !key.starts_with('$'),
            }
            let inner = if kind == Kind::Nodes {
                Some(Kind::Node)
            } else {
                Kind::under(&key)
            };
            match inner {
                Some(inner) => {
                    checker.path.push(format!(".{key}"));
                    map.next_value_seed(Expect(checker, inner))?;
                    checker.path.pop();
                }
                None => {
                    map.next_value::<Whatever>()?;
                }
            }
        }
        checker.is_standard &= kind == Kind::Nodes || !refers || !says_more;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(schema: &str) -> (String, String) {
        let raw: &RawValue = serde_json::from_str(schema).expect("JSON");
        let fault = checked(raw).expect_err(schema);
        (fault.path, fault.why)
    }

    #[test]
    fn what_is_no_schema_is_named_by_its_path() {
        for (schema, path) in [
            (r#"{"type":"objekt"}"#, ".type"),
            (r#"{"type":[]}"#, ".type"),
            (r#"{"properties":[]}"#, ".properties"),
            (
                r#"{"properties":{"a":{"items":{"type":7}}}}"#,
                ".properties.a.items.type",
            ),
            (r#"{"anyOf":[true,{"enum":[]}]}"#, ".anyOf[1].enum"),
            (r#"{"required":["a",1]}"#, ".required[1]"),
            (
                r##"{"$defs":{"a":{}},"allOf":[{"$ref":"#/$defs/b"}]}"##,
                ".allOf[0].$ref",
            ),
            (r#"{"$ref":"https://example.com/a.json"}"#, ".$ref"),
            (r#"[]"#, ""),
            (r#"{"\ud800":1}"#, ""),
        ] {
            assert_eq!(fault(schema).0, path, "{schema}");
        }
        let deep = format!("{}true{}", r#"{"not":"#.repeat(101), "}".repeat(101));
        assert!(fault(&deep).1.contains("levels deep"));
    }

    #[test]
    fn whatever_is_none_of_the_standard_is_told_apart() {
        for (schema, is_standard) in [
            (
                r##"{"type":["string","null"],"$ref":"#/$defs/a%20b","$defs":{"a b":true}}"##,
                false,
            ),
            (
                r##"{"type":["string","null"],"anyOf":[{"$ref":"#/$defs/a%20b","description":"d","default":1}],"$defs":{"a b":true}}"##,
                true,
            ),
            (
                r##"{"properties":{"$ref":{"type":"string"},"type":{"$ref":"#"}}}"##,
                true,
            ),
            (r##"{"properties":{"a":{"$ref":"#","title":"A"}}}"##, false),
            (r#"{"properties":{"nullable":{"type":"boolean"}}}"#, true),
            (r#"{"type":"string","nullable":true}"#, false),
            (r#"{"type":"dict"}"#, false),
            (r#"{"type":"STRING"}"#, false),
            (r#"{"properties":null}"#, false),
            (r#"{"$id":"T","properties":{"a":{"$ref":"T"}}}"#, false),
            (
                r##"{"properties":{"a":{"$ref":"#N"},"b":{"$anchor":"N"}}}"##,
                false,
            ),
        ] {
            let raw: &RawValue = serde_json::from_str(schema).expect("JSON");
            assert_eq!(
                checked(raw).expect(schema).is_standard,
                is_standard,
                "{schema}"
            );
        }
    }
}
