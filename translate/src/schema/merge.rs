//! Schemas that hold together: `allOf`, what is said beside a reference, and what is said
//! around alternatives.

use std::borrow::Cow;

use super::{
    convert::Converter,
    tree::{Map, Value},
};

impl<'a> Converter<'a> {
    /// Adds another schema that holds as well.
    pub(super) fn merge(&self, merged: &mut Map<'a>, part: &Value<'a>) {
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
        merged: &mut Map<'a>,
        keywords: impl Iterator<Item = (&'v Cow<'a, str>, &'v Value<'a>)>,
    ) where
        'a: 'v,
    {
        for (key, value) in keywords {
            let members =
                value.as_array().map_or(1, Vec::len) + value.as_object().map_or(1, Map::len);
            if !self.budget.spend(members) {
                continue;
            }
            match (&**key, merged.get_mut(key), value) {
                (_, None, _) => {
                    merged.insert(key.clone(), value.clone());
                }
                ("properties", Some(Value::Object(mine)), Value::Object(theirs)) => {
                    for (name, schema) in theirs.iter() {
                        mine.or_insert_with(name.clone(), || schema.clone());
                    }
                }
                // Names that stand there twice are told once in the end.
                ("required" | "allOf", Some(Value::Array(mine)), Value::Array(theirs)) => {
                    mine.extend(theirs.iter().cloned());
                }
                ("$ref", Some(_), _) => {
                    let another = Map::with([("$ref", value.clone())]);
                    let all = merged.or_insert_with("allOf".into(), || Vec::new().into());
                    if let Value::Array(all) = all {
                        all.push(another.into());
                    }
                }
                // Both choices have to be made, and the two keywords are read alike.
                ("anyOf", Some(_), Value::Array(_)) => {
                    merged.or_insert_with("oneOf".into(), || value.clone());
                }
                ("oneOf", Some(_), Value::Array(_)) => {
                    merged.or_insert_with("anyOf".into(), || value.clone());
                }
                _ => {}
            }
        }
    }
}
