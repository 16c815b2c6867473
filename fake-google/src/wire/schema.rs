//! The tables of messages and their fields, read from the text files beside this one.

use std::collections::HashMap;

/// Messages and enums by name.
#[derive(Debug, Default)]
pub(crate) struct Table {
    messages: HashMap<String, Message>,
    enums: HashMap<String, HashMap<String, i64>>,
}

/// A message's fields.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) fields: Vec<Field>,
    /// Both spellings of each field.
    pub(crate) by_key: HashMap<String, usize>,
}

/// A field.
#[derive(Debug)]
pub(crate) struct Field {
    /// In its proto spelling, which error texts use.
    pub(crate) name: String,
    pub(crate) of: Type,
    pub(crate) repeated: bool,
    pub(crate) map: bool,
    pub(crate) oneof: Option<String>,
    /// Newer than the definitions; its presence is checked loosely.
    pub(crate) later: bool,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    String,
    Bytes,
    Bool,
    Float,
    Double,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Struct,
    Value,
    ListValue,
    Duration,
    Timestamp,
    AnyArray,
    AnyObject,
    OneOf(Vec<String>),
    Enum(String),
    Message(String),
}

impl Table {
    /// Reads tables; later ones may extend messages of earlier ones.
    pub(crate) fn parse(texts: &[&str]) -> Self {
        let mut table = Self::default();
        for text in texts {
            let mut at = ("", "");
            for line in text
                .lines()
                .filter(|line| !line.starts_with('#') && !line.is_empty())
            {
                let mut words = line.split_whitespace();
                let (Some(first), Some(second)) = (words.next(), words.next()) else {
                    continue;
                };
                if !line.starts_with(' ') {
                    at = (first, second);
                    continue;
                }
                match at {
                    ("enum", name) => {
                        let values = table.enums.entry(name.to_owned()).or_default();
                        values.insert(first.to_owned(), second.parse().unwrap_or(0));
                    }
                    (_, name) => {
                        let oneof = words.find_map(|word| word.strip_prefix("oneof="));
                        let field = Field::parse(first, second, oneof);
                        table
                            .messages
                            .entry(name.to_owned())
                            .or_default()
                            .add(field);
                    }
                }
            }
            // A message without fields is a message all the same.
            for name in text
                .lines()
                .filter_map(|line| line.strip_prefix("message "))
            {
                table.messages.entry(name.to_owned()).or_default();
            }
        }
        table
    }

    pub(crate) fn message(&self, name: &str) -> Option<&Message> {
        self.messages.get(name)
    }

    /// The values of an enum by name; none for an unknown one.
    pub(crate) fn enumeration(&self, name: &str) -> &HashMap<String, i64> {
        static NONE: std::sync::LazyLock<HashMap<String, i64>> =
            std::sync::LazyLock::new(HashMap::new);
        self.enums.get(name).unwrap_or(&NONE)
    }
}

impl Message {
    fn add(&mut self, field: Field) {
        let number = self.fields.len();
        if !field.later {
            self.by_key.insert(camel(&field.name), number);
        }
        self.by_key.insert(field.name.clone(), number);
        self.fields.push(field);
    }
}

impl Field {
    fn parse(name: &str, kind: &str, oneof: Option<&str>) -> Self {
        let (later, kind) = kind
            .strip_prefix("later:")
            .map_or((false, kind), |kind| (true, kind));
        let (map, kind) = kind
            .strip_prefix("map:")
            .map_or((false, kind), |kind| (true, kind));
        let (repeated, kind) = kind
            .strip_suffix("[]")
            .map_or((false, kind), |kind| (true, kind));
        Self {
            name: name.to_owned(),
            of: Type::parse(kind),
            repeated,
            map,
            oneof: oneof.map(str::to_owned),
            later,
        }
    }
}

impl Type {
    fn parse(name: &str) -> Self {
        match name {
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "bool" => Self::Bool,
            "float" => Self::Float,
            "double" => Self::Double,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "uint32" => Self::Uint32,
            "uint64" => Self::Uint64,
            "Struct" => Self::Struct,
            "Value" => Self::Value,
            "ListValue" => Self::ListValue,
            "Duration" => Self::Duration,
            "Timestamp" => Self::Timestamp,
            "array" => Self::AnyArray,
            "object" => Self::AnyObject,
            other => match (other.strip_prefix("enum:"), other.strip_prefix("one-of:")) {
                (Some(name), _) => Self::Enum(name.to_owned()),
                (None, Some(values)) => Self::OneOf(values.split('|').map(str::to_owned).collect()),
                (None, None) => Self::Message(other.to_owned()),
            },
        }
    }
}

fn camel(name: &str) -> String {
    let mut up = false;
    let mut camel = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter == '_' {
            up = true;
        } else if up {
            camel.push(letter.to_ascii_uppercase());
            up = false;
        } else {
            camel.push(letter);
        }
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::{Table, Type};

    #[test]
    fn every_name_in_the_tables_leads_somewhere() {
        let vertex = include_str!("vertex.txt");
        for texts in [
            &[include_str!("gemini.txt")][..],
            &[vertex, include_str!("code_assist.txt")],
        ] {
            let table = Table::parse(texts);
            for field in table.messages.values().flat_map(|message| &message.fields) {
                match &field.of {
                    Type::Message(name) => assert!(table.messages.contains_key(name), "{name}"),
                    Type::Enum(name) => assert!(table.enums.contains_key(name), "{name}"),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn fields_go_by_both_spellings() {
        let table = Table::parse(&[include_str!("vertex.txt"), include_str!("code_assist.txt")]);
        let message = table.message("GenerateContentRequest").unwrap();
        assert_eq!(
            message.by_key["systemInstruction"],
            message.by_key["system_instruction"]
        );
        assert!(message.by_key.contains_key("sessionId"));
    }
}
