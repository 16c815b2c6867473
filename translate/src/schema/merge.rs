//! Schemas that hold together: `allOf`, what is said beside a reference, and what is said
//! around alternatives.

use serde_json::{Map, Value, json};

use super::convert::Converter;

impl Converter<'_> {
    /// Adds another schema that holds as well.
    pub(super) fn merge(&self, merged: &mut Map<String, Value>, part: &Value) {
        let Value::Object(part) = part else { return };
        self.unite(merged, part.iter().filter(|(key, _)| *key != "$ref"));
        if let Some(target) = self.resolve(part)
            && self.budget.repeat(target.iter())
        {
            self.unite(merged, target.iter());
        }
    }

    /// Adds keywords that hold as well: properties and required names united, the rest of
    /// the first that says it.
    pub(super) fn unite<'v>(
        &self,
        merged: &mut Map<String, Value>,
        keywords: impl Iterator<Item = (&'v String, &'v Value)>,
    ) {
        for (key, value) in keywords {
            let members =
                value.as_array().map_or(1, Vec::len) + value.as_object().map_or(1, Map::len);
            if !self.budget.spend(members) {
                continue;
            }
            match (key.as_str(), merged.get_mut(key), value) {
                (_, None, _) => {
                    merged.insert(key.clone(), value.clone());
                }
                ("properties", Some(Value::Object(mine)), Value::Object(theirs)) => {
                    for (name, schema) in theirs {
                        mine.entry(name.clone()).or_insert_with(|| schema.clone());
                    }
                }
                // Names that stand there twice are told once in the end.
                ("required" | "allOf", Some(Value::Array(mine)), Value::Array(theirs)) => {
                    mine.extend(theirs.iter().cloned());
                }
                ("$ref", Some(_), _) => {
                    let another = json!({ "$ref": value });
                    if let Value::Array(all) = merged.entry("allOf").or_insert_with(|| json!([])) {
                        all.push(another);
                    }
                }
                // Both choices have to be made, and the two keywords are read alike.
                ("anyOf", Some(_), Value::Array(_)) => {
                    merged.entry("oneOf").or_insert_with(|| value.clone());
                }
                ("oneOf", Some(_), Value::Array(_)) => {
                    merged.entry("anyOf").or_insert_with(|| value.clone());
                }
                _ => {}
            }
        }
    }
}
