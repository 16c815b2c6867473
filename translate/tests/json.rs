//! JSON is what serde_json says that it is: held on JSON of every kind, on what is nearly
//! JSON, and on what nobody sane sends.

#![expect(clippy::panic, reason = "tests")]

#[path = "../../fuzz/laws/read_json.rs"]
mod law;

use std::{fs, path::Path};

use proptest::prelude::*;
use translate::json::{Document, Kind};

#[test]
fn the_law_of_the_fuzz_target_holds_on_its_corpus() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for corpus in ["read_json", "lower_request"] {
        for entry in fs::read_dir(root.join("../fuzz/corpus").join(corpus)).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            law::check(&text);
            // Broken off anywhere.
            for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
                law::check(&text[..end]);
            }
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn what_json_is_and_what_it_is_not() {
    for text in [
        "",
        " ",
        "nul",
        "nulll",
        "true false",
        "tru",
        "+1",
        "-",
        "-a",
        "01",
        "-01",
        "1.",
        ".5",
        "1.e5",
        "1e",
        "1e+",
        "1E-07",
        "-0",
        "0e0",
        "1_0",
        "0x1",
        "NaN",
        "Infinity",
        "1,",
        "[,]",
        "[1,]",
        "[1 2]",
        "[1",
        "]",
        "{",
        "}",
        "{}",
        "[]",
        "[[]",
        "[}",
        "{]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":1 \"b\":2}",
        "{a:1}",
        "{1:1}",
        "{\"a\" : 1 }",
        "'a'",
        "\"",
        "\"a",
        "\"\\",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\uD800\"",
        "\"\\u00e9\"",
        "\"\t\"",
        "\"\u{7f}\"",
        "\"\u{0}\"",
        "\u{feff}1",
        "\u{a0}1",
        "1\u{c}",
        "\r\n\t 1 \r\n\t",
        "/**/1",
        "1//",
        "{\"\\ud800\":1}",
        "{\"a\":null,\"a\":1,\"\\u0061\":2}",
        "[\"\\\\\",\"\\\\\\\"\"]",
        "\"\\/\"",
        "-1e400",
        "123456789012345678901234567890",
    ] {
        law::check(text);
    }
}

#[test]
fn depth_takes_no_stack() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":[", "]}]")] {
        for depth in [1, 127, 128, 129, 100_000] {
            let whole = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let document = Document::read(&whole).unwrap();
            assert_eq!(document.root().get(), whole);
            assert!(document.root().depth() >= depth.min(255));
            let all = document.root().values();
            assert_eq!(all.filter(|raw| raw.kind() == Kind::Number).count(), 1);
            // Without its end, and with an end too many.
            assert!(Document::read(&whole[..whole.len() - 1]).is_err());
            assert!(Document::read(&format!("{whole}{close}")).is_err());
        }
    }
}

#[test]
fn the_room_of_a_document_serves_the_next_one() {
    let mut index = translate::json::Index::default();
    for text in ["[1,[2,{\"a\":\"\\u00e9\"}]]", "{}", "[\"\\n\",3]"] {
        let document = Document::read_with(text, index).unwrap();
        let alone = Document::read(text).unwrap();
        let told = |document: &Document<'_>| {
            let values = document.root().values();
            values
                .map(|raw| (raw.kind(), raw.get().to_owned()))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&document), told(&alone));
        index = document.into_index();
    }
}

/// White space between tokens, mostly none.
fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![8 => Just(""), 1 => Just(" "), 1 => Just("\n\t "), 1 => Just("\r\n")]
}

/// Strings whose escapes stand wherever blocks of 16 and 64 bytes end.
fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z0-9 ,:{}\\[\\]/]{0,30}",
        2 => "\\\\[\"\\\\/bfnrt]",
        2 => "(\\\\\\\\){1,40}",
        1 => "\\\\u[0-9a-fA-F]{4}",
        1 => "\\\\ud83d\\\\ude00|\\\\uD800|\\\\udc00",
        1 => "[é天😀]{1,20}",
    ];
    let pieces = proptest::collection::vec(piece, 0..8);
    pieces.prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn document() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,3})?",
        string(),
    ];
    let spaced = (space(), leaf, space()).prop_map(|(a, leaf, b)| format!("{a}{leaf}{b}"));
    spaced.prop_recursive(5, 60, 6, |inner| {
        let key = prop_oneof![
            Just("\"a\"".to_owned()),
            Just("\"\\u0061\"".to_owned()),
            string()
        ];
        let member = (space(), key, space(), inner.clone())
            .prop_map(|(a, key, b, value)| format!("{a}{key}{b}:{value}"));
        prop_oneof![
            proptest::collection::vec(inner, 0..6).prop_map(|all| format!("[{}]", all.join(","))),
            proptest::collection::vec(member, 0..6)
                .prop_map(|all| format!("{{{}}}", all.join(","))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn json_of_every_kind(text in document()) {
        law::check(&text);
        prop_assert!(Document::read(&text).is_ok());
    }

    #[test]
    fn what_is_nearly_json(text in document(), changes in proptest::collection::vec((any::<prop::sample::Index>(), "[\\[\\]{}\",:\\\\ue0-9tn \\x00-\\x1Fé]?"), 1..3)) {
        let mut text = text;
        for (at, with) in changes {
            let at = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.ceil_char_boundary((at + 1).min(text.len()));
            text.replace_range(at..end, &with);
        }
        law::check(&text);
    }

    #[test]
    fn whatever(text in "[\\[\\]{}\",:\\\\ue0-9tn .+-]{0,40}") {
        law::check(&text);
    }
}
