//! JSON Schema to Gemini's `Schema`, for the APIs that take no JSON Schema.
//!
//! `Schema` is a subset: what it cannot say is said in the description, where the model
//! reads it. This is the one place that builds a tree of a request.

use super::{
    PLACEHOLDER, Subset,
    alternatives::{several_kinds, united},
    budget::Budget,
    reference::{self, Named},
    tree::{Map, Value},
    words::{any, describe, inferred, type_name},
};
use crate::json::Raw;

/// How deep references and nestings are followed; Gemini refuses schemas that are deeper.
const MAX_DEPTH: usize = 32;
/// What following a reference costs of that: four levels of a recursive type are what a
/// model needs to get the idea.
const REFERENCE_DEPTH: usize = MAX_DEPTH / 4;
/// The schema of the arguments of one of so many functions, an object; `None` when it says
/// nothing: Gemini refuses an object without properties at the root.
#[must_use]
pub fn arguments(schema: Raw<'_>, subset: Subset, functions: usize) -> Option<String> {
    converted(schema, subset, Some(functions))
}

/// The schema of an answer, of any type; `None` when it says nothing.
#[must_use]
pub fn answer(schema: Raw<'_>, subset: Subset) -> Option<String> {
    converted(schema, subset, None)
}

/// The schema of a function that takes nothing; `None`: there need not be any.
#[must_use]
pub fn nothing(subset: Subset) -> Option<String> {
    (subset == Subset::Claude).then(|| {
        let mut object = Map::with([("type", "OBJECT".into())]);
        require_something(&mut object);
        Value::Object(object).text()
    })
}

fn converted(schema: Raw<'_>, subset: Subset, functions: Option<usize>) -> Option<String> {
    // It was looked over before: it is JSON that a parser takes.
    let root = Value::of(schema)?;
    let converter = Converter {
        named: reference::named(&root),
        root: &root,
        budget: Budget::of(schema.get().len(), functions.unwrap_or(1)),
        subset,
    };
    let converted = if functions.is_some() {
        converter.object_alone(&root)?
    } else {
        converter.convert(&root, 0)
    };
    let says_something = converted.as_object().is_some_and(|object| {
        object.contains_key("properties")
            || object.get("type").is_none_or(|kind| !kind.says("OBJECT"))
    });
    says_something.then(|| converted.text())
}

/// Gives an object without a required property one for Claude.
pub(super) fn require_something(object: &mut Map<'_>) {
    if object.contains_key("required") {
        return;
    }
    let placeholder = Map::with([
        ("type", "BOOLEAN".into()),
        ("description", "Always true.".into()),
    ]);
    let properties = object.or_insert_with("properties".into(), || Map::default().into());
    if let Value::Object(properties) = properties {
        properties.insert(PLACEHOLDER.into(), placeholder.into());
    }
    object.insert("required".into(), vec![PLACEHOLDER.into()].into());
    object.remove("propertyOrdering");
}

/// Whether a schema has a keyword that other schemas stand under, each of which says all of it.
/// Hardly any has one, so all are looked for at once.
fn leads_elsewhere(schema: &Map<'_>) -> bool {
    let mut names = schema.names();
    names.any(|name| matches!(&**name, "$ref" | "allOf" | "anyOf" | "oneOf"))
}

/// A schema without one of its keywords.
pub(super) fn without<'v>(schema: &Map<'v>, keyword: &str) -> Map<'v> {
    let others = schema.iter().filter(|(key, _)| *key != keyword);
    others
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

pub(super) struct Converter<'a> {
    root: &'a Value<'a>,
    named: Named<'a>,
    pub(super) budget: Budget,
    pub(super) subset: Subset,
}

impl<'a> Converter<'a> {
    /// What a schema refers to.
    pub(super) fn resolve(&self, schema: &Map<'_>) -> Option<&'a Map<'a>> {
        let target = schema.get("$ref")?.as_str()?;
        reference::resolve(self.root, &self.named, target)?.as_object()
    }

    pub(super) fn convert(&self, schema: &Value<'a>, depth: usize) -> Value<'a> {
        let Value::Object(schema) = schema else {
            // `true`: anything goes. `false` stands where nothing may, and nothing does.
            return any();
        };
        if !self.budget.spend(1) {
            return any();
        }
        if depth > MAX_DEPTH {
            return self.cut(schema);
        }
        if leads_elsewhere(schema)
            && let Some(converted) = self.elsewhere(schema, depth)
        {
            return converted;
        }
        if let Some(kinds) = several_kinds(schema) {
            return self.alternatives(schema, "type", &kinds, depth);
        }
        self.single(schema, depth)
    }

    /// A schema that others say; `None`: they are none.
    fn elsewhere(&self, schema: &Map<'a>, depth: usize) -> Option<Value<'a>> {
        if schema.contains_key("$ref") {
            let mut resolved = without(schema, "$ref");
            let target = self.resolve(schema);
            if !self.budget.repeat(target.into_iter().flat_map(Map::iter)) {
                return Some(any());
            }
            self.unite(&mut resolved, target.into_iter().flat_map(Map::iter));
            return Some(self.convert(&Value::Object(resolved), depth + REFERENCE_DEPTH));
        }
        if let Some(Value::Array(all)) = schema.get("allOf") {
            let mut merged = without(schema, "allOf");
            for part in all {
                self.merge(&mut merged, part);
            }
            return Some(self.convert(&Value::Object(merged), depth + 1));
        }
        let (key, alternatives) = ["anyOf", "oneOf"]
            .into_iter()
            .find_map(|key| Some((key, schema.get(key)?.as_array()?)))?;
        Some(self.alternatives(schema, key, alternatives, depth))
    }

    /// The root as one object; `None`: it is none.
    fn object_alone(&self, root: &Value<'a>) -> Option<Value<'a>> {
        let members = root.as_object()?;
        let is_plain = !leads_elsewhere(members) && several_kinds(members).is_none();
        let mut converted = if is_plain {
            self.convert(root, 0)
        } else {
            // Said at the end: alternatives would each have it, and they become one.
            self.convert(&without(members, "description").into(), 0)
        };
        if converted
            .get("type")
            .is_none_or(|kind| !kind.says("OBJECT"))
        {
            converted = united(&converted)?;
        }
        let object = converted.as_object_mut()?;
        if self.subset == Subset::Claude {
            require_something(object);
        }
        if !is_plain {
            let notes = object.remove("description");
            let notes = notes.as_ref().and_then(Value::as_str).unwrap_or_default();
            let description = describe(members, &[notes.to_owned()]);
            if !description.is_empty() {
                object.insert("description".into(), description.into());
            }
        }
        Some(converted)
    }

    /// What is left of a schema that is nested too deep.
    fn cut(&self, schema: &Map<'a>) -> Value<'a> {
        let kind = schema.get("type").and_then(Value::as_str);
        let kind = kind.and_then(type_name).unwrap_or_else(|| inferred(schema));
        // Vertex AI has no such type.
        let kind = if kind == "NULL" { "STRING" } else { kind };
        let mut out = Map::with([("type", kind.into())]);
        if kind == "ARRAY" {
            out.insert("items".into(), any());
        }
        if kind == "OBJECT" && self.subset == Subset::Claude {
            require_something(&mut out);
        }
        let description = describe(schema, &["Nested further alike.".to_owned()]);
        out.insert("description".into(), description.into());
        Value::Object(out)
    }
}
