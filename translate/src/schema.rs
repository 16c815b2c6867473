//! JSON Schema to Gemini's `Schema`, for the APIs that take no JSON Schema.
//!
//! `Schema` is a subset: what it cannot say is left out (it only ever widens what the
//! model may write) or said in the description. This is the one place that builds a
//! tree of a request.

use std::cell::Cell;

use serde_json::{Map, Value, json, value::RawValue};

/// How deep references and nestings are followed; Gemini refuses schemas that are deeper.
const MAX_DEPTH: usize = 32;
/// How many nodes are written. References may multiply a few bytes into any number of
/// them; what lies beyond is left open.
const MAX_NODES: usize = 20_000;

/// The schema in Gemini's terms; `None` when it says nothing: Gemini refuses an object
/// without properties at the root.
#[must_use]
pub fn to_gemini(schema: &RawValue) -> Option<String> {
    // Too deep for the parser is too deep for Google.
    let root: Value = serde_json::from_str(schema.get()).ok()?;
    let converter = Converter {
        root: &root,
        nodes: Cell::new(MAX_NODES),
    };
    let converted = converter.convert(&root, 0);
    let says_something = converted.as_object().is_some_and(|object| {
        object.contains_key("properties") || object.get("type").is_none_or(|t| t != "OBJECT")
    });
    says_something.then(|| converted.to_string())
}

/// Whether a schema has no properties at its root, as functions without arguments have.
#[must_use]
pub fn is_empty(schema: &RawValue) -> bool {
    let Ok(object) = crate::json::object(schema) else {
        return false;
    };
    let empty_properties = object.get("properties").is_none_or(|properties| {
        crate::json::object(properties).is_ok_and(|properties| properties.iter().next().is_none())
    });
    let combined = ["$ref", "allOf", "anyOf", "oneOf"]
        .iter()
        .any(|key| object.get(key).is_some());
    empty_properties && !combined
}

struct Converter<'a> {
    root: &'a Value,
    /// How many more may be written.
    nodes: Cell<usize>,
}

impl Converter<'_> {
    /// Whether so many more nodes may be written.
    fn spend(&self, nodes: usize) -> bool {
        let left = self.nodes.get();
        self.nodes.set(left.saturating_sub(nodes));
        left >= nodes
    }

    fn convert(&self, schema: &Value, depth: usize) -> Value {
        let Value::Object(schema) = schema else {
            // `true`: anything goes.
            return any();
        };
        if !self.spend(1) {
            return any();
        }
        if depth > MAX_DEPTH {
            return json!({"type": "OBJECT", "description": describe(schema, "Nested further alike.")});
        }
        if let Some(Value::String(reference)) = schema.get("$ref") {
            let Some(Value::Object(target)) = reference
                .strip_prefix('#')
                .and_then(|pointer| self.root.pointer(pointer))
            else {
                return json!({"type": "OBJECT", "description": describe(schema, "")});
            };
            let mut resolved = target.clone();
            let siblings = schema.iter().filter(|(key, _)| *key != "$ref");
            resolved.extend(siblings.map(|(key, value)| (key.clone(), value.clone())));
            // Four levels of a recursive type are what a model needs to get the idea.
            return self.convert(&Value::Object(resolved), depth + MAX_DEPTH / 4);
        }
        if let Some(Value::Array(all)) = schema.get("allOf") {
            return self.convert(&self.merged(schema, all), depth + 1);
        }
        let mut out = Map::new();
        let mut nullable = schema.get("nullable") == Some(&Value::Bool(true));
        let mut notes: Vec<String> = Vec::new();
        let alternatives = schema
            .get("anyOf")
            .or_else(|| schema.get("oneOf"))
            .and_then(Value::as_array);
        if let Some(alternatives) = alternatives {
            let is_null = |schema: &&Value| schema["type"] == "null";
            nullable |= alternatives.iter().any(|schema| is_null(&schema));
            let real: Vec<&Value> = alternatives.iter().filter(|s| !is_null(s)).collect();
            if let [Value::Object(only)] = real[..] {
                let mut merged = only.clone();
                for (key, value) in schema {
                    if key != "anyOf" && key != "oneOf" {
                        merged.entry(key.clone()).or_insert_with(|| value.clone());
                    }
                }
                if nullable {
                    merged.insert("nullable".into(), true.into());
                }
                return self.convert(&Value::Object(merged), depth + 1);
            }
            let converted = real.iter().map(|schema| self.convert(schema, depth + 1));
            out.insert("anyOf".into(), converted.collect());
        }
        let kind = self.kind(schema, &mut nullable, &mut out, depth);
        if !out.contains_key("anyOf") {
            self.constraints(schema, kind, &mut out, &mut notes, depth);
        }
        if nullable {
            out.insert("nullable".into(), true.into());
        }
        if let Some(title @ Value::String(_)) = schema.get("title") {
            out.insert("title".into(), title.clone());
        }
        let description = describe(schema, &notes.join(" "));
        if !description.is_empty() {
            out.insert("description".into(), description.into());
        }
        Value::Object(out)
    }

    /// Settles the type, which `Schema` wants to be one.
    fn kind(
        &self,
        schema: &Map<String, Value>,
        nullable: &mut bool,
        out: &mut Map<String, Value>,
        depth: usize,
    ) -> &'static str {
        let named = match schema.get("type") {
            Some(Value::String(name)) => kind_of(name),
            Some(Value::Array(names)) => {
                *nullable |= names.iter().any(|name| name == "null");
                let kinds: Vec<&str> = names
                    .iter()
                    .filter_map(Value::as_str)
                    .filter(|name| *name != "null")
                    .collect();
                if kinds.len() > 1 && !out.contains_key("anyOf") {
                    let alternatives = kinds.iter().map(|name| {
                        let mut one = schema.clone();
                        one.insert("type".into(), (*name).into());
                        for shared in ["title", "description", "nullable"] {
                            one.remove(shared);
                        }
                        self.convert(&Value::Object(one), depth + 1)
                    });
                    out.insert("anyOf".into(), alternatives.collect());
                }
                kinds.first().and_then(|name| kind_of(name))
            }
            _ => None,
        };
        let kind = named.unwrap_or_else(|| inferred(schema));
        if !out.contains_key("anyOf") {
            out.insert("type".into(), kind.into());
        }
        kind
    }

    fn constraints(
        &self,
        schema: &Map<String, Value>,
        kind: &str,
        out: &mut Map<String, Value>,
        notes: &mut Vec<String>,
        depth: usize,
    ) {
        let copy = |names: &[&str], out: &mut Map<String, Value>| {
            for name in names {
                if let Some(value) = schema.get(*name).filter(|value| value.is_number()) {
                    out.insert((*name).into(), value.clone());
                }
            }
        };
        let constant = schema.get("const").map(std::slice::from_ref);
        let allowed = constant.or_else(|| schema.get("enum")?.as_array().map(Vec::as_slice));
        if let Some(allowed) = allowed {
            let texts: Vec<&Value> = allowed
                .iter()
                .filter(|value| value.as_str().is_some_and(|text| !text.is_empty()))
                .collect();
            if kind == "STRING" && texts.len() == allowed.len() {
                out.insert("enum".into(), texts.into_iter().cloned().collect());
            } else {
                // `enum` holds texts only; the model reads the rest in the description.
                let all: Vec<String> = allowed.iter().map(Value::to_string).collect();
                notes.push(format!("One of: {}.", all.join(", ")));
            }
        }
        match kind {
            "OBJECT" => self.object(schema, out, depth),
            "ARRAY" => {
                let items = schema
                    .get("items")
                    .filter(|items| items.is_object() || items.is_boolean())
                    .map_or_else(any, |items| self.convert(items, depth + 1));
                out.insert("items".into(), items);
                copy(&["minItems", "maxItems"], out);
            }
            "STRING" => {
                copy(&["minLength", "maxLength"], out);
                if let Some(pattern @ Value::String(_)) = schema.get("pattern") {
                    out.insert("pattern".into(), pattern.clone());
                }
                match schema.get("format").and_then(Value::as_str) {
                    Some("date-time") => {
                        out.insert("format".into(), "date-time".into());
                    }
                    Some(other) => notes.push(format!("Format: {other}.")),
                    None => {}
                }
            }
            "INTEGER" | "NUMBER" => copy(&["minimum", "maximum"], out),
            _ => {}
        }
    }

    fn object(&self, schema: &Map<String, Value>, out: &mut Map<String, Value>, depth: usize) {
        let Some(Value::Object(properties)) = schema.get("properties") else {
            return;
        };
        if properties.is_empty() {
            return;
        }
        let converted: Map<String, Value> = properties
            .iter()
            .map(|(name, schema)| (name.clone(), self.convert(schema, depth + 1)))
            .collect();
        let order: Vec<Value> = properties.keys().map(|name| name.as_str().into()).collect();
        out.insert("properties".into(), Value::Object(converted));
        if let Some(Value::Array(required)) = schema.get("required") {
            let defined: Vec<Value> = required
                .iter()
                .filter(|name| {
                    name.as_str()
                        .is_some_and(|name| properties.contains_key(name))
                })
                .cloned()
                .collect();
            if !defined.is_empty() {
                out.insert("required".into(), defined.into());
            }
        }
        if order.len() > 1 {
            out.insert("propertyOrdering".into(), order.into());
        }
    }

    /// `allOf` as one schema: properties and required names united, the rest of the
    /// first that says it.
    fn merged(&self, schema: &Map<String, Value>, all: &[Value]) -> Value {
        let mut merged = schema.clone();
        merged.remove("allOf");
        for part in all {
            let part = match part.get("$ref").and_then(Value::as_str) {
                Some(reference) => reference
                    .strip_prefix('#')
                    .and_then(|pointer| self.root.pointer(pointer))
                    .unwrap_or(part),
                None => part,
            };
            let Value::Object(part) = part else { continue };
            for (key, value) in part {
                let members =
                    value.as_array().map_or(1, Vec::len) + value.as_object().map_or(1, Map::len);
                if !self.spend(members) {
                    continue;
                }
                match (key.as_str(), merged.get_mut(key), value) {
                    ("properties", Some(Value::Object(mine)), Value::Object(theirs)) => {
                        for (name, schema) in theirs {
                            mine.entry(name.clone()).or_insert_with(|| schema.clone());
                        }
                    }
                    ("required", Some(Value::Array(mine)), Value::Array(theirs)) => {
                        mine.extend(
                            theirs
                                .iter()
                                .filter(|n| !mine.contains(n))
                                .cloned()
                                .collect::<Vec<_>>(),
                        );
                    }
                    ("allOf", Some(Value::Array(mine)), Value::Array(theirs)) => {
                        mine.extend(theirs.iter().cloned());
                    }
                    (_, None, _) => {
                        merged.insert(key.clone(), value.clone());
                    }
                    _ => {}
                }
            }
        }
        Value::Object(merged)
    }
}

/// A schema for anything: Gemini wants a type, and text can hold what no type fits.
fn any() -> Value {
    json!({"type": "STRING"})
}

fn kind_of(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "object" => "OBJECT",
        "array" => "ARRAY",
        "string" => "STRING",
        "integer" => "INTEGER",
        "number" => "NUMBER",
        "boolean" => "BOOLEAN",
        "null" => "NULL",
        _ => return None,
    })
}

fn inferred(schema: &Map<String, Value>) -> &'static str {
    let example = schema
        .get("const")
        .or_else(|| schema.get("enum")?.as_array()?.first());
    match example {
        Some(Value::Number(number)) if number.is_f64() => "NUMBER",
        Some(Value::Number(_)) => "INTEGER",
        Some(Value::Bool(_)) => "BOOLEAN",
        Some(_) => "STRING",
        None if schema.contains_key("items") || schema.contains_key("prefixItems") => "ARRAY",
        None if schema.contains_key("properties")
            || schema.contains_key("additionalProperties") =>
        {
            "OBJECT"
        }
        None if schema.contains_key("minimum") || schema.contains_key("maximum") => "NUMBER",
        None => "STRING",
    }
}

fn describe(schema: &Map<String, Value>, note: &str) -> String {
    let own = schema.get("description").and_then(Value::as_str);
    match (own.unwrap_or_default(), note) {
        ("", note) => note.to_owned(),
        (own, "") => own.to_owned(),
        (own, note) => format!("{own} ({note})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(schema: &Value) -> Value {
        let raw: Box<RawValue> = serde_json::value::to_raw_value(schema).expect("JSON");
        to_gemini(&raw).map_or(Value::Null, |text| {
            serde_json::from_str(&text).expect("JSON")
        })
    }

    #[test]
    fn what_clients_really_send() {
        let schema = json!({
            "$schema": "x", "type": "object", "additionalProperties": false,
            "properties": {
                "who": {"$ref": "#/$defs/Name"},
                "when": {"type": "string", "format": "date"},
                "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": null},
                "many": {"type": ["string", "number", "null"]},
                "list": {"type": "array"},
                "level": {"enum": [1, 2]},
                "kind": {"const": "a"},
            },
            "required": ["who", "gone"],
            "$defs": {"Name": {"type": "string", "minLength": 1, "exclusiveMinimum": 3}}
        });
        assert_eq!(
            converted(&schema),
            json!({
                "type": "OBJECT",
                "properties": {
                    "who": {"type": "STRING", "minLength": 1},
                    "when": {"type": "STRING", "description": "Format: date."},
                    "maybe": {"type": "INTEGER", "nullable": true},
                    "many": {"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}], "nullable": true},
                    "list": {"type": "ARRAY", "items": {"type": "STRING"}},
                    "level": {"type": "INTEGER", "description": "One of: 1, 2."},
                    "kind": {"type": "STRING", "enum": ["a"]},
                },
                "required": ["who"],
                "propertyOrdering": ["who", "when", "maybe", "many", "list", "level", "kind"],
            })
        );
    }

    #[test]
    fn recursion_ends() {
        let schema = json!({"$ref": "#/$defs/Node", "$defs": {"Node": {"type": "object", "properties": {
            "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}, "self": {"$ref": "#/$defs/Node"}}}}});
        let text = converted(&schema).to_string();
        assert!(
            text.len() < 20_000 && !text.contains("$ref"),
            "{}",
            text.len()
        );
        let circle = json!({"$ref": "#"});
        assert_eq!(converted(&circle), Value::Null);
    }

    #[test]
    fn a_few_bytes_stay_a_few_bytes() {
        let wide: Map<String, Value> = (0..30)
            .map(|n| (format!("p{n}"), json!({"$ref": "#"})))
            .collect();
        let mut nested = json!({"type": ["object", "object"]});
        for _ in 0..60 {
            nested = json!({"type": ["object", "object"], "properties": {"a": nested}});
        }
        for schema in [
            json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}),
            json!({"type": "object", "properties": wide}),
            nested,
            json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}, {"type": "null"}]}),
        ] {
            let text = converted(&schema).to_string();
            assert!(text.len() < 4_000_000, "{}", text.len());
        }
    }

    #[test]
    fn alternatives_at_the_root() {
        let schema = json!({"anyOf": [{"type": "object", "properties": {"a": {"type": "string"}}}, {"type": "array", "items": {"type": "string"}}]});
        assert_eq!(converted(&schema)["anyOf"][1]["type"], "ARRAY");
        assert_eq!(
            converted(&json!({"type": ["object", "array"]}))["anyOf"][0]["type"],
            "OBJECT"
        );
    }

    #[test]
    fn all_of_is_united() {
        let schema = json!({"allOf": [
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"properties": {"b": {"type": "integer"}}, "required": ["b"]}
        ]});
        let out = converted(&schema);
        assert_eq!(out["required"], json!(["a", "b"]));
        assert_eq!(out["properties"]["b"]["type"], "INTEGER");
    }

    #[test]
    fn nothing_to_say() {
        for schema in [json!({}), json!({"type": "object", "properties": {}})] {
            let raw = serde_json::value::to_raw_value(&schema).expect("JSON");
            assert!(is_empty(&raw));
        }
        assert_eq!(
            converted(&json!({"type": "object", "properties": {}})),
            Value::Null
        );
    }
}
