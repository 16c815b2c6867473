//! Calls that the model made, as an assistant's message tells them.

use std::borrow::Cow;

use super::{
    remembered::Remembered,
    request::{Reading, kind_of, member, read, text},
    tools::function_name,
};
use crate::{
    error::InvalidRequest,
    json::{self, Document, Kind, Object, Path, Raw},
    signature,
};

/// Calls in one message, far above what any model makes: each is compared with the others.
const MAX_CALLS: usize = 512;

/// A call of an assistant's message.
pub(super) struct Called<'a> {
    /// As Google gave it.
    pub(super) id: Cow<'a, str>,
    pub(super) name: Cow<'a, str>,
    pub(super) args: Cow<'a, str>,
    /// That stands on the call itself.
    pub(super) signature: Option<Cow<'a, str>>,
}

/// The calls of an assistant's message.
pub(super) fn calls_of<'a>(
    message: &Object<'a>,
    path: &Path<'_>,
    reading: &mut Reading<'_>,
) -> Result<Vec<Called<'a>>, InvalidRequest> {
    let mut calls: Vec<Called<'a>> = Vec::new();
    if let Some(raw) = message.get("function_call") {
        let path = path.key("function_call");
        let function = read(raw, &path, json::object)?;
        reading.note_unknown(
            "messages[].function_call",
            &function,
            &["name", "arguments"],
        );
        calls.push(Called {
            id: "".into(),
            name: function_name(&function, &path)?,
            args: arguments(&function, &path)?,
            signature: None,
        });
    }
    let path = path.key("tool_calls");
    let Some(raw) = message.get("tool_calls") else {
        return Ok(calls);
    };
    let listed = read(raw, &path, json::array)?;
    if listed.len() > MAX_CALLS {
        let why = format!("expected at most {MAX_CALLS} tool calls in one message.");
        return Err(InvalidRequest::value(&path, why));
    }
    for (at, raw) in listed.into_iter().enumerate() {
        let path = path.index(at);
        let call = called(raw, &path, reading)?;
        if calls.iter().any(|other| other.id == call.id) {
            return Err(InvalidRequest::value(
                &path.key("id"),
                "another call has this id.",
            ));
        }
        calls.push(call);
    }
    Ok(calls)
}

fn called<'a>(
    raw: Raw<'a>,
    path: &Path<'_>,
    reading: &mut Reading<'_>,
) -> Result<Called<'a>, InvalidRequest> {
    let call = read(raw, path, json::object)?;
    let id_path = path.key("id");
    let client_id = call
        .get("id")
        .ok_or_else(|| InvalidRequest::missing(&id_path))
        .and_then(|raw| text(raw, &id_path))?
        .text();
    if call.get("type").is_some() && kind_of(&call, path)? != "function" {
        return Err(InvalidRequest::unsupported(
            &path.key("type"),
            "Only calls of type 'function' are served.",
        ));
    }
    let known = [
        "id",
        "type",
        "index",
        "function",
        "extra_content",
        "provider_specific_fields",
    ];
    reading.note_unknown("messages[].tool_calls[]", &call, &known);
    let function_path = path.key("function");
    let function = member(&call, &function_path, "function", json::object)?;
    let known = [
        "name",
        "arguments",
        "extra_content",
        "provider_specific_fields",
    ];
    reading.note_unknown("messages[].tool_calls[].function", &function, &known);
    let (id, carried) = split_id(client_id);
    let signature = Remembered::on(&call)
        .or_else(|| Remembered::on(&function))
        .or(carried);
    Ok(Called {
        id,
        name: function_name(&function, &function_path)?,
        args: arguments(&function, &function_path)?,
        signature,
    })
}

/// The id as Google gave it, and the signature that rode in it.
fn split_id(client_id: Cow<'_, str>) -> (Cow<'_, str>, Option<Cow<'_, str>>) {
    match client_id {
        Cow::Borrowed(id) => {
            let (id, signature) = signature::detach(id);
            (id.into(), signature.map(Cow::Borrowed))
        }
        Cow::Owned(id) => {
            let (id, signature) = signature::detach(&id);
            (
                id.to_owned().into(),
                signature.map(|signature| signature.to_owned().into()),
            )
        }
    }
}

/// The arguments of a call: JSON inside of a text.
fn arguments<'a>(function: &Object<'a>, path: &Path<'_>) -> Result<Cow<'a, str>, InvalidRequest> {
    let path = path.key("arguments");
    let Some(raw) = function.get("arguments") else {
        return Ok("{}".into());
    };
    let inner = text(raw, &path)?.text();
    if inner.trim().is_empty() {
        return Ok("{}".into());
    }
    if json::has_lone_surrogate(&inner) {
        return Err(InvalidRequest::lone_surrogate(&path));
    }
    let (kind, depth) = match Document::read(&inner) {
        Ok(document) => (document.root().kind(), document.root().depth()),
        Err(error) => {
            return Err(InvalidRequest::value(
                &path,
                format!("it is not valid JSON: {error}."),
            ));
        }
    };
    match kind {
        Kind::Object if depth > json::MAX_DEPTH => Err(InvalidRequest::too_deep(&path)),
        Kind::Object => Ok(inner),
        // What models of other makers write for a function that takes nothing.
        Kind::Null => Ok("{}".into()),
        kind => Err(InvalidRequest::value(
            &path,
            format!("expected a JSON object in it, but got {}.", kind.name()),
        )),
    }
}
