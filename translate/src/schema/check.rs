//! Whether a JSON Schema is one, said before anybody is asked upstream.

use std::fmt;

use super::{
    Schema, loops,
    reference::{self, Named},
    tree::Value,
    words::type_name,
};
use crate::json::{self, MAX_DEPTH, Raw};

/// What is wrong with a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where in it, as `.properties.a`; empty: at its root.
    pub path: String,
    /// A sentence.
    pub why: String,
}

impl Fault {
    fn at(place: &Place<'_>, why: impl Into<String>) -> Self {
        Self {
            path: place.to_string(),
            why: why.into(),
        }
    }
}

/// Where in a schema the walk is.
enum Place<'p> {
    Root,
    Member(&'p Place<'p>, &'p str),
    Element(&'p Place<'p>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Member(around, name) => write!(f, "{around}.{name}"),
            Self::Element(around, at) => write!(f, "{around}[{at}]"),
        }
    }
}

/// Deeper ones go out as `Schema`, which is cut: as JSON each level is two or three messages
/// of protobuf.
const MAX_STANDARD_DEPTH: usize = 32;

/// Looks a schema over.
///
/// # Errors
/// What is wrong with it, and where.
pub fn checked(raw: Raw<'_>) -> Result<Schema<'_>, Fault> {
    let depth = raw.depth();
    if depth > MAX_DEPTH {
        return Err(Fault::at(
            &Place::Root,
            format!("it is nested more than {MAX_DEPTH} levels deep."),
        ));
    }
    if raw.has_lone_surrogate() {
        return Err(unreadable(raw));
    }
    let mut checker = Checker {
        root: raw,
        is_standard: depth <= MAX_STANDARD_DEPTH,
        refers: false,
        document: None,
    };
    checker.value(raw, Kind::Node, &Place::Root)?;
    if checker.refers {
        let root = Value::of(raw).ok_or_else(|| unreadable(raw))?;
        let named = reference::named(&root);
        // Once more, now that there is something to look references up in: to remember
        // where each of them stands could take far more room than the schema does.
        let mut second = Checker {
            root: raw,
            is_standard: checker.is_standard,
            refers: false,
            document: Some((&root, &named)),
        };
        second.value(raw, Kind::Node, &Place::Root)?;
        checker.is_standard = second.is_standard && !loops::is_endless(&root, &named);
    }
    Ok(Schema {
        raw,
        is_standard: checker.is_standard,
    })
}

/// Half of a surrogate pair in a text, or a number that no computer holds, which JSON's grammar
/// does not see.
#[cold]
fn unreadable(raw: Raw<'_>) -> Fault {
    let why = match serde_json::from_str::<serde_json::Value>(raw.get()) {
        Ok(_) => "it cannot be read.".to_owned(),
        Err(error) => format!("it cannot be read: {error}."),
    };
    Fault::at(&Place::Root, why)
}

struct Checker<'v> {
    root: Raw<'v>,
    is_standard: bool,
    /// Whether there are references.
    refers: bool,
    /// What they are looked up in.
    document: Option<(&'v Value<'v>, &'v Named<'v>)>,
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

    /// Something else stands there.
    fn not(self, found: &str, place: &Place<'_>) -> Fault {
        let expected = self.expected();
        Fault::at(place, format!("{expected}, but got {found}."))
    }
}

impl Checker<'_> {
    fn value(&mut self, raw: Raw<'_>, kind: Kind, place: &Place<'_>) -> Result<(), Fault> {
        match raw.kind() {
            json::Kind::Object => self.object(raw, kind, place),
            json::Kind::Array => self.list(raw, kind, place),
            json::Kind::String => self.text(raw, kind, place),
            json::Kind::Boolean => match kind {
                Kind::Node | Kind::Items => Ok(()),
                // As drafts before the fourth have it, on the property itself.
                Kind::Names => {
                    self.is_standard = false;
                    Ok(())
                }
                _ => Err(kind.not("a boolean", place)),
            },
            json::Kind::Null => {
                // Some writers spell an absent keyword out.
                self.is_standard = false;
                Ok(())
            }
            json::Kind::Number => {
                self.whatever(raw)?;
                Err(kind.not("a number", place))
            }
        }
    }

    /// Any value that a tree can hold: `1e400` is JSON, and no number.
    fn whatever(&self, raw: Raw<'_>) -> Result<(), Fault> {
        let mut numbers = raw
            .values()
            .filter(|value| value.kind() == json::Kind::Number);
        if numbers.all(|number| json::number(number).is_ok()) {
            Ok(())
        } else {
            Err(unreadable(self.root))
        }
    }

    fn text(&mut self, raw: Raw<'_>, kind: Kind, place: &Place<'_>) -> Result<(), Fault> {
        let text = raw.as_string().unwrap_or(json::JsonStr::EMPTY).text();
        match kind {
            // Not said after all.
            Kind::Type if text.is_empty() => {
                self.is_standard = false;
                Ok(())
            }
            Kind::Type => match type_name(&text) {
                Some(name) => {
                    let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
                    self.is_standard &= is_lower && text.eq_ignore_ascii_case(name);
                    Ok(())
                }
                None => Err(Fault::at(
                    place,
                    format!(
                        "'{text}' is not a type; types are 'object', 'array', 'string', \
                         'integer', 'number', 'boolean' and 'null'."
                    ),
                )),
            },
            Kind::Reference => self.reference(&text, place),
            Kind::Names => Ok(()),
            _ => Err(kind.not("a string", place)),
        }
    }

    fn reference(&mut self, target: &str, place: &Place<'_>) -> Result<(), Fault> {
        self.refers = true;
        let Some((root, named)) = &self.document else {
            return Ok(());
        };
        if reference::resolve(root, named, target).is_none() {
            let why = format!("'{target}' refers to nothing in this schema.");
            return Err(Fault::at(place, why));
        }
        self.is_standard &= target == "#" || target.starts_with("#/");
        Ok(())
    }

    fn list(&mut self, raw: Raw<'_>, kind: Kind, place: &Place<'_>) -> Result<(), Fault> {
        let element = match kind {
            Kind::List | Kind::Items => Some(Kind::Node),
            Kind::Type => Some(Kind::Type),
            Kind::Names | Kind::Values => None,
            _ => return Err(kind.not("an array", place)),
        };
        let mut length = 0;
        for raw in raw.as_array().into_iter().flatten() {
            match element {
                Some(kind) => self.value(raw, kind, &Place::Element(place, length))?,
                None if kind == Kind::Values => self.whatever(raw)?,
                None if raw.kind() == json::Kind::String => {}
                None => {
                    let why = format!("expected a string, but got {}.", raw.kind().name());
                    return Err(Fault::at(&Place::Element(place, length), why));
                }
            }
            length += 1;
        }
        if length == 0 && matches!(kind, Kind::List | Kind::Values | Kind::Type) {
            return Err(kind.not("an empty list", place));
        }
        Ok(())
    }

    fn object(&mut self, raw: Raw<'_>, kind: Kind, place: &Place<'_>) -> Result<(), Fault> {
        if !matches!(kind, Kind::Node | Kind::Nodes | Kind::Items) {
            return Err(kind.not("an object", place));
        }
        let (mut refers, mut says_more) = (false, false);
        for (key, raw) in raw.as_object().iter().flat_map(json::Object::members) {
            // "If a schema node has $ref set, then only description and default can be set
            // alongside it", says Google.
            match &*key {
                "$ref" => refers = true,
                "description" | "default" => {}
                // OpenAPI's word, which `Schema` knows.
                "nullable" => {
                    says_more = true;
                    self.is_standard &= kind == Kind::Nodes;
                }
                key => says_more |= !key.starts_with('$'),
            }
            let inner = if kind == Kind::Nodes {
                Some(Kind::Node)
            } else {
                Kind::under(&key)
            };
            match inner {
                Some(inner) => self.value(raw, inner, &Place::Member(place, &key))?,
                None => self.whatever(raw)?,
            }
        }
        self.is_standard &= kind == Kind::Nodes || !refers || !says_more;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(schema: &str) -> (String, String) {
        let document = json::Document::read(schema).expect("JSON");
        let fault = checked(document.root()).expect_err(schema);
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
            let document = json::Document::read(schema).expect("JSON");
            assert_eq!(
                checked(document.root()).expect(schema).is_standard,
                is_standard,
                "{schema}"
            );
        }
    }
}
