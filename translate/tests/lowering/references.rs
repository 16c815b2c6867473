//! References in schemas: where they go out as they came, what is left of them elsewhere, and
//! that none of them makes much of little.

use serde_json::{Map, Value, json};
use translate::{
    json::Document,
    schema::{self, Subset},
};

use crate::schemas::{arguments, converted, is_standard};

#[test]
fn recursion_ends() {
    let schema = json!({"$ref": "#/$defs/Node", "$defs": {"Node": {"type": "object", "properties": {
        "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}, "self": {"$ref": "#/$defs/Node"}}}}});
    let text = converted(&schema).to_string();
    assert!(
        text.len() < 20_000 && !text.contains("$ref"),
        "{}",
        text.len()
    );
    let circle = json!({"$ref": "#"});
    assert_eq!(arguments(&circle, Subset::Gemini), Value::Null);
}

#[test]
fn types_that_hold_themselves_go_out_as_they_came_where_google_follows_them() {
    let standard = |property: Value, required: Value| {
        let node =
            json!({"type": "object", "properties": {"next": property}, "required": required});
        let schema = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/N"}}, "required": ["a"], "$defs": {"N": node}});
        is_standard(&schema)
    };
    let own = json!({"$ref": "#/$defs/N"});
    for (property, is_followed) in [
        (own.clone(), false),
        (json!({"anyOf": [{"type": "string"}, own]}), false),
        (json!({"allOf": [own]}), false),
        (json!({"type": "array", "items": own, "minItems": 1}), false),
        (json!({"type": "array", "items": own}), true),
        (json!({"anyOf": [own, {"type": "null"}]}), true),
    ] {
        assert_eq!(
            standard(property.clone(), json!(["next"])),
            is_followed,
            "{property}"
        );
        assert!(standard(property, json!([])));
    }
    // Round two corners.
    let through = |required: Value| {
        let holds = |other: &str| json!({"type": "object", "properties": {"x": {"$ref": other}}, "required": required});
        let schema = json!({"$ref": "#/$defs/A", "$defs": {"A": holds("#/$defs/B"), "B": holds("#/$defs/A")}});
        is_standard(&schema)
    };
    assert!(through(json!([])) && !through(json!(["x"])));
    // A long way without a loop.
    let chain: Map<String, Value> = (0..20_000)
        .map(|nth| {
            (
                format!("d{nth}"),
                json!({"allOf": [{"$ref": format!("#/$defs/d{}", nth + 1)}]}),
            )
        })
        .chain([("d20000".to_owned(), json!({"type": "string"}))])
        .collect();
    let schema = json!({"$ref": "#/$defs/d0", "$defs": chain});
    assert!(is_standard(&schema));
}

#[test]
fn what_stands_beside_a_reference_holds_as_well() {
    let schema = json!({"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"],
        "oneOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B", "description": "b"}],
        "$defs": {"A": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
                  "B": {"type": "object", "properties": {"b": {"type": "string"}}, "description": "B"}}});
    let with = |name: &str, required: Value| {
        json!({"type": "OBJECT", "properties": {"id": {"type": "INTEGER"}, name: {"type": "STRING"}},
        "required": required, "propertyOrdering": ["id", name]})
    };
    let mut second = with("b", json!(["id"]));
    second["description"] = "b".into();
    assert_eq!(
        converted(&schema),
        json!({"anyOf": [with("a", json!(["id", "a"])), second]})
    );
    // References to references, and two choices that both have to be made.
    let schema = json!({"allOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}], "$defs": {
        "A": {"$ref": "#/$defs/C"}, "B": {"$ref": "#/$defs/D"},
        "C": {"properties": {"c": {"type": "string"}}, "anyOf": [{"required": ["c"]}, {"title": "1"}]},
        "D": {"properties": {"d": {"type": "string"}}, "anyOf": [{"required": ["d"]}, {"title": "2"}]}}});
    let all = converted(&schema)["anyOf"].as_array().unwrap().clone();
    let required: Vec<&Value> = all.iter().map(|one| &one["required"]).collect();
    assert_eq!(
        required,
        [
            &json!(["d", "c"]),
            &json!(["c"]),
            &json!(["d"]),
            &Value::Null
        ]
    );
    assert!(
        all.iter()
            .all(|one| one["properties"].as_object().unwrap().len() == 2)
    );
}

#[test]
fn a_map_of_a_type_tells_the_type() {
    let schema = json!({"type": "object", "additionalProperties": {"$ref": "#/$defs/P"}, "patternProperties": {"^x": {"$ref": "#/$defs/P"}},
        "$defs": {"P": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}}});
    let told = r#"{"type":"OBJECT","properties":{"x":{"type":"NUMBER"}},"required":["x"]}"#;
    assert_eq!(
        converted(
            &json!({"type": "object", "properties": {"m": schema}, "$defs": schema["$defs"]})
        )["properties"]["m"],
        json!({"type": "OBJECT", "description": format!("Any further names, each with a value of: {told}. Further names by pattern: ^x: {told}.")})
    );
    let open = json!({"type": "object", "properties": {"m": {"type": "object", "additionalProperties": true, "minProperties": 1}}});
    assert_eq!(
        converted(&open)["properties"]["m"],
        json!({"type": "OBJECT", "description": "Any further names and values.", "minProperties": 1})
    );
}

#[test]
fn a_few_bytes_stay_a_few_bytes() {
    let wide: Map<String, Value> = (0..30)
        .map(|n| (format!("p{n}"), json!({"$ref": "#"})))
        .collect();
    let mut nested = json!({"type": ["object", "object"]});
    for _ in 0..40 {
        nested = json!({"type": ["object", "object"], "properties": {"a": nested}});
    }
    for schema in [
        json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        json!({"type": "object", "properties": wide}),
        nested,
        json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}, {"type": "null"}]}),
    ] {
        let text = converted(&schema).to_string();
        assert!(text.len() < 4_000_000, "{}", text.len());
    }
}

#[test]
fn a_long_text_is_not_repeated_without_end() {
    // Few nodes, each of them long: 2,000 references to one text.
    let all: Map<String, Value> = (0..2_000)
        .map(|nth| (format!("p{nth}"), json!({"$ref": "#/$defs/long"})))
        .collect();
    let long = "long ".repeat(20_000);
    let schema = json!({
        "type": "object",
        "properties": all,
        "$defs": {"long": {"type": "string", "description": long}},
    });
    let text = schema.to_string();
    let document = Document::read(&text).unwrap();
    schema::checked(document.root()).unwrap();
    let out = schema::arguments(document.root(), Subset::Gemini, 1).unwrap();
    assert!(out.len() < 10 * text.len() + (512 << 10), "{}", out.len());
    let out: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(out["properties"]["p0"]["description"], long.as_str());
    assert_eq!(out["properties"].as_object().unwrap().len(), 2_000);
}

#[test]
fn where_references_stand_takes_no_more_room_than_the_schema() {
    // A long name above many references, each of which would have it in its path.
    let refer: Map<String, Value> = (0..20_000)
        .map(|nth| (format!("p{nth}"), json!({"$ref": "#"})))
        .collect();
    let schema = json!({"properties": {"n".repeat(1 << 20): {"properties": refer}}});
    assert!(is_standard(&schema));
}

#[test]
fn references_are_followed_by_every_name() {
    for (reference, extra) in [
        ("#/$defs/a%20b", json!({})),
        ("#named", json!({"$anchor": "named"})),
        ("urn:x", json!({"$id": "urn:x"})),
    ] {
        let mut target = json!({"type": "integer"});
        target
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        let schema = json!({"type": "object", "properties": {"n": {"$ref": reference, "description": "d"}}, "$defs": {"a b": target}});
        assert_eq!(
            converted(&schema)["properties"]["n"],
            json!({"type": "INTEGER", "description": "d"}),
            "{reference}"
        );
    }
}

#[test]
fn a_discriminated_union_keeps_its_kinds() {
    let schema = json!({"type": "object", "properties": {"pet": {"oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
        "discriminator": {"propertyName": "kind", "mapping": {"cat": "#/$defs/Cat"}}}}, "required": ["pet"],
        "$defs": {"Cat": {"type": "object", "properties": {"kind": {"const": "cat", "type": "string"}}, "required": ["kind"]},
                  "Dog": {"type": "object", "properties": {"kind": {"const": "dog", "type": "string"}}, "required": ["kind"]}}});
    let kind = |kind: &str| json!({"type": "OBJECT", "properties": {"kind": {"type": "STRING", "enum": [kind]}}, "required": ["kind"]});
    assert_eq!(
        converted(&schema)["properties"]["pet"],
        json!({"anyOf": [kind("cat"), kind("dog")]})
    );
}

#[test]
fn many_functions_share_what_references_may_make() {
    let names = ["a", "b", "c", "d", "e"];
    let own: Map<String, Value> = names
        .map(|name| (name.to_owned(), json!({"$ref": "#"})))
        .into_iter()
        .collect();
    let schema = json!({"type": "object", "properties": own, "required": ["a"]}).to_string();
    let schema = Document::read(&schema).unwrap();
    schema::checked(schema.root()).unwrap();
    let length = |functions: usize| {
        let out = schema::arguments(schema.root(), Subset::Gemini, functions);
        out.unwrap().len()
    };
    let (alone, all) = (length(1), 512 * length(512));
    assert!(all < 100 * alone, "{alone} alone, {all} together");
    // What a schema says itself is said whole.
    let wide: Map<String, Value> = (0..2_000)
        .map(|nth| (format!("p{nth}"), json!({"type": "integer"})))
        .collect();
    let wide = json!({"type": "object", "properties": wide}).to_string();
    let wide = Document::read(&wide).unwrap();
    let out = schema::arguments(wide.root(), Subset::Gemini, 512).unwrap();
    assert_eq!(out.matches("INTEGER").count(), 2_000);
}

#[test]
fn however_many_parts_hold_together_each_is_looked_at_once() {
    let part = |nth: usize| {
        let names: Vec<String> = (0..10).map(|of| format!("p{nth}_{of}")).collect();
        let all: Map<String, Value> = names
            .iter()
            .map(|name| (name.clone(), json!({"type": "string"})))
            .collect();
        json!({"properties": all, "required": names})
    };
    let parts: Vec<Value> = (0..5_000).chain([0]).map(part).collect();
    let out = converted(&json!({"type": "object", "allOf": parts}));
    let required = out["required"].as_array().unwrap();
    assert_eq!(required.len(), 50_000);
}
