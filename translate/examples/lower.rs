//! Lowers chat completions requests, one JSON document a line on standard input, and
//! writes what each of Google's APIs would be sent: `{"model", "ignored", "gemini_api",
//! "vertex", "code_assist"}`, or `{"error": {"message", "param"}}`. For checks that hold it
//! against other knowledge of Google's API.

#![expect(
    clippy::unwrap_used,
    reason = "an example for checks: what cannot be read or written ends it"
)]

use std::io::{self, BufRead as _, Write as _};

use serde_json::{Value, json};
use translate::{
    chat::request::{self, Options},
    error::InvalidRequest,
    gemini::{
        model::Dialect,
        request::{Fetched, Target},
    },
};

fn main() {
    let options = Options {
        fetch_remote_media: true,
        ..Options::default()
    };
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        writeln!(out, "{}", lowered(&line.unwrap(), &options)).unwrap();
    }
}

fn lowered(body: &str, options: &Options) -> Value {
    let picture = Fetched {
        mime: "image/png".to_owned(),
        data: "iVBORw0KGgo=".to_owned(),
    };
    let supplied = vec![picture; 32];
    let refused =
        |error: InvalidRequest| json!({"error": {"message": error.message, "param": error.param}});
    let document = match request::document(body) {
        Ok(document) => document,
        Err(error) => return refused(error),
    };
    let mut request = match request::parse(&document, options) {
        Ok(request) => request,
        Err(error) => return refused(error),
    };
    request.gemini.supply(&supplied);
    let model = request.upstream_model();
    let written = |dialect| -> Value {
        let mut out = Vec::new();
        request.gemini.write(Target { dialect, model }, &mut out);
        serde_json::from_slice(&out).unwrap()
    };
    json!({
        "model": model,
        "ignored": request.ignored,
        "gemini_api": written(Dialect::GeminiApi),
        "vertex": written(Dialect::Vertex),
        "code_assist": written(Dialect::CodeAssist),
    })
}
