//! How types are called, and what a schema is told in where `Schema` has no place for it.

use std::borrow::Cow;

use super::tree::{Map, Value};

/// How many characters of a keyword are told in the description.
const MAX_NOTE: usize = 1_000;

/// The type of a value, by its name in JSON Schema.
pub(super) fn kind_of_value(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Whether a value is of a type, by its name in `Schema`.
pub(super) fn is_of(value: &Value<'_>, kind: &str) -> bool {
    match type_name(kind_of_value(value)) {
        // What is written as `2.0` is an integer too.
        Some("NUMBER") if kind == "INTEGER" => value.as_f64().is_some_and(|it| it.fract() == 0.0),
        Some("INTEGER") => matches!(kind, "INTEGER" | "NUMBER"),
        own => own == Some(kind),
    }
}

/// A schema for anything: Gemini wants a type, and text can hold what no type fits.
pub(super) fn any<'v>() -> Value<'v> {
    Map::with([("type", "STRING".into())]).into()
}

/// A type by its name in JSON Schema, in Google's `Schema`, or as programmers call it.
pub(super) fn type_name(name: &str) -> Option<&'static str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return type_name(&name.to_ascii_lowercase());
    }
    Some(match name {
        "object" | "dict" | "map" | "hashmap" | "hashtable" | "record" | "struct" => "OBJECT",
        "array" | "list" | "tuple" | "set" | "arraylist" | "queue" | "stack" | "vector" => "ARRAY",
        "string" | "str" | "text" | "char" | "any" => "STRING",
        "integer" | "int" | "long" | "short" | "byte" | "bigint" => "INTEGER",
        "number" | "float" | "double" | "decimal" => "NUMBER",
        "boolean" | "bool" => "BOOLEAN",
        "null" | "none" => "NULL",
        _ => return None,
    })
}

/// The type of a schema that names none.
pub(super) fn inferred(schema: &Map<'_>) -> &'static str {
    let listed = || {
        schema
            .get("enum")?
            .as_array()?
            .iter()
            .find(|value| !value.is_null())
    };
    let example = schema.get("const").or_else(listed);
    let has = |names: &[&str]| names.iter().any(|name| schema.contains_key(name));
    match example {
        Some(value) => type_name(kind_of_value(value)).unwrap_or("STRING"),
        None if has(&["items", "prefixItems", "minItems", "maxItems"]) => "ARRAY",
        None if has(&[
            "properties",
            "additionalProperties",
            "patternProperties",
            "required",
        ]) =>
        {
            "OBJECT"
        }
        None if has(&[
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "exclusiveMaximum",
            "multipleOf",
        ]) =>
        {
            "NUMBER"
        }
        None => "STRING",
    }
}

/// A value as it is told in a description.
pub(super) fn short(value: &Value<'_>) -> String {
    let text = value.text();
    match text.char_indices().nth(MAX_NOTE) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// The description, with notes behind it.
pub(super) fn describe<'v>(schema: &Map<'v>, notes: &[String]) -> Cow<'v, str> {
    let own = match schema.get("description") {
        Some(Value::String(own)) => own.clone(),
        _ => Cow::Borrowed(""),
    };
    let said = || notes.iter().filter(|note| !note.is_empty());
    if said().next().is_none() {
        return own;
    }
    let said: Vec<&str> = said().map(String::as_str).collect();
    let note = said.join(" ");
    if own.is_empty() {
        return note.into();
    }
    format!("{own} ({note})").into()
}
