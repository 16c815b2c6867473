//! A value that fits a schema: Gemini's own `Schema` or JSON Schema, whichever it is given.

use std::cell::Cell;
use std::collections::HashSet;

use super::ask::Ask;
use super::subject::WORD_CHARS;
use crate::json::{Fields, Json, object};

/// Below this depth only what is required is made, so that a schema that refers to itself comes to an end.
const FULL_DEPTH: usize = 3;
/// Below this depth even that stops.
const DEPTH_LIMIT: usize = 24;

/// How much one request may have made, in about as many bytes: schemas that refer to themselves or nest their limits
/// make any amount of a few bytes.
const WORK_LIMIT: usize = 1 << 20;
/// What a step costs of it, besides what it copies or looks through.
const STEP: usize = 16;

/// What a value is about, where its schema leaves the choice.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Subject {
    /// For strings; empty where nothing was said.
    pub(crate) word: String,
    pub(crate) number: Option<f64>,
}

/// Makes a value for `schema`; strings and numbers without any rule of their own are `subject`'s.
pub(crate) fn instance(schema: &Json, subject: &Subject) -> Json {
    let left = Cell::new(WORK_LIMIT);
    make(schema, subject, &left)
}

/// Whether values can be made for all schemas of a request.
pub(crate) fn is_servable(ask: &Ask<'_>) -> bool {
    let left = Cell::new(WORK_LIMIT);
    let subject = Subject::default();
    let of_tools = ask.tools().into_iter().filter_map(|tool| tool.schema);
    of_tools.chain(ask.response_schema()).all(|schema| {
        make(schema, &subject, &left);
        left.get() > 0
    })
}

fn make(schema: &Json, subject: &Subject, left: &Cell<usize>) -> Json {
    Maker {
        root: schema,
        word: &subject.word,
        number: subject.number,
        left,
    }
    .make(schema, "value", 0)
}

struct Maker<'a> {
    root: &'a Json,
    word: &'a str,
    number: Option<f64>,
    /// What is left of the work.
    left: &'a Cell<usize>,
}

impl<'a> Maker<'a> {
    /// Whether so much more may be done; once it may not, nothing may.
    fn spend(&self, work: usize) -> bool {
        self.left.set(self.left.get().saturating_sub(work));
        self.left.get() > 0
    }

    /// A copy of what a schema holds.
    fn copy(&self, value: &Json) -> Json {
        if self.weigh(value) {
            value.clone()
        } else {
            Json::Null
        }
    }

    fn weigh(&self, value: &Json) -> bool {
        self.spend(STEP)
            && match value {
                Json::String(text) => self.spend(text.len()),
                Json::Array(items) => items.iter().all(|item| self.weigh(item)),
                Json::Object(fields) => fields
                    .iter()
                    .all(|(name, value)| self.spend(name.len()) && self.weigh(value)),
                Json::Null | Json::Bool(_) | Json::Number(_) => true,
            }
    }

    fn make(&self, schema: &'a Json, name: &str, depth: usize) -> Json {
        if depth > DEPTH_LIMIT || !self.spend(STEP + looked_through(schema)) {
            return Json::Null;
        }
        if let Some(reference) = schema
            .get("$ref")
            .or_else(|| schema.get("ref"))
            .and_then(Json::as_str)
        {
            return self
                .resolve(reference)
                .map_or(Json::Null, |target| self.make(target, name, depth + 1));
        }
        // Null is as good a constant as any.
        if let Some(constant) = schema.as_object().and_then(|fields| fields.get("const")) {
            return self.copy(constant);
        }
        if let Some(first) = schema
            .get("enum")
            .map(Json::items)
            .unwrap_or_default()
            .first()
        {
            return typed(self.copy(first), kind(schema));
        }
        let choices = ["anyOf", "any_of", "oneOf"]
            .iter()
            .find_map(|field| schema.get(field))
            .map(Json::items);
        let choices = choices.unwrap_or_default();
        let more_than_null = choices.iter().find(|choice| kind(choice) != Kind::Null);
        if let Some(choice) = more_than_null.or(choices.first()) {
            return self.chosen(schema, choice, name, depth);
        }
        if let Some(parts) = schema
            .get("allOf")
            .map(Json::items)
            .filter(|parts| !parts.is_empty())
        {
            return self.all(schema, parts, name, depth);
        }
        match kind(schema) {
            Kind::Object => self.object(schema, depth),
            Kind::Array => self.array(schema, name, depth),
            Kind::String => self.string(schema, name).into(),
            Kind::Integer => whole(number(schema, true, self.number)),
            Kind::Number => Json::from(number(schema, false, self.number)),
            Kind::Boolean => true.into(),
            Kind::Null => Json::Null,
        }
    }

    /// One of several schemas, together with what stands beside the choice.
    fn chosen(&self, schema: &'a Json, choice: &'a Json, name: &str, depth: usize) -> Json {
        let value = self.make(choice, name, depth + 1);
        match (schema.get("properties"), value) {
            (Some(_), Json::Object(chosen)) => {
                let mut beside = self.object(schema, depth);
                if let Json::Object(fields) = &mut beside {
                    fields.extend(chosen);
                }
                beside
            }
            (_, value) => value,
        }
    }

    fn all(&self, schema: &'a Json, parts: &'a [Json], name: &str, depth: usize) -> Json {
        let mut fields = Fields::new();
        let mut other = None;
        for part in parts {
            match self.make(part, name, depth + 1) {
                Json::Object(more) => fields.extend(more),
                value => other = other.or(Some(value)),
            }
        }
        if let (Some(_), Json::Object(own)) = (schema.get("properties"), self.object(schema, depth))
        {
            fields.extend(own);
        }
        match other {
            Some(value) if fields.is_empty() => value,
            _ => fields.into(),
        }
    }

    fn object(&self, schema: &'a Json, depth: usize) -> Json {
        let required: Vec<&str> = schema
            .get("required")
            .map(Json::items)
            .unwrap_or_default()
            .iter()
            .filter_map(Json::as_str)
            .collect();
        let known: HashSet<&str> = required.iter().copied().collect();
        let mut made = Fields::new();
        if let Some(properties) = schema.get("properties").and_then(Json::as_object) {
            for (name, property) in properties {
                let wanted =
                    known.contains(name.as_str()) || (required.is_empty() && depth < FULL_DEPTH);
                if wanted {
                    if !self.spend(name.len()) {
                        break;
                    }
                    made.insert(name.clone(), self.make(property, name, depth + 1));
                }
            }
        }
        for name in required {
            if !made.contains_key(name) && self.spend(name.len() + WORD_CHARS) {
                made.insert(name.to_owned(), self.word.into());
            }
        }
        made.into()
    }

    fn array(&self, schema: &'a Json, name: &str, depth: usize) -> Json {
        let limit = |camel, snake| schema.either(camel, snake).and_then(Json::as_u64);
        let fixed = schema
            .either("prefixItems", "prefix_items")
            .map(Json::items)
            .unwrap_or_default();
        let mut made: Vec<Json> = fixed
            .iter()
            .map(|item| self.make(item, name, depth + 1))
            .collect();
        let least = limit("minItems", "min_items").unwrap_or(u64::from(depth < FULL_DEPTH));
        let least = least
            .min(limit("maxItems", "max_items").unwrap_or(u64::MAX))
            .min(100) as usize;
        while made.len() < least && self.spend(STEP) {
            let item = schema
                .get("items")
                .map_or_else(|| self.word.into(), |item| self.make(item, name, depth + 1));
            made.push(distinct(item, made.len(), schema));
        }
        made.into()
    }

    fn string(&self, schema: &Json, name: &str) -> String {
        let made = match schema.get("format").and_then(Json::as_str) {
            Some("date-time") => "2026-01-31T12:00:00Z",
            Some("date") => "2026-01-31",
            Some("time") => "12:00:00Z",
            Some("email") => "somebody@example.com",
            Some("uri" | "url") => "https://example.com/",
            Some("uuid") => "00000000-0000-4000-8000-000000000000",
            Some("ipv4") => "192.0.2.1",
            _ if self.word.is_empty() => name,
            _ => self.word,
        };
        let limit = |camel, snake| schema.either(camel, snake).and_then(Json::as_u64);
        let most = limit("maxLength", "max_length").map_or(usize::MAX, |most| most as usize);
        let mut made: String = made.chars().take(most).collect();
        let least = limit("minLength", "min_length").unwrap_or(0).min(10_000) as usize;
        // Whatever the word is, so that what is servable once is servable always.
        if !self.spend(least.max(WORD_CHARS).max(name.len())) {
            return String::new();
        }
        made.extend(std::iter::repeat_n(
            'x',
            least.saturating_sub(made.chars().count()),
        ));
        made
    }

    fn resolve(&self, reference: &str) -> Option<&'a Json> {
        let Some(path) = reference.strip_prefix('#') else {
            // Gemini's own schema names a definition without a path.
            return self
                .root
                .get("defs")
                .or_else(|| self.root.get("$defs"))?
                .get(reference);
        };
        path.split('/').skip(1).try_fold(self.root, |at, step| {
            let step = step.replace("~1", "/").replace("~0", "~");
            match at {
                Json::Array(items) => items.get(step.parse::<usize>().ok()?),
                other => other.get(&step),
            }
        })
    }
}

/// How much of a schema is looked through to make one value, besides what is made of its parts.
fn looked_through(schema: &Json) -> usize {
    let lists = ["type", "required", "anyOf", "any_of", "oneOf", "allOf"];
    let listed: usize = lists
        .iter()
        .filter_map(|field| schema.get(field))
        .map(|list| list.items().len())
        .sum();
    let properties = schema.get("properties").and_then(Json::as_object);
    let reference = schema.get("$ref").or_else(|| schema.get("ref"));
    let reference = reference.and_then(Json::as_str).map_or(0, str::len);
    listed + properties.map_or(0, Fields::len) + reference
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    Null,
}

fn kind(schema: &Json) -> Kind {
    let named = match schema.get("type") {
        Some(Json::String(name)) => Some(name.as_str()),
        Some(Json::Array(names)) => {
            // There are seven types.
            let names = names.iter().take(7).filter_map(Json::as_str);
            names.min_by_key(|name| name.eq_ignore_ascii_case("null"))
        }
        _ => None,
    };
    match named.unwrap_or_default().to_ascii_lowercase().as_str() {
        "object" => Kind::Object,
        "array" => Kind::Array,
        "string" => Kind::String,
        "integer" => Kind::Integer,
        "number" => Kind::Number,
        "boolean" => Kind::Boolean,
        "null" => Kind::Null,
        _ if schema.get("properties").is_some() => Kind::Object,
        _ if schema.get("items").is_some() || schema.get("prefixItems").is_some() => Kind::Array,
        _ if schema.as_object().is_some_and(Fields::is_empty) => Kind::Object,
        _ => Kind::String,
    }
}

/// Gemini's enums are strings whatever the type is.
fn typed(value: Json, kind: Kind) -> Json {
    match (kind, value.as_f64()) {
        (Kind::Integer, Some(number)) => whole(number),
        (Kind::Number, Some(number)) => Json::from(number),
        _ => value,
    }
}

fn whole(number: f64) -> Json {
    Json::from(number as i64)
}

fn number(schema: &Json, whole: bool, said: Option<f64>) -> f64 {
    let bound = |name| schema.get(name).and_then(Json::as_f64);
    let step = bound("multipleOf").filter(|step| *step > 0.0);
    let gap = if whole { 1.0 } else { step.unwrap_or(0.5) };
    let low = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|low| low + gap));
    let high = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|high| high - gap));
    let wished = said.unwrap_or(if whole { 7.0 } else { 7.5 });
    let made = wished
        .max(low.unwrap_or(f64::MIN))
        .min(high.unwrap_or(f64::MAX));
    let made = match step {
        Some(step) => {
            let below = (made / step).floor() * step;
            if low.is_some_and(|low| below < low) {
                below + step
            } else {
                below
            }
        }
        None => made,
    };
    if whole {
        made.ceil().min(high.map_or(f64::MAX, f64::floor))
    } else {
        made
    }
}

fn distinct(item: Json, nth: usize, schema: &Json) -> Json {
    let unique = schema.get("uniqueItems").and_then(Json::as_bool) == Some(true);
    if !unique || nth == 0 {
        return item;
    }
    let choices = schema
        .get("items")
        .and_then(|items| items.get("enum"))
        .map(Json::items)
        .unwrap_or_default();
    if let Some(choice) = choices.get(nth) {
        return choice.clone();
    }
    match item {
        Json::String(text) => format!("{text} {}", nth + 1).into(),
        Json::Number(number) => Json::from(number.as_f64().unwrap_or(0.0) as i64 + nth as i64),
        other => other,
    }
}

/// What bare JSON mode answers: `text` under each of `keys`, or under one of its own choice.
pub(crate) fn free_form(text: &str, keys: &[&str]) -> Json {
    if keys.is_empty() {
        return object! { "answer": text };
    }
    let fields: Fields = keys
        .iter()
        .map(|key| ((*key).to_owned(), text.into()))
        .collect();
    fields.into()
}
