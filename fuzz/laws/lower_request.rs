//! Whatever a client sends is refused with a reason or becomes JSON for each API, and what
//! is refused once is refused always.

use translate::{
    chat::request::{self, Options},
    gemini::{
        model::Dialect,
        request::{Fetched, Target},
    },
};

const MODELS: [&str; 4] = [
    "gemini-3-flash-preview",
    "gemini-2.5-pro",
    "gemma-3-27b-it",
    "claude-sonnet-4-6",
];

pub(crate) fn check(body: &[u8]) {
    let Ok(body) = std::str::from_utf8(body) else {
        return;
    };
    let document = match request::document(body) {
        Ok(document) => document,
        Err(error) => {
            assert!(!error.message.is_empty());
            return;
        }
    };
    for fetch_remote_media in [false, true] {
        let options = Options {
            fetch_remote_media,
            ..Options::default()
        };
        let mut request = match request::parse(&document, &options) {
            Ok(request) => request,
            Err(error) => {
                assert!(!error.message.is_empty());
                continue;
            }
        };
        let fetched: Vec<Fetched> = request
            .wanted
            .iter()
            .map(|_| Fetched {
                mime: "image/png".to_owned(),
                data: "QUJD".to_owned(),
            })
            .collect();
        request.gemini.supply(&fetched);
        let own = request.upstream_model().to_owned();
        for model in MODELS.into_iter().chain([&*own]) {
            for dialect in [Dialect::GeminiApi, Dialect::Vertex, Dialect::CodeAssist] {
                let mut out = Vec::new();
                request.gemini.write(Target { dialect, model }, &mut out);
                let sent: serde_json::Value = serde_json::from_slice(&out)
                    .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)));
                let contents = sent["contents"].as_array().map_or(0, Vec::len);
                assert!(contents > 0, "somebody has to speak");
            }
        }
    }
}
