//! Schemas that say one thing or another.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::{
    convert::{Converter, without},
    words::kind_of_value,
};

impl Converter<'_> {
    /// Alternatives, each with what the schema around them says: `anyOf` stands alone.
    pub(super) fn alternatives(
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
                    if !self.budget.spend(around.len()) || !self.budget.repeat(around.iter()) {
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
}

/// Alternatives of objects as one object that holds any of them: a function's arguments
/// are one object. `None`: they are none.
pub(super) fn united(alternatives: &Value) -> Option<Value> {
    let all = alternatives.get("anyOf")?.as_array()?;
    let objects: Vec<&Map<String, Value>> = all
        .iter()
        .filter_map(|one| one.as_object().filter(|one| one.contains_key("properties")))
        .collect();
    if objects.is_empty() {
        return None;
    }
    let mut properties: Map<String, Value> = Map::new();
    // Of each name the schemas that differ; those of the first alternative that has it, first.
    let mut kinds: HashMap<&str, Vec<&Value>> = HashMap::new();
    let mut known: HashSet<(&str, &Value)> = HashSet::new();
    let mut forms = Vec::new();
    for object in &objects {
        let mut names = Vec::new();
        for (name, schema) in object["properties"].as_object()? {
            names.push(name.as_str());
            if known.insert((name, schema)) {
                properties.entry(name.as_str()).or_insert(Value::Null);
                kinds.entry(name).or_default().push(schema);
            }
        }
        forms.push(format!("{{{}}}", names.join(", ")));
    }
    for (name, schema) in &mut properties {
        *schema = match kinds.remove(name.as_str()).as_deref() {
            Some([only]) => (*only).clone(),
            several => json!({ "anyOf": several }),
        };
    }
    let required: Vec<HashSet<&str>> = objects
        .iter()
        .map(|object| {
            let listed = object.get("required").and_then(Value::as_array);
            listed
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect()
        })
        .collect();
    let is_required = |name: &&String| required.iter().all(|those| those.contains(name.as_str()));
    let required: Vec<Value> = properties
        .keys()
        .filter(is_required)
        .map(|name| name.as_str().into())
        .collect();
    let mut note = format!("One of: {}.", forms.join(" or "));
    if let Some(description) = alternatives.get("description").and_then(Value::as_str) {
        note = format!("{description} ({note})");
    }
    let mut out = Map::new();
    out.insert("type".into(), "OBJECT".into());
    out.insert("properties".into(), properties.into());
    if !required.is_empty() {
        out.insert("required".into(), required.into());
    }
    out.insert("description".into(), note.into());
    Some(Value::Object(out))
}

/// The alternatives that a schema of several types is: by the types that it names, or by
/// those of its values.
pub(super) fn several_kinds(schema: &Map<String, Value>) -> Option<Vec<Value>> {
    if let Some(Value::Array(names)) = schema.get("type") {
        let real = names.iter().filter(|name| *name != "null").count();
        return (real > 1).then(|| names.iter().map(|name| json!({ "type": name })).collect());
    }
    if schema.contains_key("type") {
        return None;
    }
    let mut by_kind: Vec<(&str, Vec<Value>)> = Vec::new();
    for value in schema.get("enum")?.as_array()? {
        let kind = kind_of_value(value);
        match by_kind.iter_mut().find(|(other, _)| *other == kind) {
            Some((_, values)) => values.push(value.clone()),
            None => by_kind.push((kind, vec![value.clone()])),
        }
    }
    let real = by_kind.iter().filter(|(kind, _)| *kind != "null").count();
    let alternative = |(kind, values)| json!({"type": kind, "enum": Value::Array(values)});
    (real > 1).then(|| by_kind.into_iter().map(alternative).collect())
}
