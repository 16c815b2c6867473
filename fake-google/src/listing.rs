//! The official model lists: `models.list` of the Gemini API, publisher models of Vertex.

use http::Response;

use crate::catalogue::{Kind, Model, Upstream};
use crate::json::{Json, object};
use crate::reply::{self, Body};
use crate::router::Exchange;
use crate::status::Status;

/// Entries a page unless `pageSize` says otherwise.
const PAGE: usize = 50;
/// The largest `pageSize`.
const PAGE_LIMIT: usize = 1000;

/// `GET …/models` and `GET …/models/{model}`
pub(crate) fn answer(exchange: &Exchange) -> Response<Body> {
    if let Err(status) = exchange.caller() {
        return exchange.error(&status);
    }
    let upstream = exchange.route.upstream.unwrap_or(Upstream::Gemini);
    match &exchange.route.name {
        Some(name) => match exchange.fake.model(name, upstream) {
            Some(model) => reply::json(200, &entry(&model, upstream)),
            None => exchange.error(&exchange.context(name).model_not_found()),
        },
        None => page(exchange, upstream),
    }
}

fn page(exchange: &Exchange, upstream: Upstream) -> Response<Body> {
    let size = exchange
        .query
        .get("pageSize")
        .and_then(|size| size.parse().ok())
        .unwrap_or(PAGE)
        .clamp(1, PAGE_LIMIT);
    let first = match exchange.query.get("pageToken") {
        None => 0,
        Some(token) => match token
            .strip_prefix("page-")
            .and_then(|first| first.parse().ok())
        {
            Some(first) => first,
            None => return exchange.error(&Status::invalid_argument("Invalid page token.")),
        },
    };
    let models: Vec<&Model> = exchange
        .fake
        .config()
        .models
        .iter()
        .filter(|model| model.upstreams.contains(&upstream))
        .collect();
    let entries: Vec<Json> = models
        .iter()
        .skip(first)
        .take(size)
        .map(|model| entry(model, upstream))
        .collect();
    let mut page = match upstream {
        Upstream::Vertex => object! { "publisherModels": entries },
        Upstream::Gemini | Upstream::CodeAssist => object! { "models": entries },
    };
    if first + size < models.len() {
        page.set("nextPageToken", format!("page-{}", first + size));
    }
    reply::json(200, &page)
}

fn entry(model: &Model, upstream: Upstream) -> Json {
    if upstream == Upstream::Vertex {
        let stage = if model.id.contains("preview") {
            "PUBLIC_PREVIEW"
        } else {
            "GA"
        };
        return object! {
            "name": format!("publishers/google/models/{}", model.id),
            "versionId": "default",
            "openSourceCategory": "PROPRIETARY",
            "launchStage": stage,
            "publisherModelTemplate": format!(
                "projects/{{user-project}}/locations/{{location}}/publishers/google/models/{}",
                model.id
            ),
        };
    }
    let methods: &[&str] = if model.kind == Kind::Embedding {
        &[
            "embedContent",
            "countTextTokens",
            "countTokens",
            "batchEmbedContents",
        ]
    } else {
        &[
            "generateContent",
            "countTokens",
            "createCachedContent",
            "batchGenerateContent",
        ]
    };
    let mut entry = object! {
        "name": format!("models/{}", model.id),
        "version": "001",
        "displayName": &model.display_name,
        "description": format!("{}, as far as this offline copy goes.", model.display_name),
        "inputTokenLimit": model.input_token_limit,
        "outputTokenLimit": model.output_token_limit,
        "supportedGenerationMethods": methods.to_vec(),
    };
    if model.kind != Kind::Embedding {
        entry.set("temperature", 1_u64);
        entry.set("topP", 0.95);
        entry.set("topK", 64_u64);
        entry.set("maxTemperature", 2_u64);
    }
    if model.thinks() {
        entry.set("thinking", true);
    }
    entry
}
