//! Golden requests: a folder each, with what the client said and what each of Google's
//! APIs is sent, or why it is refused. `UPDATE_GOLDEN=1` rewrites what is expected.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};
use translate::{
    chat::request::{self, Options},
    error::InvalidRequest,
    gemini::{
        model::Dialect,
        request::{Fetched, Target},
    },
};

/// What becomes of a request, by the name of the file that says it.
fn outcome(body: &str) -> BTreeMap<&'static str, Value> {
    let options = Options {
        fetch_remote_media: true,
        ..Options::default()
    };
    let refused = |error: InvalidRequest| {
        let told =
            json!({"message": error.message, "param": error.param, "code": error.code.as_str()});
        BTreeMap::from([("refused.json", told)])
    };
    let document = match request::document(body) {
        Ok(document) => document,
        Err(error) => return refused(error),
    };
    let mut request = match request::parse(&document, &options) {
        Ok(request) => request,
        Err(error) => return refused(error),
    };
    let fetched: Vec<Fetched> = request
        .wanted
        .iter()
        .map(|_| Fetched {
            mime: "image/png".to_owned(),
            data: "QUJD".to_owned(),
        })
        .collect();
    let wanted: Vec<&str> = request.wanted.iter().map(|wanted| &*wanted.url).collect();
    let mut read = json!({"model": request.upstream_model(), "ignored": request.ignored});
    for (name, value) in [
        ("stream", json!(request.stream)),
        ("include_usage", json!(request.include_usage)),
        ("first_call_only", json!(request.first_call_only)),
        ("legacy_functions", json!(request.legacy_functions)),
    ] {
        if value == true {
            read[name] = value;
        }
    }
    if !wanted.is_empty() {
        read["fetched"] = json!(wanted);
    }
    request.gemini.supply(&fetched);
    let model = request.upstream_model();
    let mut outcome = BTreeMap::from([("read.json", read)]);
    for (name, dialect) in [
        ("gemini-api.json", Dialect::GeminiApi),
        ("vertex.json", Dialect::Vertex),
        ("code-assist.json", Dialect::CodeAssist),
    ] {
        let mut out = Vec::new();
        request.gemini.write(Target { dialect, model }, &mut out);
        outcome.insert(name, serde_json::from_slice(&out).unwrap());
    }
    outcome
}

#[test]
fn requests_become_what_is_expected() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases = 0;
    for entry in fs::read_dir(&root).unwrap() {
        let case = entry.unwrap().path();
        cases += 1;
        let body = fs::read_to_string(case.join("request.json")).unwrap();
        assert!(
            case.join("notes.md").exists(),
            "{}: no notes.md",
            case.display()
        );
        let outcome = outcome(&body);
        for file in fs::read_dir(&case).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let is_known =
                matches!(&*name, "request.json" | "notes.md") || outcome.contains_key(&*name);
            if !is_known && update {
                fs::remove_file(&path).unwrap();
            }
            assert!(
                is_known || update,
                "{}: nothing makes this file",
                path.display()
            );
        }
        for (name, actual) in outcome {
            let path = case.join(name);
            let pretty = format!("{}\n", serde_json::to_string_pretty(&actual).unwrap());
            if update {
                fs::write(&path, pretty).unwrap();
                continue;
            }
            let expected = fs::read_to_string(&path).unwrap_or_else(|error| {
                panic!("{}: {error}; UPDATE_GOLDEN=1 writes it", path.display())
            });
            assert_eq!(pretty, expected, "{}", path.display());
        }
    }
    assert!(cases > 20, "{cases}");
}
