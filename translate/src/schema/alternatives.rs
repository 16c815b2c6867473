//! Schemas that say one thing or another.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use super::{
    convert::{Converter, without},
    tree::{Map, Value},
    words::{describe, kind_of_value},
};

impl<'a> Converter<'a> {
    /// Alternatives, each with what the schema around them says: `anyOf` stands alone.
    pub(super) fn alternatives(
        &self,
        schema: &Map<'a>,
        key: &str,
        alternatives: &[Value<'a>],
        depth: usize,
    ) -> Value<'a> {
        let mut around = without(schema, key);
        let is_null = |one: &&Value<'_>| {
            one.get("type").is_some_and(|kind| kind.says("null"))
                || one.get("const").is_some_and(Value::is_null)
        };
        let nullable = schema.get("nullable") == Some(&Value::Bool(true))
            || alternatives.iter().any(|one| is_null(&one));
        let real: Vec<&Value<'a>> = alternatives.iter().filter(|one| !is_null(one)).collect();
        let mut told = Map::default();
        for shared in [
            "title",
            "description",
            "nullable",
            "default",
            "examples",
            "discriminator",
        ] {
            if let Some(value) = around.remove(shared) {
                told.insert(shared.into(), value);
            }
        }
        around.retain(|key| !matches!(key, "$defs" | "definitions" | "$schema" | "$id"));
        let mut each: Vec<Value<'a>> = Vec::with_capacity(real.len());
        for one in &real {
            let own = match one {
                _ if around.is_empty() => None,
                Value::Object(own) => Some(own.clone()),
                // Anything that holds what is said around it.
                Value::Bool(true) => Some(Map::default()),
                _ => None,
            };
            let one = match own {
                Some(mut merged) => {
                    if !self.budget.spend(around.len()) || !self.budget.repeat(around.iter()) {
                        continue;
                    }
                    self.merge(&mut merged, &Value::Object(around.clone()));
                    Value::Object(merged)
                }
                None => (*one).clone(),
            };
            each.push(one);
        }
        if let [Value::Object(only)] = &mut each[..] {
            // What is said around it is said of it.
            for (key, value) in told.iter() {
                only.insert(key.clone(), value.clone());
            }
            if nullable {
                only.insert("nullable".into(), true.into());
            }
            return self.convert(&each[0], depth + 1);
        }
        let mut about = Map::default();
        self.tell(&told, Vec::new(), &mut about);
        let mut all = flat(each.iter().map(|one| self.convert(one, depth + 1)));
        for (at, one) in all.iter_mut().filter_map(Value::as_object_mut).enumerate() {
            if nullable {
                one.insert("nullable".into(), true.into());
            }
            if at == 0 || self.budget.repeat(about.iter()) {
                said_of(one, &about);
            }
        }
        if all.is_empty() {
            told.insert("type".into(), "null".into());
            return self.single(&told, depth);
        }
        one_of(all)
    }
}

/// Any of these: the alternatives of an alternative are alternatives themselves, and Vertex AI
/// takes nothing beside `anyOf`.
pub(super) fn one_of(all: Vec<Value<'_>>) -> Value<'_> {
    let mut all = flat(all.into_iter());
    if all.len() == 1 {
        return all.remove(0);
    }
    Map::with([("anyOf", all.into())]).into()
}

fn flat<'v>(all: impl Iterator<Item = Value<'v>>) -> Vec<Value<'v>> {
    let mut out = Vec::with_capacity(all.size_hint().0);
    for one in all {
        match one {
            Value::Object(mut one) if one.contains_key("anyOf") => {
                if let Some(Value::Array(inner)) = one.remove("anyOf") {
                    out.extend(inner);
                }
            }
            one => out.push(one),
        }
    }
    out
}

/// Says of a schema what is said of a choice that it belongs to.
fn said_of<'v>(one: &mut Map<'v>, about: &Map<'v>) {
    if let Some(title) = about.get("title") {
        one.or_insert_with("title".into(), || title.clone());
    }
    if about.contains_key("description") {
        let own = one.remove("description");
        let own = own.as_ref().and_then(Value::as_str).unwrap_or_default();
        let description = describe(about, &[own.to_owned()]);
        one.insert("description".into(), description.into());
    }
}

/// Alternatives of objects as one object that holds any of them: a function's arguments
/// are one object. `None`: they are none.
pub(super) fn united<'v>(alternatives: &Value<'v>) -> Option<Value<'v>> {
    let all = alternatives.get("anyOf")?.as_array()?;
    let objects: Vec<&Map<'v>> = all
        .iter()
        .filter_map(|one| one.as_object().filter(|one| one.contains_key("properties")))
        .collect();
    if objects.is_empty() {
        return None;
    }
    let mut properties = Map::default();
    // Of each name the schemas that differ; those of the first alternative that has it, first.
    let mut kinds: HashMap<&str, Vec<&Value<'v>>> = HashMap::new();
    let mut known: HashSet<(&str, &Value<'v>)> = HashSet::new();
    let mut forms = Vec::new();
    for object in &objects {
        let mut names = Vec::new();
        for (name, schema) in object.get("properties")?.as_object()?.iter() {
            names.push(&**name);
            if known.insert((name, schema)) {
                properties.or_insert_with(name.clone(), || Value::Null);
                kinds.entry(name).or_default().push(schema);
            }
        }
        let names = names.join(", ");
        let told = object.get("description").and_then(Value::as_str);
        forms.push(told.map_or_else(
            || format!("{{{names}}}"),
            |told| format!("{{{names}}} ({told})"),
        ));
    }
    for (name, schema) in properties.iter_mut() {
        let several = kinds.remove(name).unwrap_or_default();
        *schema = one_of(several.into_iter().cloned().collect());
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
    let is_required = |name: &&Cow<'v, str>| required.iter().all(|those| those.contains(&***name));
    let required: Vec<Value<'v>> = properties
        .names()
        .filter(is_required)
        .map(|name| name.clone().into())
        .collect();
    let note = format!("One of: {}.", forms.join(" or "));
    let mut out = Map::with([("type", "OBJECT".into()), ("properties", properties.into())]);
    if !required.is_empty() {
        out.insert("required".into(), required.into());
    }
    out.insert("description".into(), note.into());
    Some(Value::Object(out))
}

/// The alternatives that a schema of several types is: by the types that it names, or by
/// those of its values.
pub(super) fn several_kinds<'v>(schema: &Map<'v>) -> Option<Vec<Value<'v>>> {
    let kind = schema.get("type");
    if let Some(Value::Array(names)) = kind {
        let real = names.iter().filter(|name| !name.says("null")).count();
        let alternative = |name: &Value<'v>| Map::with([("type", name.clone())]).into();
        return (real > 1).then(|| names.iter().map(alternative).collect());
    }
    if kind.is_some() {
        return None;
    }
    let mut by_kind: Vec<(&'static str, Vec<Value<'v>>)> = Vec::new();
    for value in schema.get("enum")?.as_array()? {
        let kind = kind_of_value(value);
        match by_kind.iter_mut().find(|(other, _)| *other == kind) {
            Some((_, values)) => values.push(value.clone()),
            None => by_kind.push((kind, vec![value.clone()])),
        }
    }
    let real = by_kind.iter().filter(|(kind, _)| *kind != "null").count();
    let alternative = |(kind, values): (&'static str, Vec<Value<'v>>)| {
        Map::with([("type", kind.into()), ("enum", values.into())]).into()
    };
    (real > 1).then(|| by_kind.into_iter().map(alternative).collect())
}
