//! Schemas that hold together: `allOf`, and what is said around alternatives.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::convert::Converter;

impl Converter<'_> {
    /// Adds another schema that holds as well: properties and required names united, the
    /// rest of the first that says it.
    pub(super) fn merge(&self, merged: &mut Map<String, Value>, part: &Value) {
        let Value::Object(part) = part else { return };
        let resolved;
        let part = if part.contains_key("$ref") {
            let target = self.resolve(part);
            if !self.budget.repeat(target.into_iter().flatten()) {
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
            if !self.budget.spend(members) {
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
