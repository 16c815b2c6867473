//! Schemas as trees, for changing them: borrowed from the request as far as nothing is
//! changed, and without a hash of anything while objects are as small as schemas have them.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash, Hasher},
};

use serde_json::Number;

use crate::json::{self, Kind, Raw};

/// A value of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Value<'v> {
    Null,
    Bool(bool),
    Number(Number),
    String(Cow<'v, str>),
    Array(Vec<Value<'v>>),
    Object(Map<'v>),
}

impl<'v> Value<'v> {
    /// The value that stands in a request; `None`: it holds a number that no computer does.
    pub(super) fn of(raw: Raw<'v>) -> Option<Self> {
        Some(match raw.kind() {
            Kind::Null => Self::Null,
            Kind::Boolean => Self::Bool(raw.get() == "true"),
            Kind::Number => Self::Number(number(raw.get())?),
            Kind::String => Self::String(raw.as_string()?.text()),
            Kind::Array => {
                let elements = raw.as_array()?.into_iter().map(Self::of);
                Self::Array(elements.collect::<Option<_>>()?)
            }
            Kind::Object => {
                let mut map = Map::default();
                for (name, value) in raw.as_object()?.members() {
                    map.insert(name, Self::of(value)?);
                }
                Self::Object(map)
            }
        })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        self.as_object()?.get(name)
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Number(_))
    }

    /// Whether it is this text.
    pub(super) fn says(&self, text: &str) -> bool {
        self.as_str() == Some(text)
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => number.as_f64(),
            _ => None,
        }
    }

    pub(super) fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Number(number) => number.as_u64(),
            _ => None,
        }
    }

    pub(super) fn as_array(&self) -> Option<&Vec<Self>> {
        match self {
            Self::Array(elements) => Some(elements),
            _ => None,
        }
    }

    pub(super) fn as_object(&self) -> Option<&Map<'v>> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    pub(super) fn as_object_mut(&mut self) -> Option<&mut Map<'v>> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// What a JSON Pointer means (RFC 6901).
    pub(super) fn pointer(&self, pointer: &str) -> Option<&Self> {
        if pointer.is_empty() {
            return Some(self);
        }
        let steps = pointer.strip_prefix('/')?.split('/');
        steps
            .map(|step| step.replace("~1", "/").replace("~0", "~"))
            .try_fold(self, |value, step| match value {
                Self::Object(members) => members.get(&step),
                Self::Array(elements) => {
                    let is_index = step == "0" || !step.starts_with(['0', '+']);
                    elements.get(step.parse::<usize>().ok().filter(|_| is_index)?)
                }
                _ => None,
            })
    }

    /// As JSON.
    pub(super) fn text(&self) -> String {
        let mut out = Vec::with_capacity(64);
        self.write(&mut out);
        // Texts were written, and ASCII around them.
        String::from_utf8(out).unwrap_or_default()
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Self::String(text) => json::write_string(out, text),
            Self::Array(elements) => {
                out.push(b'[');
                for (at, value) in elements.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    value.write(out);
                }
                out.push(b']');
            }
            Self::Object(map) => {
                out.push(b'{');
                for (at, (name, value)) in map.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    json::write_string(out, name);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

fn number(token: &str) -> Option<Number> {
    match token.parse::<u64>() {
        Ok(whole) => Some(whole.into()),
        Err(_) => serde_json::from_str(token).ok(),
    }
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl<'v> From<Cow<'v, str>> for Value<'v> {
    fn from(text: Cow<'v, str>) -> Self {
        Self::String(text)
    }
}

impl From<bool> for Value<'_> {
    fn from(it: bool) -> Self {
        Self::Bool(it)
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number.into())
    }
}

impl<'v> From<Vec<Value<'v>>> for Value<'v> {
    fn from(elements: Vec<Value<'v>>) -> Self {
        Self::Array(elements)
    }
}

impl<'v> From<Map<'v>> for Value<'v> {
    fn from(members: Map<'v>) -> Self {
        Self::Object(members)
    }
}

impl<'v> FromIterator<Value<'v>> for Value<'v> {
    fn from_iter<I: IntoIterator<Item = Value<'v>>>(all: I) -> Self {
        Self::Array(all.into_iter().collect())
    }
}

/// The members of an object in their order, each name once.
#[derive(Clone, Debug, Default)]
pub(super) struct Map<'v> {
    members: Vec<(Cow<'v, str>, Value<'v>)>,
    /// Where each stands, once there are too many of them to look at one by one.
    places: Option<HashMap<Cow<'v, str>, usize>>,
}

/// Objects of so many members are looked through: hardly a schema's has more.
const FEW: usize = 16;

impl<'v> Map<'v> {
    /// With these members.
    pub(super) fn with<const N: usize>(members: [(&'static str, Value<'v>); N]) -> Self {
        let members = members.into_iter();
        members
            .map(|(name, value)| (Cow::Borrowed(name), value))
            .collect()
    }

    /// Which of the members has this name.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        match &self.places {
            Some(places) => places.get(name).copied(),
            None => self.members.iter().position(|(other, _)| other == name),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value<'v>> {
        self.place(name).map(|at| &self.members[at].1)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Value<'v>> {
        self.place(name).map(|at| &mut self.members[at].1)
    }

    /// Sets a member, where it stands or at the end.
    pub(super) fn insert(&mut self, name: Cow<'v, str>, value: Value<'v>) {
        match self.place(&name) {
            Some(at) => self.members[at].1 = value,
            None => self.push(name, value),
        }
    }

    /// The member of this name, which is `value` if there was none.
    pub(super) fn or_insert_with(
        &mut self,
        name: Cow<'v, str>,
        value: impl FnOnce() -> Value<'v>,
    ) -> &mut Value<'v> {
        let at = self.place(&name).unwrap_or_else(|| {
            self.push(name, value());
            self.members.len() - 1
        });
        &mut self.members[at].1
    }

    fn push(&mut self, name: Cow<'v, str>, value: Value<'v>) {
        let at = self.members.len();
        if let Some(places) = &mut self.places {
            places.insert(name.clone(), at);
        } else if at == 0 {
            self.members.reserve(4);
        }
        self.members.push((name, value));
        if at == FEW {
            self.find_places();
        }
    }

    fn find_places(&mut self) {
        let names = self.members.iter().map(|(name, _)| name.clone());
        self.places = Some(names.zip(0..).collect());
    }

    /// Takes a member out; the last one comes into its place.
    pub(super) fn remove(&mut self, name: &str) -> Option<Value<'v>> {
        let at = self.place(name)?;
        let (_, value) = self.members.swap_remove(at);
        if let Some(places) = &mut self.places {
            places.remove(name);
            if let Some((moved, _)) = self.members.get(at) {
                places.insert(moved.clone(), at);
            }
        }
        Some(value)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.members.retain(|(name, _)| keep(name));
        if self.places.is_some() {
            self.find_places();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Cow<'v, str>, &Value<'v>)> {
        self.members.iter().map(|(name, value)| (name, value))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Value<'v>)> {
        let members = self.members.iter_mut();
        members.map(|(name, value)| (&**name, value))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Cow<'v, str>> {
        self.members.iter().map(|(name, _)| name)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Value<'v>> {
        self.members.iter().map(|(_, value)| value)
    }
}

/// Members count, and not their order.
impl PartialEq for Map<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self
                .iter()
                .all(|(name, value)| other.get(name) == Some(value))
    }
}

impl Eq for Map<'_> {}

impl Hash for Map<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let each = BuildHasherDefault::<DefaultHasher>::default();
        let sum = self
            .iter()
            .fold(0_u64, |sum, member| sum.wrapping_add(each.hash_one(member)));
        state.write_u64(sum);
    }
}

impl<'v> FromIterator<(Cow<'v, str>, Value<'v>)> for Map<'v> {
    fn from_iter<I: IntoIterator<Item = (Cow<'v, str>, Value<'v>)>>(members: I) -> Self {
        let members = members.into_iter();
        let mut map = Self::default();
        map.members.reserve(members.size_hint().0);
        for (name, value) in members {
            map.insert(name, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::Document;

    #[test]
    fn pointers_are_read_as_the_rfc_has_them() {
        let text = r#"{"foo":["bar","baz"],"":0,"a/b":1,"m~n":8,"01":{"0":2}}"#;
        let document = Document::read(text).expect("JSON");
        let root = Value::of(document.root()).expect("a tree");
        let whole: serde_json::Value = serde_json::from_str(text).expect("JSON");
        for pointer in [
            "", "/foo", "/foo/0", "/foo/1", "/foo/2", "/foo/00", "/foo/01", "/foo/+1", "/foo/-",
            "/", "/a~1b", "/m~0n", "/01", "/01/0", "foo", "/foo/0/x", "/~01",
        ] {
            let found = root.pointer(pointer).map(Value::text);
            let expected = whole.pointer(pointer).map(ToString::to_string);
            assert_eq!(found, expected, "{pointer}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

        /// As serde_json's map, of which it is told apart by nothing but its cost.
        #[test]
        fn members_are_kept_as_in_the_map_of_serde(steps in proptest::collection::vec((0_u8..5, "[a-z]|n[0-9]{2}", 0_u64..4), 0..120)) {
            let mut map = Map::default();
            let mut known = serde_json::Map::new();
            for (step, name, number) in steps {
                match step {
                    0 => {
                        prop_assert_eq!(map.remove(&name).map(|it| it.text()), known.remove(&name).map(|it| it.to_string()));
                    }
                    1 => {
                        map.retain(|other| other != name);
                        known.retain(|other, _| *other != name);
                    }
                    2 => {
                        map.or_insert_with(name.clone().into(), || number.into());
                        known.entry(name.clone()).or_insert_with(|| number.into());
                    }
                    _ => {
                        map.insert(name.clone().into(), number.into());
                        known.insert(name.clone(), number.into());
                    }
                }
                prop_assert_eq!(map.get(&name).map(Value::text), known.get(&name).map(ToString::to_string));
                prop_assert_eq!(map.len(), known.len());
            }
            let reversed: Map<'_> = map.members.iter().rev().cloned().collect();
            prop_assert!(map == reversed);
            let hash = |map: &Map<'_>| BuildHasherDefault::<DefaultHasher>::default().hash_one(map);
            prop_assert_eq!(hash(&map), hash(&reversed));
            prop_assert_eq!(Value::Object(map).text(), serde_json::Value::Object(known).to_string());
        }
    }
}
