//! `tools` and `tool_choice`: what the model may call.

use super::request::{Ignored, read, text, verbatim};
use crate::{
    error::InvalidRequest,
    gemini::request::{Calling, Function},
    json::{self, JsonStr, Object, Path},
    schema,
};

/// Gemini takes no more in one request.
const MAX_FUNCTIONS: usize = 512;
/// Characters of a function's name that Gemini takes; OpenAI's limit is the same.
const MAX_NAME: usize = 64;

/// Reads `tools`.
pub(super) fn functions<'a>(
    object: &Object<'a>,
    ignored: &mut Ignored,
) -> Result<Vec<Function<'a>>, InvalidRequest> {
    let path = Path::Root.key("tools");
    let Some(raw) = object.get("tools") else {
        return Ok(Vec::new());
    };
    let tools = read(raw, &path, json::array)?;
    if tools.len() > MAX_FUNCTIONS {
        return Err(InvalidRequest::value(
            &path,
            format!(
                "expected at most {MAX_FUNCTIONS} tools, but got {}.",
                tools.len()
            ),
        ));
    }
    let mut functions: Vec<Function<'a>> = Vec::with_capacity(tools.len());
    for (at, raw) in tools.into_iter().enumerate() {
        let path = path.index(at);
        let tool = read(raw, &path, json::object)?;
        let function = function(&tool, &path, ignored)?;
        if functions.iter().any(|other| other.name == function.name) {
            return Err(InvalidRequest::value(
                &path.key("function").key("name"),
                "another tool has this name.",
            ));
        }
        functions.push(function);
    }
    Ok(functions)
}

fn function<'a>(
    tool: &Object<'a>,
    path: &Path<'_>,
    ignored: &mut Ignored,
) -> Result<Function<'a>, InvalidRequest> {
    let kind_path = path.key("type");
    let kind = tool
        .get("type")
        .ok_or_else(|| InvalidRequest::missing(&kind_path))?;
    let kind = text(kind, &kind_path)?.text();
    if kind != "function" {
        return Err(InvalidRequest::unsupported(
            &kind_path,
            format!("Tools of type '{kind}' are not served; 'function' is."),
        ));
    }
    let path = path.key("function");
    let raw = tool
        .get("function")
        .ok_or_else(|| InvalidRequest::missing(&path))?;
    let declared = read(raw, &path, json::object)?;
    let name_path = path.key("name");
    let name = declared
        .get("name")
        .ok_or_else(|| InvalidRequest::missing(&name_path))?;
    let name = checked_name(text(name, &name_path)?, &name_path)?;
    let description = declared
        .get("description")
        .map(|raw| text(raw, &path.key("description")))
        .transpose()?;
    let parameters_path = path.key("parameters");
    let parameters = match declared.get("parameters") {
        Some(raw) => {
            read(raw, &parameters_path, json::object)?;
            Some(verbatim(raw, &parameters_path)?).filter(|raw| !schema::is_empty(raw))
        }
        None => None,
    };
    for (key, raw) in declared.iter() {
        let known = matches!(key, "name" | "description" | "parameters");
        if !known && raw.get() != "false" {
            ignored.insert(format!("tools[].function.{key}"));
        }
    }
    Ok(Function {
        name,
        description,
        parameters,
    })
}

/// A function's name, which has to be one for Gemini too.
pub(super) fn checked_name<'a>(
    name: JsonStr<'a>,
    path: &Path<'_>,
) -> Result<JsonStr<'a>, InvalidRequest> {
    let text = name.text();
    let starts = |c: char| c.is_ascii_alphabetic() || c == '_';
    let goes_on = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if text.len() > MAX_NAME || !text.starts_with(starts) || !text.chars().all(goes_on) {
        return Err(InvalidRequest::value(
            path,
            format!(
                "a function's name begins with a letter or an underscore, goes on with letters, \
                 digits, '_', '-' and '.', and has at most {MAX_NAME} characters."
            ),
        ));
    }
    Ok(name)
}

/// Reads `tool_choice`.
pub(super) fn calling<'a>(
    object: &Object<'a>,
    functions: &[Function<'a>],
) -> Result<Option<Calling<'a>>, InvalidRequest> {
    let path = Path::Root.key("tool_choice");
    let Some(raw) = object.get("tool_choice") else {
        return Ok(None);
    };
    let supported = "supported values are 'auto', 'none', 'required' and \
                     {\"type\": \"function\", \"function\": {\"name\": …}}.";
    let calling = if json::string(raw).is_ok() {
        match &*text(raw, &path)?.text() {
            "auto" => Calling::Auto,
            "none" => Calling::None,
            "required" => Calling::Any(Vec::new()),
            _ => return Err(InvalidRequest::value(&path, supported)),
        }
    } else {
        let choice = read(raw, &path, json::object)?;
        let kind = choice.get("type").and_then(|raw| json::string(raw).ok());
        let function = choice
            .get("function")
            .and_then(|raw| json::object(raw).ok());
        let name = function.and_then(|function| function.get("name"));
        match (kind.map(JsonStr::text).as_deref(), name) {
            (Some("function"), Some(name)) => {
                let path = path.key("function");
                let path = path.key("name");
                let name = text(name, &path)?;
                if !functions.iter().any(|function| function.name == name) {
                    return Err(InvalidRequest::value(&path, "no tool has this name."));
                }
                Calling::Any(vec![name])
            }
            _ => return Err(InvalidRequest::value(&path, supported)),
        }
    };
    match calling {
        _ if !functions.is_empty() => Ok(Some(calling)),
        Calling::Any(_) => Err(InvalidRequest::value(
            &path,
            "it is only allowed when 'tools' are given.",
        )),
        // Without tools there is nothing to choose from.
        Calling::Auto | Calling::None => Ok(None),
    }
}
