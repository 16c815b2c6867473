//! `GET /v1/models` and `GET /v1/models/{id}`.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Extension, State},
    http::{HeaderMap, Response, Uri},
};
use serde::Serialize;

use super::{
    Gateway, auth,
    respond::{self, RequestId},
};
use crate::{error::Error, models::Listed, request_line::RequestLine};

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    /// Google does not tell when a model was made.
    created: u64,
    owned_by: &'static str,
}

impl<'a> Model<'a> {
    fn of(listed: &'a Listed) -> Self {
        Self {
            id: &listed.id,
            object: "model",
            created: 0,
            owned_by: listed.owner,
        }
    }
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
    Extension(line): Extension<RequestLine>,
    headers: HeaderMap,
) -> Response<Body> {
    let listed = async {
        line.asked_by(&auth::key_name(&headers, &gateway.config.api_keys)?);
        gateway.models.all().await
    };
    match listed.await {
        Ok(models) => written(&List {
            object: "list",
            data: models.iter().map(Model::of).collect(),
        }),
        Err(error) => respond::error(&error, &id),
    }
}

pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
    Extension(line): Extension<RequestLine>,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let found = async {
        line.asked_by(&auth::key_name(&headers, &gateway.config.api_keys)?);
        let models = gateway.models.all().await?;
        let model = percent_decoded(uri.path().strip_prefix("/v1/models/").unwrap_or_default());
        let bare = translate::gemini::model::bare(&model);
        models
            .into_iter()
            .find(|listed| listed.id == bare)
            .ok_or_else(|| Error::UnknownModel {
                message: format!(
                    "The model '{}' does not exist or you do not have access to it.",
                    model.chars().take(256).collect::<String>()
                ),
            })
    };
    match found.await {
        Ok(listed) => written(&Model::of(&listed)),
        Err(error) => respond::error(&error, &id),
    }
}

/// The text of a path; what is no UTF-8 names no model either way.
fn percent_decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn written(value: &impl Serialize) -> Response<Body> {
    // Texts and numbers alone always serialise.
    respond::json(serde_json::to_vec(value).unwrap_or_default().into())
}
