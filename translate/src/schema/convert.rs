//! JSON Schema to Gemini's `Schema`, for the APIs that take no JSON Schema.
//!
//! `Schema` is a subset: what it cannot say is said in the description, where the model
//! reads it. This is the one place that builds a tree of a request.

use std::{cell::Cell, collections::HashSet};

use serde_json::{Map, Value, json, value::RawValue};

use super::{
    PLACEHOLDER, Subset,
    alternatives::{several_kinds, united},
    reference::{self, Named},
    words::{any, describe, inferred, short, type_name},
};

/// How deep references and nestings are followed; Gemini refuses schemas that are deeper.
const MAX_DEPTH: usize = 32;
/// What following a reference costs of that: four levels of a recursive type are what a
/// model needs to get the idea.
const REFERENCE_DEPTH: usize = MAX_DEPTH / 4;
/// How many nodes are written. References may multiply a few bytes into any number of
/// them; what lies beyond is left open.
const MAX_NODES: usize = 20_000;
/// How many bytes may be written again because a reference or a merge repeats them, beyond
/// so many times the schema's own length: a long description that is referred to often is
/// few nodes and many bytes.
const MAX_REPEATED: usize = 256 << 10;
const REPEATED_PER_BYTE: usize = 8;

/// The schema of a function's arguments, an object; `None` when it says nothing: Gemini
/// refuses an object without properties at the root.
#[must_use]
pub fn arguments(schema: &RawValue, subset: Subset) -> Option<String> {
    converted(schema, subset, true)
}

/// The schema of an answer, of any type; `None` when it says nothing.
#[must_use]
pub fn answer(schema: &RawValue, subset: Subset) -> Option<String> {
    converted(schema, subset, false)
}

/// The schema of a function that takes nothing; `None`: there need not be any.
#[must_use]
pub fn nothing(subset: Subset) -> Option<String> {
    (subset == Subset::Claude).then(|| {
        let mut object = Map::new();
        object.insert("type".into(), "OBJECT".into());
        require_something(&mut object);
        Value::Object(object).to_string()
    })
}

fn converted(schema: &RawValue, subset: Subset, must_be_object: bool) -> Option<String> {
    // It was looked over before: it is JSON that a parser takes.
    let root: Value = serde_json::from_str(schema.get()).ok()?;
    let converter = Converter {
        named: reference::named(&root),
        root: &root,
        nodes: Cell::new(MAX_NODES),
        repeated: Cell::new(MAX_REPEATED + REPEATED_PER_BYTE * schema.get().len()),
        subset,
    };
    let mut converted = converter.convert(&root, 0);
    if must_be_object && converted.get("type").is_none_or(|kind| kind != "OBJECT") {
        converted = united(&converted)?;
        if let Value::Object(object) = &mut converted
            && subset == Subset::Claude
        {
            require_something(object);
        }
    }
    let says_something = converted.as_object().is_some_and(|object| {
        object.contains_key("properties") || object.get("type").is_none_or(|t| t != "OBJECT")
    });
    says_something.then(|| converted.to_string())
}

/// Gives an object without a required property one for Claude.
fn require_something(object: &mut Map<String, Value>) {
    if object.contains_key("required") {
        return;
    }
    let placeholder = json!({"type": "BOOLEAN", "description": "Always true."});
    let properties = object.entry("properties").or_insert_with(|| json!({}));
    if let Value::Object(properties) = properties {
        properties.insert(PLACEHOLDER.to_owned(), placeholder);
    }
    object.insert("required".into(), json!([PLACEHOLDER]));
    object.remove("propertyOrdering");
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
fn weigh(value: &Value, left: &mut usize) -> bool {
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

/// A schema without one of its keywords.
fn without(schema: &Map<String, Value>, keyword: &str) -> Map<String, Value> {
    let others = schema.iter().filter(|(key, _)| *key != keyword);
    others
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

struct Converter<'a> {
    root: &'a Value,
    named: Named<'a>,
    /// How many more may be written.
    nodes: Cell<usize>,
    /// How many bytes more may be written again.
    repeated: Cell<usize>,
    subset: Subset,
}

impl<'a> Converter<'a> {
    /// Whether so many more nodes may be written.
    fn spend(&self, nodes: usize) -> bool {
        let left = self.nodes.get();
        self.nodes.set(left.saturating_sub(nodes));
        left >= nodes
    }

    /// Whether a schema may be written again.
    fn repeat<'v>(&self, members: impl Iterator<Item = (&'v String, &'v Value)>) -> bool {
        let mut left = self.repeated.get();
        let may = members
            .into_iter()
            .all(|(key, value)| take(&mut left, key.len()) && weigh(value, &mut left));
        // Once it is too much it stays so: what is left is not weighed again and again.
        self.repeated.set(if may { left } else { 0 });
        may
    }

    fn resolve(&self, schema: &Map<String, Value>) -> Option<&'a Map<String, Value>> {
        let target = schema.get("$ref")?.as_str()?;
        reference::resolve(self.root, &self.named, target)?.as_object()
    }

    fn convert(&self, schema: &Value, depth: usize) -> Value {
        let Value::Object(schema) = schema else {
            // `true`: anything goes. `false` stands where nothing may, and nothing does.
            return any();
        };
        if !self.spend(1) {
            return any();
        }
        if depth > MAX_DEPTH {
            return self.cut(schema);
        }
        if schema.contains_key("$ref") {
            let target = self.resolve(schema);
            if !self.repeat(target.into_iter().flatten()) {
                return any();
            }
            let mut resolved = target.cloned().unwrap_or_default();
            let siblings = schema.iter().filter(|(key, _)| *key != "$ref");
            resolved.extend(siblings.map(|(key, value)| (key.clone(), value.clone())));
            return self.convert(&Value::Object(resolved), depth + REFERENCE_DEPTH);
        }
        if let Some(Value::Array(all)) = schema.get("allOf") {
            let mut merged = without(schema, "allOf");
            for part in all {
                self.merge(&mut merged, part);
            }
            return self.convert(&Value::Object(merged), depth + 1);
        }
        let alternatives = ["anyOf", "oneOf"]
            .into_iter()
            .find_map(|key| Some((key, schema.get(key)?.as_array()?)));
        if let Some((key, alternatives)) = alternatives {
            return self.alternatives(schema, key, alternatives, depth);
        }
        if let Some(kinds) = several_kinds(schema) {
            return self.alternatives(schema, "type", &kinds, depth);
        }
        self.plain(schema, depth)
    }

    /// What is left of a schema that is nested too deep.
    fn cut(&self, schema: &Map<String, Value>) -> Value {
        let kind = schema.get("type").and_then(Value::as_str);
        let kind = kind.and_then(type_name).unwrap_or_else(|| inferred(schema));
        let mut out = Map::new();
        out.insert("type".into(), kind.into());
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

    /// Alternatives, each with what the schema around them says: `anyOf` stands alone.
    fn alternatives(
        &self,
        schema: &Map<String, Value>,
        key: &str,
        alternatives: &[Value],
        depth: usize,
    ) -> Value {
        let mut around = without(schema, key);
        let is_null = |one: &&Value| {
            one["type"] == "null" || one["const"] == Value::Null && one.get("const").is_some()
        };
        let nullable = schema.get("nullable") == Some(&Value::Bool(true))
            || alternatives.iter().any(|one| is_null(&one));
        let real: Vec<&Value> = alternatives.iter().filter(|one| !is_null(one)).collect();
        let mut told = Map::new();
        for shared in [
            "title",
            "description",
            "nullable",
            "default",
            "examples",
            "discriminator",
        ] {
            if let Some(value) = around.remove(shared) {
                told.insert(shared.to_owned(), value);
            }
        }
        around
            .retain(|key, _| !matches!(key.as_str(), "$defs" | "definitions" | "$schema" | "$id"));
        let mut each: Vec<Value> = Vec::with_capacity(real.len());
        for one in &real {
            let one = match one {
                Value::Object(one) if !around.is_empty() => {
                    let mut merged = one.clone();
                    if !self.spend(around.len()) || !self.repeat(around.iter()) {
                        continue;
                    }
                    self.merge(&mut merged, &Value::Object(around.clone()));
                    Value::Object(merged)
                }
                one => (*one).clone(),
            };
            each.push(one);
        }
        if let [Value::Object(only)] = &mut each[..] {
            // What is said around it is said of it.
            for (key, value) in told {
                only.insert(key, value);
            }
            if nullable {
                only.insert("nullable".into(), true.into());
            }
            return self.convert(&each[0], depth + 1);
        }
        let mut out = Map::new();
        if each.is_empty() {
            out.insert("type".into(), "NULL".into());
        } else {
            let converted = each.iter().map(|one| self.convert(one, depth + 1));
            out.insert("anyOf".into(), converted.collect());
        }
        if nullable && !each.is_empty() {
            out.insert("nullable".into(), true.into());
        }
        self.tell(&told, Vec::new(), &mut out);
        Value::Object(out)
    }

    /// A schema of one type.
    fn plain(&self, schema: &Map<String, Value>, depth: usize) -> Value {
        let mut out = Map::new();
        let mut notes: Vec<String> = Vec::new();
        let mut nullable = schema.get("nullable") == Some(&Value::Bool(true));
        let named = match schema.get("type") {
            Some(Value::Array(names)) => {
                nullable |= names.iter().any(|name| name == "null");
                let real = names
                    .iter()
                    .filter_map(Value::as_str)
                    .find(|name| *name != "null");
                real.or(Some("null")).and_then(type_name)
            }
            Some(Value::String(name)) => type_name(name),
            _ => None,
        };
        let kind = named.unwrap_or_else(|| inferred(schema));
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
            "INTEGER" | "NUMBER" => self.range(schema, &mut out, &mut notes),
            _ => {}
        }
        if nullable {
            out.insert("nullable".into(), true.into());
        }
        self.tell(schema, notes, &mut out);
        Value::Object(out)
    }

    /// Title and description, and in it what has no place of its own.
    fn tell(
        &self,
        schema: &Map<String, Value>,
        mut notes: Vec<String>,
        out: &mut Map<String, Value>,
    ) {
        if let Some(title @ Value::String(_)) = schema.get("title") {
            out.insert("title".into(), title.clone());
        }
        for (key, words) in [
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
        ] {
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
        schema: &Map<String, Value>,
        kind: &str,
        nullable: &mut bool,
        out: &mut Map<String, Value>,
        notes: &mut Vec<String>,
    ) {
        let constant = schema.get("const").map(std::slice::from_ref);
        let listed = || schema.get("enum")?.as_array().map(Vec::as_slice);
        let Some(allowed) = constant.or_else(listed) else {
            return;
        };
        *nullable |= allowed.contains(&Value::Null);
        let allowed: Vec<&Value> = allowed.iter().filter(|value| !value.is_null()).collect();
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

    fn range(
        &self,
        schema: &Map<String, Value>,
        out: &mut Map<String, Value>,
        notes: &mut Vec<String>,
    ) {
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
        schema: &Map<String, Value>,
        names: &[&str],
        out: &mut Map<String, Value>,
        notes: &mut Vec<String>,
    ) {
        for name in names {
            let Some(value) = schema.get(*name) else {
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

    fn array(
        &self,
        schema: &Map<String, Value>,
        out: &mut Map<String, Value>,
        notes: &mut Vec<String>,
        depth: usize,
    ) {
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
                for place in places {
                    let place = self.convert(place, depth + 1);
                    if known.insert(place.clone()) {
                        each.push(place);
                    }
                }
                let told: Vec<String> = places.iter().map(short).collect();
                notes.push(format!("In this order: {}.", told.join(", ")));
                match each.len() {
                    0 => any(),
                    1 => each.remove(0),
                    _ => json!({ "anyOf": each }),
                }
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

    fn object(
        &self,
        schema: &Map<String, Value>,
        out: &mut Map<String, Value>,
        notes: &mut Vec<String>,
        depth: usize,
    ) {
        if let Some(Value::Object(values)) = schema.get("additionalProperties")
            && !values.is_empty()
        {
            let told = short(&Value::Object(values.clone()));
            notes.push(format!("Any further names, each with a value of: {told}."));
        }
        if let Some(Value::Object(patterns)) = schema.get("patternProperties") {
            let told = short(&Value::Object(patterns.clone()));
            notes.push(format!("Further names by pattern: {told}."));
        }
        if let Some(Value::Object(properties)) = schema.get("properties")
            && !properties.is_empty()
        {
            let converted: Map<String, Value> = properties
                .iter()
                .map(|(name, schema)| (name.clone(), self.convert(schema, depth + 1)))
                .collect();
            let order: Vec<Value> = converted.keys().map(|name| name.as_str().into()).collect();
            out.insert("properties".into(), Value::Object(converted));
            let listed = schema.get("required").and_then(Value::as_array);
            let mut required: Vec<Value> = Vec::new();
            let mut known: HashSet<&str> = HashSet::new();
            for name in listed.into_iter().flatten().filter_map(Value::as_str) {
                if properties.contains_key(name) && known.insert(name) {
                    required.push(name.into());
                }
            }
            // As drafts before the fourth have it, on the property itself.
            for (name, schema) in properties {
                if schema.get("required") == Some(&Value::Bool(true)) && known.insert(name) {
                    required.push(name.as_str().into());
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

    /// Adds another schema that holds as well: properties and required names united, the
    /// rest of the first that says it.
    fn merge(&self, merged: &mut Map<String, Value>, part: &Value) {
        let Value::Object(part) = part else { return };
        let resolved;
        let part = if part.contains_key("$ref") {
            let target = self.resolve(part);
            if !self.repeat(target.into_iter().flatten()) {
                return;
            }
            let mut target = target.cloned().unwrap_or_default();
            let siblings = part.iter().filter(|(key, _)| *key != "$ref");
            target.extend(siblings.map(|(key, value)| (key.clone(), value.clone())));
            resolved = target;
            &resolved
        } else {
            part
        };
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
                    let mut known: HashSet<Value> = mine.iter().cloned().collect();
                    let new = theirs.iter().filter(|name| known.insert((*name).clone()));
                    mine.extend(new.cloned());
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
}
