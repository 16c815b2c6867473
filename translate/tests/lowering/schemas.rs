//! Schemas: what is left of them for the APIs that take no JSON Schema, and that nothing of
//! it is refused there.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use translate::{
    json::Document,
    schema::{self, Subset},
};

pub(super) fn is_standard(schema: &Value) -> bool {
    let text = schema.to_string();
    let document = Document::read(&text).unwrap();
    schema::checked(document.root()).unwrap().is_standard
}

pub(super) fn converted(schema: &Value) -> Value {
    in_subset(schema, Subset::Gemini)
}

fn in_subset(schema: &Value, subset: Subset) -> Value {
    let text = schema.to_string();
    let document = Document::read(&text).unwrap();
    schema::checked(document.root()).unwrap();
    schema::answer(document.root(), subset)
        .map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
}

pub(super) fn arguments(schema: &Value, subset: Subset) -> Value {
    let text = schema.to_string();
    let document = Document::read(&text).unwrap();
    schema::checked(document.root()).unwrap();
    schema::arguments(document.root(), subset, 1)
        .map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
}

#[test]
fn what_clients_really_send() {
    let schema = json!({
        "$schema": "x", "type": "object", "additionalProperties": false,
        "properties": {
            "who": {"$ref": "#/$defs/Name"},
            "when": {"type": "string", "format": "date"},
            "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": null},
            "many": {"type": ["string", "number", "null"]},
            "list": {"type": "array"},
            "level": {"enum": [1, 2]},
            "kind": {"const": "a"},
        },
        "required": ["who", "gone"],
        "$defs": {"Name": {"type": "string", "minLength": 1, "exclusiveMinimum": 3}}
    });
    assert_eq!(
        converted(&schema),
        json!({
            "type": "OBJECT",
            "properties": {
                "who": {"type": "STRING", "minLength": 1},
                "when": {"type": "STRING", "description": "Format: date."},
                "maybe": {"type": "INTEGER", "nullable": true},
                "many": {"anyOf": [{"type": "STRING", "nullable": true}, {"type": "NUMBER", "nullable": true}]},
                "list": {"type": "ARRAY", "items": {"type": "STRING"}},
                "level": {"type": "INTEGER", "minimum": 1, "maximum": 2, "description": "One of: 1, 2."},
                "kind": {"type": "STRING", "enum": ["a"]},
            },
            "required": ["who"],
            "propertyOrdering": ["who", "when", "maybe", "many", "list", "level", "kind"],
        })
    );
}

#[test]
fn a_number_that_nobody_holds_is_refused_and_not_a_schema_lost() {
    for schema in [
        r#"{"properties":{"a":{"type":"number","maximum":1e400}}}"#,
        r#"{"enum":[1e400]}"#,
        r#"{"default":{"a":[1e400]}}"#,
    ] {
        let document = Document::read(schema).unwrap();
        let fault = schema::checked(document.root()).unwrap_err();
        assert!(fault.why.contains("out of range"), "{}", fault.why);
    }
}

#[test]
fn one_name_in_many_alternatives() {
    let one = |nth: usize| {
        json!({"type": "object", "required": ["a"], "properties":
        {"a": {"anyOf": [{"type": "string"}, {"type": "integer"}], "description": format!("{nth}")}}})
    };
    let schema = json!({"anyOf": [one(1), one(2), one(1)]});
    let out = arguments(&schema, Subset::Gemini);
    let told: Vec<&Value> = out["properties"]["a"]["anyOf"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["description"])
        .collect();
    assert_eq!(told, ["1", "1", "2", "2"], "{out}");
    assert_eq!(out["required"], json!(["a"]));
}

#[test]
fn alternatives_at_the_root() {
    let schema = json!({"anyOf": [{"type": "object", "properties": {"a": {"type": "string"}}}, {"type": "array", "items": {"type": "string"}}]});
    assert_eq!(converted(&schema)["anyOf"][1]["type"], "ARRAY");
    assert_eq!(
        converted(&json!({"type": ["object", "array"]}))["anyOf"][0]["type"],
        "OBJECT"
    );
}

#[test]
fn all_of_is_united() {
    let schema = json!({"allOf": [
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"properties": {"b": {"type": "integer"}}, "required": ["b"]}
    ]});
    let out = converted(&schema);
    assert_eq!(out["required"], json!(["a", "b"]));
    assert_eq!(out["properties"]["b"]["type"], "INTEGER");
}

#[test]
fn what_a_schema_cannot_say_is_told_in_words() {
    for (schema, expected) in [
        (
            json!({"enum": ["", "a"]}),
            json!({"type": "STRING", "description": "One of: \"\", \"a\"."}),
        ),
        (
            json!({"enum": [true], "description": "Yes"}),
            json!({"type": "BOOLEAN", "description": "Yes (One of: true.)"}),
        ),
        (
            json!({"const": 7}),
            json!({"type": "INTEGER", "minimum": 7, "maximum": 7, "description": "One of: 7."}),
        ),
        (
            json!({"type": "string", "enum": ["a", 1, null]}),
            json!({"type": "STRING", "enum": ["a"], "nullable": true}),
        ),
        (
            json!({"type": ["string", "integer"], "enum": ["a", 2]}),
            json!({"anyOf": [{"type": "STRING", "enum": ["a"]},
            {"type": "INTEGER", "minimum": 2, "maximum": 2, "description": "One of: 2."}]}),
        ),
        (
            json!({"type": "integer", "format": "int32", "enum": [1.0, "1"]}),
            json!({"type": "INTEGER", "minimum": 1.0, "maximum": 1.0, "description": "One of: 1.0.", "format": "int32"}),
        ),
        (
            json!({"type": "null", "description": "d"}),
            json!({"type": "STRING", "nullable": true, "description": "d (Always null.)"}),
        ),
        (
            json!({"anyOf": [{"type": "null"}, {"const": null}], "title": "T"}),
            json!({"type": "STRING", "nullable": true, "title": "T", "description": "Always null."}),
        ),
        (
            json!({"type": "number", "format": "decimal"}),
            json!({"type": "NUMBER", "description": "Format: decimal."}),
        ),
        (
            json!({"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"}),
            json!({"type": "STRING", "description": "Encoding: \"base64\". Media type: \"image/png\"."}),
        ),
        (
            json!({"anyOf": [{"type": "string"}, {"anyOf": [{"type": "integer", "description": "i"}, {"type": "null"}]}], "description": "d", "title": "T"}),
            json!({"anyOf": [{"type": "STRING", "title": "T", "description": "d"},
                {"type": "INTEGER", "nullable": true, "title": "T", "description": "d (i)"}]}),
        ),
        (
            json!({"enum": ["a", null]}),
            json!({"type": "STRING", "enum": ["a"], "nullable": true}),
        ),
        (
            json!({"enum": ["a", 1, 2.5, null]}),
            json!({"anyOf": [
            {"type": "STRING", "enum": ["a"], "nullable": true},
            {"type": "INTEGER", "minimum": 1, "maximum": 1, "description": "One of: 1.", "nullable": true},
            {"type": "NUMBER", "minimum": 2.5, "maximum": 2.5, "description": "One of: 2.5.", "nullable": true}]}),
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "integer"}, "properties": {"a": true}}),
            json!({"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "description": "Any further names, each with a value of: {\"type\":\"INTEGER\"}."}),
        ),
        (
            json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 2.0, "uniqueItems": true}),
            json!({"type": "ARRAY", "items": {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]}, "minItems": 2,
                "description": "In this order: {\"type\":\"STRING\"}, {\"type\":\"INTEGER\"}. No two alike."}),
        ),
        (
            json!({"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.5}),
            json!({"type": "NUMBER", "description": "exclusiveMinimum: 0. multipleOf: 0.5."}),
        ),
        (
            json!({"type": "string", "default": "x", "format": "uuid"}),
            json!({"type": "STRING", "description": "Format: uuid. Default: \"x\"."}),
        ),
        (
            json!({"type": "dict", "properties": {"a": {"type": "float", "required": true}}}),
            json!({"type": "OBJECT", "properties": {"a": {"type": "NUMBER"}}, "required": ["a"]}),
        ),
    ] {
        assert_eq!(converted(&schema), expected, "{schema}");
    }
}

#[test]
fn anything_holds_what_is_said_around_it() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "anyOf": [true, {"required": ["a"]}]});
    let all = converted(&schema);
    for one in all["anyOf"].as_array().unwrap() {
        assert_eq!(one["properties"]["a"]["type"], "STRING", "{all}");
    }
}

#[test]
fn alternatives_hold_what_is_said_around_them() {
    let schema = json!({"type": "object", "description": "d", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}]});
    let properties = json!({"a": {"type": "STRING"}, "b": {"type": "STRING"}});
    let order = json!(["a", "b"]);
    assert_eq!(
        converted(&schema),
        json!({"anyOf": [
            {"type": "OBJECT", "properties": properties, "required": ["a"], "propertyOrdering": order, "description": "d"},
            {"type": "OBJECT", "properties": properties, "required": ["b"], "propertyOrdering": order, "description": "d"},
        ]})
    );
    // Arguments are one object.
    assert_eq!(
        arguments(&schema, Subset::Gemini),
        json!({"type": "OBJECT", "properties": properties, "description": "d (One of: {a, b} or {a, b}.)"})
    );
}

#[test]
fn claude_gets_no_limits_and_always_a_property() {
    let schema = json!({"type": "object", "properties": {
        "a": {"type": "string", "minLength": 1, "pattern": "x", "format": "date-time"},
        "b": {"type": "object", "properties": {}},
        "c": {"type": "array", "items": {"type": "integer", "minimum": 1}, "maxItems": 3}}});
    let placeholder = json!({"type": "BOOLEAN", "description": "Always true."});
    assert_eq!(
        arguments(&schema, Subset::Claude),
        json!({"type": "OBJECT", "properties": {
            "a": {"type": "STRING", "description": "minLength: 1. Pattern: x Format: date-time."},
            "b": {"type": "OBJECT", "properties": {"_placeholder": placeholder}, "required": ["_placeholder"]},
            "c": {"type": "ARRAY", "items": {"type": "INTEGER", "description": "minimum: 1."}, "description": "maxItems: 3."},
            "_placeholder": placeholder}, "required": ["_placeholder"]})
    );
    assert!(schema::nothing(Subset::Claude).is_some() && schema::nothing(Subset::Gemini).is_none());
}

/// What Gemini's `Schema` has: <https://ai.google.dev/api/caching#Schema>.
fn is_gemini(schema: &Value) -> bool {
    let Some(object) = schema.as_object() else {
        return false;
    };
    let known = [
        "type",
        "format",
        "title",
        "description",
        "nullable",
        "enum",
        "items",
        "maxItems",
        "minItems",
        "properties",
        "required",
        "minProperties",
        "maxProperties",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "pattern",
        "anyOf",
        "propertyOrdering",
    ];
    let properties = object.get("properties").and_then(Value::as_object);
    let named = |key: &str| {
        object.get(key).is_none_or(|names| {
            names.as_array().is_some_and(|names| {
                names.iter().all(|name| {
                    properties
                        .is_some_and(|all| all.contains_key(name.as_str().unwrap_or_default()))
                })
            })
        })
    };
    let texts = |values: &Value| {
        values.as_array().is_some_and(|all| {
            !all.is_empty()
                && all
                    .iter()
                    .all(|v| v.as_str().is_some_and(|v| !v.is_empty()))
        })
    };
    // Vertex AI takes nothing beside `anyOf`.
    (!object.contains_key("anyOf") || object.len() == 1)
        && object.keys().all(|key| known.contains(&key.as_str()))
        && (object.contains_key("type") != object.contains_key("anyOf"))
        && object.get("type").is_none_or(|kind| {
            // Vertex AI has no NULL.
            ["OBJECT", "ARRAY", "STRING", "INTEGER", "NUMBER", "BOOLEAN"]
                .contains(&kind.as_str().unwrap_or_default())
        })
        && (object.get("type") == Some(&json!("ARRAY"))) == object.contains_key("items")
        && (properties.is_none() || object["type"] == "OBJECT")
        && object
            .get("enum")
            .is_none_or(|values| object["type"] == "STRING" && texts(values))
        && named("required")
        && named("propertyOrdering")
        && ["minItems", "maxItems", "minLength", "maxLength"]
            .iter()
            .all(|key| object.get(*key).is_none_or(Value::is_u64))
        && object.get("items").is_none_or(is_gemini)
        && properties.is_none_or(|all| !all.is_empty() && all.values().all(is_gemini))
        && object.get("anyOf").is_none_or(|all| {
            all.as_array()
                .is_some_and(|all| !all.is_empty() && all.iter().all(is_gemini))
        })
}

fn any_schema() -> impl Strategy<Value = Value> {
    let kind = prop_oneof![
        Just(json!("object")),
        Just(json!("array")),
        Just(json!("string")),
        Just(json!("integer")),
        Just(json!("number")),
        Just(json!("boolean")),
        Just(json!("null")),
        Just(json!(["string", "null"])),
        Just(json!(["integer", "array", "object"])),
        Just(json!("dict")),
    ];
    let values = prop_oneof![
        Just(json!(["a", "b"])),
        Just(json!([""])),
        Just(json!([1, 2])),
        Just(json!([true])),
        Just(json!([null])),
        Just(json!(["a", 1, null, {"x": []}])),
    ];
    let leaf = prop_oneof![
        Just(json!(true)),
        Just(json!({})),
        Just(json!({"$ref": "#"})),
        Just(json!({"$ref": "#/$defs/d", "description": "sibling"})),
        (proptest::option::of(kind.clone()), proptest::option::of(values.clone())).prop_map(|(kind, values)| {
            let mut node = Map::new();
            if let Some(kind) = kind { node.insert("type".into(), kind); }
            if let Some(values) = values { node.insert("enum".into(), values); }
            Value::Object(node)
        }),
        values.prop_map(|values| json!({"const": values[0]})),
        (0u8..9, 0.0f64..5.0).prop_map(|(n, x)| json!({"type": "string", "minLength": n, "maxLength": x, "format": "date-time", "pattern": "a", "default": "x"})),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let many = proptest::collection::vec(inner.clone(), 1..4);
        let named = proptest::collection::btree_map("[a-c]{1,2}", inner.clone(), 0..4);
        prop_oneof![
            (named.clone(), proptest::collection::vec("[a-c]", 0..3), any::<bool>()).prop_map(|(properties, required, open)| json!({"type": "object", "properties": properties, "required": required, "additionalProperties": open})),
            many.clone().prop_map(|all| json!({"anyOf": all})),
            (many.clone(), named).prop_map(|(all, properties)| json!({"oneOf": all, "properties": properties, "nullable": true})),
            many.clone().prop_map(|all| json!({"allOf": all})),
            (inner, 0u8..3).prop_map(|(items, n)| json!({"type": "array", "items": items, "minItems": n})),
            many.prop_map(|all| json!({"prefixItems": all, "not": {"type": "null"}})),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn whatever_is_a_schema_becomes_one_of_gemini(schema in any_schema(), definition in any_schema()) {
        let mut schema = schema;
        if let Value::Object(object) = &mut schema {
            object.insert("$defs".into(), json!({"d": definition}));
        }
        for subset in [Subset::Gemini, Subset::Claude] {
            let answer = in_subset(&schema, subset);
            prop_assert!(answer.is_null() || is_gemini(&answer), "{} became {}", schema, answer);
            let arguments = arguments(&schema, subset);
            prop_assert!(arguments.is_null() || (is_gemini(&arguments) && arguments["type"] == "OBJECT"), "{} became {}", schema, arguments);
        }
    }

    #[test]
    fn whatever_is_json_is_looked_over_without_a_panic(text in "[\\[\\]{}\",:a-z0-9$ ]{0,80}") {
        if let Ok(document) = Document::read(&text) {
            let _ = schema::checked(document.root());
        }
    }
}
