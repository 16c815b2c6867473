//! What serde_json takes for JSON is taken for it and nothing else, and every value is found
//! where serde_json finds it.

use std::{borrow::Cow, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use translate::json::{self, Document, Kind, Raw};

/// Each level is read anew by serde_json: of deeper ones only whether they are any.
const MAX_DEPTH: usize = 64;

pub(crate) fn check(text: &str) {
    let ours = Document::read(text);
    let document = match (ours, serde_json::from_str::<&RawValue>(text)) {
        (Ok(document), Ok(raw)) => {
            assert_eq!(document.root().get(), raw.get());
            document
        }
        (Err(ours), Err(theirs)) => {
            assert_eq!(ours.to_string(), theirs.to_string());
            return;
        }
        (ours, theirs) => panic!("{:?} and {theirs:?} of {text:?}", ours.err()),
    };
    let mut open: Vec<(Raw<'_>, usize)> = vec![(document.root(), MAX_DEPTH)];
    while let Some((raw, left)) = open.pop() {
        // A name that is no text is nobody's to read.
        let Some(inner) = same(raw) else { continue };
        let height = inner.iter().map(|inner| inner.depth()).max();
        if matches!(raw.kind(), Kind::Array | Kind::Object) {
            assert_eq!(raw.depth(), (height.unwrap_or(0) + 1).min(255));
        }
        if left > 0 {
            open.extend(inner.into_iter().map(|inner| (inner, left - 1)));
        }
    }
}

/// Holds one value against serde_json's; what is in it is handed out. `None`: it is JSON, and
/// cannot be read.
fn same(raw: Raw<'_>) -> Option<Vec<Raw<'_>>> {
    let text = raw.get();
    match raw.kind() {
        Kind::Null => assert_eq!(text, "null"),
        Kind::Boolean => assert_eq!(
            json::boolean(raw).ok(),
            serde_json::from_str::<bool>(text).ok()
        ),
        Kind::Number => {
            let theirs = serde_json::from_str::<f64>(text).ok();
            assert_eq!(json::number(raw).ok(), theirs);
        }
        Kind::String => {
            let ours = json::string(raw).unwrap_or(json::JsonStr::EMPTY);
            match serde_json::from_str::<String>(text) {
                Ok(theirs) => {
                    assert_eq!(ours.text(), theirs);
                    assert!(ours.says(&theirs) && !ours.has_lone_surrogate());
                }
                // It is JSON all the same.
                Err(_) => assert!(ours.has_lone_surrogate() && raw.has_lone_surrogate()),
            }
            assert_eq!(json::unescaped(&ours.mended()), ours.text());
        }
        Kind::Array => {
            let ours: Vec<Raw<'_>> = raw.as_array().into_iter().flatten().collect();
            let theirs: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
            assert_eq!(
                tokens(&ours),
                theirs.iter().map(|it| it.get()).collect::<Vec<_>>()
            );
            return Some(ours);
        }
        Kind::Object => {
            let Ok(Members(theirs)) = serde_json::from_str(text) else {
                assert!(json::object(raw).is_err() && raw.has_lone_surrogate());
                return None;
            };
            let object = json::object(raw).unwrap_or_else(|_| panic!("{text}"));
            let (names, ours): (Vec<_>, Vec<_>) = object.members().unzip();
            let (known, values): (Vec<_>, Vec<_>) = theirs.into_iter().unzip();
            assert_eq!(names, known);
            assert_eq!(tokens(&ours), values);
            for name in names.iter().take(32) {
                // The last one counts, and null is none.
                let last = known.iter().rposition(|other| other == name);
                let last = last.map(|at| values[at]).filter(|value| *value != "null");
                assert_eq!(object.get(name).map(Raw::get), last);
            }
            return Some(ours);
        }
    }
    Some(Vec::new())
}

fn tokens<'a>(all: &[Raw<'a>]) -> Vec<&'a str> {
    all.iter().map(|raw| raw.get()).collect()
}

/// Every member of an object, as serde_json reads them.
struct Members<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some((name, value)) = map.next_entry::<Cow<'de, str>, &RawValue>()? {
                    all.push((name, value.get()));
                }
                Ok(Members(all))
            }
        }
        deserializer.deserialize_map(All)
    }
}
