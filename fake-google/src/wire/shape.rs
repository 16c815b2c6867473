//! Shape: does every field exist, is every value of its type? By tables made from Google's published definitions.
//!
//! Field names are taken in both of proto3 JSON's spellings, enum values in any case, and one object where a list is
//! declared passes for a list of one: all that the APIs are recorded to accept.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::schema::{Field, Message, Table, Type};
use crate::catalogue::Upstream;
use crate::json::Json;
use crate::status::Status;

static GEMINI: LazyLock<Table> = LazyLock::new(|| Table::parse(&[include_str!("gemini.txt")]));
static VERTEX: LazyLock<Table> = LazyLock::new(|| Table::parse(&[include_str!("vertex.txt")]));
static CODE_ASSIST: LazyLock<Table> =
    LazyLock::new(|| Table::parse(&[include_str!("vertex.txt"), include_str!("code_assist.txt")]));

/// Checks a document against the message `root`; tells everything that is wrong, as Google does.
pub(crate) fn check(document: &Json, upstream: Upstream, root: &str) -> Result<(), Status> {
    let (table, package) = match upstream {
        Upstream::Gemini => (&*GEMINI, "google.ai.generativelanguage.v1beta"),
        Upstream::Vertex => (&*VERTEX, "google.cloud.aiplatform.v1"),
        Upstream::CodeAssist => (&*CODE_ASSIST, "google.cloud.aiplatform.master"),
    };
    let mut walk = Walk {
        table,
        package,
        violations: Vec::new(),
    };
    walk.message(document, root, "");
    if walk.violations.is_empty() {
        return Ok(());
    }
    let lines: Vec<&str> = walk
        .violations
        .iter()
        .map(|(_, description)| description.as_str())
        .collect();
    Err(Status::invalid_argument(lines.join("\n")).violations(&walk.violations))
}

/// How much that is wrong is told: a hostile body may have any number of unknown fields.
const VIOLATION_LIMIT: usize = 1_000;

struct Walk<'a> {
    table: &'a Table,
    package: &'a str,
    violations: Vec<(String, String)>,
}

impl Walk<'_> {
    fn wrong(&mut self, path: &str, description: String) {
        if self.violations.len() < VIOLATION_LIMIT {
            self.violations.push((path.to_owned(), description));
        }
    }

    fn invalid(&mut self, path: &str, what: &str, value: &Json) {
        let value = match value {
            Json::String(text) => format!("{text:?}"),
            Json::Object(_) => "\"object\"".to_owned(),
            Json::Array(_) => "\"array\"".to_owned(),
            other => other.to_line(),
        };
        self.wrong(path, format!("Invalid value at '{path}' ({what}), {value}"));
    }

    fn unknown(&mut self, name: &str, path: &str, why: &str) {
        let at = if path.is_empty() {
            String::new()
        } else {
            format!(" at '{path}'")
        };
        self.wrong(
            path,
            format!("Invalid JSON payload received. Unknown name \"{name}\"{at}: {why}"),
        );
    }

    fn type_name(&self, name: &str) -> String {
        if name.starts_with("google.") {
            format!("type.googleapis.com/{name}")
        } else {
            format!("type.googleapis.com/{}.{name}", self.package)
        }
    }

    fn message(&mut self, value: &Json, name: &str, path: &str) {
        let Json::Object(fields) = value else {
            let name = self.type_name(name);
            self.invalid(path, &name, value);
            return;
        };
        // A table names no message that it does not have; an unknown one has no fields.
        let message = self.table.message(name);
        let mut seen: HashMap<usize, &str> = HashMap::new();
        let mut oneofs: HashMap<&str, &str> = HashMap::new();
        for (key, value) in fields {
            match message.and_then(|message| message.find(key)) {
                None => self.unknown(key, path, "Cannot find field."),
                Some((number, field)) => {
                    let path = join(path, &field.name);
                    if field.later {
                        self.field(value, field, &path);
                        continue;
                    }
                    if seen.insert(number, key).is_some() {
                        self.unknown(key, &path, "Proto field is already set.");
                        continue;
                    }
                    if *value == Json::Null {
                        continue;
                    }
                    if let Some(oneof) = &field.oneof
                        && oneofs.insert(oneof, key).is_some()
                    {
                        let what =
                            format!("oneof field '{oneof}' is already set. Cannot set '{key}'");
                        self.wrong(&path, format!("Invalid value at '{path}' (oneof), {what}"));
                    }
                    self.field(value, field, &path);
                }
            }
        }
    }

    fn field(&mut self, value: &Json, field: &Field, path: &str) {
        if field.later && *value == Json::Null {
            return;
        }
        if field.map {
            self.map(value, field, path);
        } else if field.repeated {
            self.list(value, field, path);
        } else {
            self.single(value, &field.of, path);
        }
    }

    fn map(&mut self, value: &Json, field: &Field, path: &str) {
        let Json::Object(entries) = value else {
            self.invalid(path, "Map", value);
            return;
        };
        for (nth, (_, value)) in entries.iter().enumerate() {
            // Google numbers the entries of a map in the order in which they came.
            let path = format!("{path}[{nth}].value");
            if *value == Json::Null {
                self.invalid(&path, "null", value);
            } else {
                self.single(value, &field.of, &path);
            }
        }
    }

    fn list(&mut self, value: &Json, field: &Field, path: &str) {
        let is_message = matches!(
            field.of,
            Type::Message(_) | Type::Struct | Type::Value | Type::ListValue
        );
        match value {
            Json::Array(items) => {
                for (nth, item) in items.iter().enumerate() {
                    let path = format!("{path}[{nth}]");
                    if *item == Json::Null && field.of != Type::Value {
                        self.invalid(&path, "null", item);
                    } else {
                        self.single(item, &field.of, &path);
                    }
                }
            }
            Json::Object(_) if is_message => self.single(value, &field.of, path),
            _ => self.invalid(path, "repeated field", value),
        }
    }

    fn single(&mut self, value: &Json, of: &Type, path: &str) {
        if let (Json::Array(_), false) = (
            value,
            matches!(of, Type::Value | Type::ListValue | Type::AnyArray),
        ) {
            let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
            self.unknown(
                name,
                parent,
                "Proto field is not repeating, cannot start list.",
            );
            return;
        }
        match of {
            Type::Message(name) => self.message(value, name, path),
            Type::Enum(name) => self.enumeration(value, name, path),
            Type::Value => {}
            Type::Bytes => self.bytes(value, path),
            other => {
                if let Err(what) = scalar(value, other) {
                    self.invalid(path, what, value);
                }
            }
        }
    }

    fn bytes(&mut self, value: &Json, path: &str) {
        match value {
            Json::String(text) if is_base64(text) => {}
            Json::String(text) => {
                let start: String = text.chars().take(24).collect();
                let what = format!("Base64 decoding failed for \"{start}\"");
                self.wrong(
                    path,
                    format!("Invalid value at '{path}' (TYPE_BYTES), {what}"),
                );
            }
            other => self.invalid(path, "TYPE_BYTES", other),
        }
    }

    fn enumeration(&mut self, value: &Json, name: &str, path: &str) {
        let values = self.table.enumeration(name);
        let known = match value {
            Json::String(text) => {
                values.contains_key(text.as_str())
                    || values.contains_key(text.to_uppercase().as_str())
            }
            Json::Number(number) => number
                .as_i64()
                .is_some_and(|number| values.values().any(|known| *known == number)),
            _ => false,
        };
        if !known {
            let name = self.type_name(name);
            self.invalid(path, &name, value);
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Whether a value is of a type that is neither message nor enum nor bytes; if not, the type's name.
fn scalar(value: &Json, of: &Type) -> Result<(), &'static str> {
    let (fits, name) = match of {
        Type::String => (matches!(value, Json::String(_)), "TYPE_STRING"),
        Type::Bool => (matches!(value, Json::Bool(_)), "TYPE_BOOL"),
        Type::Float => (
            float(value).is_some_and(|number| !(number.is_finite() && number.abs() > FLOAT_LIMIT)),
            "TYPE_FLOAT",
        ),
        Type::Double => (float(value).is_some(), "TYPE_DOUBLE"),
        Type::Int32 => (
            integer(value).is_some_and(|number| i32::try_from(number).is_ok()),
            "TYPE_INT32",
        ),
        Type::Int64 => (
            integer(value).is_some_and(|number| i64::try_from(number).is_ok()),
            "TYPE_INT64",
        ),
        Type::Uint32 => (
            integer(value).is_some_and(|number| u32::try_from(number).is_ok()),
            "TYPE_UINT32",
        ),
        Type::Uint64 => (
            integer(value).is_some_and(|number| u64::try_from(number).is_ok()),
            "TYPE_UINT64",
        ),
        Type::Struct => (
            matches!(value, Json::Object(_)),
            "type.googleapis.com/google.protobuf.Struct",
        ),
        Type::ListValue => (
            matches!(value, Json::Array(_)),
            "type.googleapis.com/google.protobuf.ListValue",
        ),
        Type::Duration => (
            value.as_str().is_some_and(is_duration),
            "type.googleapis.com/google.protobuf.Duration",
        ),
        Type::Timestamp => (
            value
                .as_str()
                .is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
            "type.googleapis.com/google.protobuf.Timestamp",
        ),
        Type::AnyArray => (matches!(value, Json::Array(_)), "repeated field"),
        Type::AnyObject => (matches!(value, Json::Object(_)), "object"),
        Type::OneOf(values) => (
            value
                .as_str()
                .is_some_and(|text| values.iter().any(|known| text.eq_ignore_ascii_case(known))),
            "enum",
        ),
        Type::Message(_) | Type::Enum(_) | Type::Bytes | Type::Value => (true, ""),
    };
    if fits { Ok(()) } else { Err(name) }
}

/// The largest number that a 32-bit float holds.
const FLOAT_LIMIT: f64 = f32::MAX as f64;

fn float(value: &Json) -> Option<f64> {
    match value {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => match text.as_str() {
            "NaN" | "Infinity" | "-Infinity" => text.parse().ok(),
            text => text.parse::<f64>().ok().filter(|number| number.is_finite()),
        },
        _ => None,
    }
}

/// Integers, floats without a fraction, and strings of digits.
fn integer(value: &Json) -> Option<i128> {
    match value {
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => Some(number.into()),
            (None, Some(number), _) => Some(number.into()),
            (None, None, Some(number)) if number.fract() == 0.0 => Some(number as i128),
            _ => None,
        },
        Json::String(text) => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| plain)
        }
        _ => None,
    }
}

/// Standard or URL-safe alphabet, padded or not.
fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    digits.len() % 4 != 1
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte))
}

fn is_duration(text: &str) -> bool {
    let Some(number) = text.strip_suffix('s') else {
        return false;
    };
    let number = number.strip_prefix('-').unwrap_or(number);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !whole.is_empty() && digits(whole) && digits(fraction) && fraction.len() <= 9
}

impl Message {
    fn find(&self, key: &str) -> Option<(usize, &Field)> {
        let number = *self.by_key.get(key)?;
        Some((number, &self.fields[number]))
    }
}
