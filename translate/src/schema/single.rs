//! Schemas of one type: what of them `Schema` can say, and what is told in words.

use std::collections::HashSet;

use super::{
    Subset,
    alternatives::one_of,
    convert::{Converter, require_something},
    tree::{Map, Value},
    words::{any, describe, inferred, is_of, short, type_name},
};

/// Keywords that `Schema` has no place for, and how the model is told of them.
const TOLD: [(&str, &str); 13] = [
    ("default", "Default"),
    ("example", "Example"),
    ("examples", "Examples"),
    ("not", "Not"),
    ("if", "If"),
    ("then", "Then"),
    ("else", "Else"),
    ("contains", "Contains"),
    ("propertyNames", "Names"),
    ("dependentRequired", "Required together"),
    ("dependentSchemas", "Where these are"),
    ("contentEncoding", "Encoding"),
    ("contentMediaType", "Media type"),
];

impl<'a> Converter<'a> {
    /// A schema of one type.
    pub(super) fn single(&self, schema: &Map<'a>, depth: usize) -> Value<'a> {
        let mut out = Map::default();
        let mut notes: Vec<String> = Vec::new();
        let mut nullable = schema.get("nullable") == Some(&Value::Bool(true));
        let named = match schema.get("type") {
            Some(Value::Array(names)) => {
                nullable |= names.iter().any(|name| name.says("null"));
                let real = names
                    .iter()
                    .filter_map(Value::as_str)
                    .find(|name| *name != "null");
                real.or(Some("null")).and_then(type_name)
            }
            Some(Value::String(name)) => type_name(name),
            _ => None,
        };
        let mut kind = named.unwrap_or_else(|| inferred(schema));
        if kind == "NULL" {
            // Vertex AI has no such type.
            kind = "STRING";
            nullable = true;
            notes.push("Always null.".to_owned());
        }
        out.insert("type".into(), kind.into());
        self.values(schema, kind, &mut nullable, &mut out, &mut notes);
        match kind {
            "OBJECT" => self.object(schema, &mut out, &mut notes, depth),
            "ARRAY" => self.array(schema, &mut out, &mut notes, depth),
            "STRING" => {
                self.limits(schema, &["minLength", "maxLength"], &mut out, &mut notes);
                match schema.get("pattern") {
                    Some(Value::String(pattern)) if self.subset == Subset::Claude => {
                        notes.push(format!("Pattern: {pattern}"));
                    }
                    Some(pattern @ Value::String(_)) => {
                        out.insert("pattern".into(), pattern.clone());
                    }
                    _ => {}
                }
                match schema.get("format").and_then(Value::as_str) {
                    Some("date-time") if self.subset == Subset::Gemini => {
                        out.insert("format".into(), "date-time".into());
                    }
                    Some(other) => notes.push(format!("Format: {other}.")),
                    None => {}
                }
            }
            "INTEGER" | "NUMBER" => {
                self.range(schema, &mut out, &mut notes);
                if let Some(format @ Value::String(name)) = schema.get("format") {
                    match (kind, &**name) {
                        ("INTEGER", "int32" | "int64") | ("NUMBER", "float" | "double")
                            if self.subset == Subset::Gemini =>
                        {
                            out.insert("format".into(), format.clone());
                        }
                        (_, other) => notes.push(format!("Format: {other}.")),
                    }
                }
            }
            _ => {}
        }
        if nullable {
            out.insert("nullable".into(), true.into());
        }
        self.tell(schema, notes, &mut out);
        Value::Object(out)
    }

    /// Title and description, and in it what has no place of its own.
    pub(super) fn tell(&self, schema: &Map<'a>, mut notes: Vec<String>, out: &mut Map<'a>) {
        if let Some(title @ Value::String(_)) = schema.get("title") {
            out.insert("title".into(), title.clone());
        }
        // Hardly any schema has one of them.
        let any = schema.names().any(|name| {
            let mut told = TOLD.iter();
            told.any(|(key, _)| *key == name)
        });
        for (key, words) in TOLD.iter().filter(|_| any) {
            match schema.get(key) {
                None | Some(Value::Null) => {}
                Some(value) => notes.push(format!("{words}: {}.", short(value))),
            }
        }
        let description = describe(schema, &notes);
        if !description.is_empty() {
            out.insert("description".into(), description.into());
        }
    }

    /// `enum` and `const`. `Schema` lists texts only, none of them empty; the model reads
    /// what else there may be in the description.
    fn values(
        &self,
        schema: &Map<'a>,
        kind: &str,
        nullable: &mut bool,
        out: &mut Map<'a>,
        notes: &mut Vec<String>,
    ) {
        let constant = schema.get("const").map(std::slice::from_ref);
        let listed = || schema.get("enum")?.as_array().map(Vec::as_slice);
        let Some(allowed) = constant.or_else(listed) else {
            return;
        };
        *nullable |= allowed.contains(&Value::Null);
        let mut allowed: Vec<&Value> = allowed.iter().filter(|value| !value.is_null()).collect();
        if allowed.iter().any(|value| is_of(value, kind)) {
            // Of values and a type, those count that both allow.
            allowed.retain(|value| is_of(value, kind));
        }
        let is_text = |value: &&&Value| value.as_str().is_some_and(|text| !text.is_empty());
        if allowed.is_empty() {
            return;
        }
        if kind == "STRING" && allowed.iter().filter(is_text).count() == allowed.len() {
            out.insert("enum".into(), allowed.into_iter().cloned().collect());
            return;
        }
        if matches!(kind, "INTEGER" | "NUMBER") && self.subset == Subset::Gemini {
            let numbers = || allowed.iter().filter(|value| value.is_number());
            let by_size = |a: &&&Value, b: &&&Value| {
                f64::total_cmp(
                    &a.as_f64().unwrap_or_default(),
                    &b.as_f64().unwrap_or_default(),
                )
            };
            if let (Some(least), Some(most)) =
                (numbers().min_by(by_size), numbers().max_by(by_size))
            {
                out.insert("minimum".into(), (*least).clone());
                out.insert("maximum".into(), (*most).clone());
            }
        }
        let all: Vec<String> = allowed.iter().map(|value| short(value)).collect();
        notes.push(format!("One of: {}.", all.join(", ")));
    }

    fn range(&self, schema: &Map<'a>, out: &mut Map<'a>, notes: &mut Vec<String>) {
        for name in ["minimum", "maximum"] {
            match schema.get(name) {
                Some(value) if value.is_number() && self.subset == Subset::Gemini => {
                    out.insert(name.into(), value.clone());
                }
                Some(value) if value.is_number() => notes.push(format!("{name}: {value}.")),
                _ => {}
            }
        }
        for name in ["exclusiveMinimum", "exclusiveMaximum", "multipleOf"] {
            match schema.get(name) {
                None | Some(Value::Null | Value::Bool(false)) => {}
                Some(value) => notes.push(format!("{name}: {value}.")),
            }
        }
    }

    /// Limits that are whole numbers in `Schema`.
    fn limits(
        &self,
        schema: &Map<'a>,
        names: &[&'static str],
        out: &mut Map<'a>,
        notes: &mut Vec<String>,
    ) {
        for name in names {
            let Some(value) = schema.get(name) else {
                continue;
            };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole, not negative, and small"
            )]
            let whole = value.as_u64().or_else(|| {
                let float = value.as_f64()?;
                (float.fract() == 0.0 && (0.0..1e15).contains(&float)).then_some(float as u64)
            });
            match whole {
                Some(limit) if self.subset == Subset::Gemini && i64::try_from(limit).is_ok() => {
                    out.insert((*name).into(), limit.into());
                }
                _ if value.is_number() => notes.push(format!("{name}: {value}.")),
                _ => {}
            }
        }
    }

    fn array(&self, schema: &Map<'a>, out: &mut Map<'a>, notes: &mut Vec<String>, depth: usize) {
        let items = schema.get("items");
        let places = schema
            .get("prefixItems")
            .or(items)
            .and_then(Value::as_array);
        let converted = match (places, items) {
            (Some(places), _) => {
                // One place after the other: each may hold what any of them holds.
                let mut each: Vec<Value> = Vec::new();
                let mut known: HashSet<Value> = HashSet::new();
                let mut told: Vec<String> = Vec::with_capacity(places.len());
                for place in places {
                    let place = self.convert(place, depth + 1);
                    told.push(short(&place));
                    if known.insert(place.clone()) {
                        each.push(place);
                    }
                }
                notes.push(format!("In this order: {}.", told.join(", ")));
                if each.is_empty() { any() } else { one_of(each) }
            }
            (None, Some(items @ (Value::Object(_) | Value::Bool(_)))) => {
                self.convert(items, depth + 1)
            }
            (None, _) => any(),
        };
        out.insert("items".into(), converted);
        self.limits(schema, &["minItems", "maxItems"], out, notes);
        if schema.get("uniqueItems") == Some(&Value::Bool(true)) {
            notes.push("No two alike.".to_owned());
        }
    }

    fn object(&self, schema: &Map<'a>, out: &mut Map<'a>, notes: &mut Vec<String>, depth: usize) {
        match schema.get("additionalProperties") {
            Some(values @ Value::Object(members)) if !members.is_empty() => {
                // Converted, since what it refers to is not sent.
                let told = short(&self.convert(values, depth + 1));
                notes.push(format!("Any further names, each with a value of: {told}."));
            }
            Some(Value::Object(_) | Value::Bool(true)) => {
                notes.push("Any further names and values.".to_owned());
            }
            _ => {}
        }
        if let Some(Value::Object(patterns)) = schema.get("patternProperties") {
            let told: Vec<String> = patterns
                .iter()
                .map(|(name, values)| {
                    format!("{name}: {}", short(&self.convert(values, depth + 1)))
                })
                .collect();
            notes.push(format!("Further names by pattern: {}.", told.join(", ")));
        }
        self.limits(schema, &["minProperties", "maxProperties"], out, notes);
        if let Some(Value::Object(properties)) = schema.get("properties")
            && !properties.is_empty()
        {
            let converted: Map<'a> = properties
                .iter()
                .map(|(name, schema)| (name.clone(), self.convert(schema, depth + 1)))
                .collect();
            let order: Vec<Value<'a>> = converted.names().cloned().map(Value::String).collect();
            out.insert("properties".into(), converted.into());
            let listed = schema.get("required").and_then(Value::as_array);
            let mut required: Vec<Value<'a>> = Vec::new();
            let mut known = vec![false; properties.len()];
            for value in listed.into_iter().flatten() {
                if let Value::String(name) = value
                    && let Some(at) = properties.place(name)
                    && !std::mem::replace(&mut known[at], true)
                {
                    required.push(value.clone());
                }
            }
            // As drafts before the fourth have it, on the property itself.
            for (at, (name, schema)) in properties.iter().enumerate() {
                if schema.get("required") == Some(&Value::Bool(true)) && !known[at] {
                    required.push(name.clone().into());
                }
            }
            if !required.is_empty() {
                out.insert("required".into(), required.into());
            }
            if order.len() > 1 {
                out.insert("propertyOrdering".into(), order.into());
            }
        }
        if self.subset == Subset::Claude {
            require_something(out);
        }
    }
}
