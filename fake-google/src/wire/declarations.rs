//! Tools: function names, parameter schemas, and which functions may be called.

use std::collections::HashSet;
use std::fmt;

use super::invalid;
use crate::catalogue::{Upstream, is_gemini_3};
use crate::json::{Fields, Json};
use crate::named::Context;
use crate::status::Status;

/// Schemas nested deeper than this are not looked into.
const DEPTH_LIMIT: usize = 40;
/// The longest name of a function.
const NAME_LIMIT: usize = 64;
/// "Maximum 512 function declarations can be provided", say the definitions.
const COUNT_LIMIT: usize = 512;
/// Enum numbers of `Type`.
const TYPES: [&str; 8] = [
    "", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL",
];

/// Checks `tools`; hands out the names of the functions.
pub(crate) fn check(tools: Option<&Json>, upstream: Upstream) -> Result<HashSet<&str>, Status> {
    let mut names: HashSet<&str> = HashSet::new();
    for (nth, tool) in tools
        .map(Json::items)
        .unwrap_or_default()
        .iter()
        .enumerate()
    {
        let declared = tool.either("functionDeclarations", "function_declarations");
        let Some(declared) = declared.filter(|declared| !declared.is_empty()) else {
            continue;
        };
        let path = format!("tools[{nth}].function_declarations");
        // Elsewhere one object passes for a list of one, but not here.
        let Some(declared) = declared.as_array() else {
            return Err(invalid(&path, "must be a list"));
        };
        for (of, declaration) in declared.iter().enumerate() {
            let name = function(declaration, &format!("{path}[{of}]"), upstream)?;
            if !names.insert(name) {
                return Err(Status::invalid_argument(format!(
                    "Duplicate function declaration found: {name}"
                )));
            }
            if names.len() > COUNT_LIMIT {
                let why = format!("at most {COUNT_LIMIT} function declarations can be provided");
                return Err(invalid("tools", &why));
            }
        }
    }
    Ok(names)
}

/// Functions beside Google's own tools: not before Gemini 3, and then on the Gemini API only on request (Vertex is
/// recorded to take them as they come).
pub(crate) fn check_mix(
    request: &Json,
    names: &HashSet<&str>,
    context: &Context<'_>,
) -> Result<(), Status> {
    const BUILT_IN: [(&str, &str); 4] = [
        ("googleSearch", "google_search"),
        ("googleSearchRetrieval", "google_search_retrieval"),
        ("codeExecution", "code_execution"),
        ("urlContext", "url_context"),
    ];
    let tools = request.get("tools").map(Json::items).unwrap_or_default();
    let built_in = tools.iter().any(|tool| {
        BUILT_IN
            .iter()
            .any(|(camel, snake)| tool.either(camel, snake).is_some())
    });
    if names.is_empty() || !built_in {
        return Ok(());
    }
    let invoked = request
        .either("toolConfig", "tool_config")
        .and_then(|config| {
            config.either(
                "includeServerSideToolInvocations",
                "include_server_side_tool_invocations",
            )
        })
        .and_then(Json::as_bool)
        == Some(true);
    match (
        is_gemini_3(context.model),
        invoked || context.upstream != Upstream::Gemini,
    ) {
        (true, true) => Ok(()),
        (true, false) => Err(Status::invalid_argument(
            "Please enable tool_config.include_server_side_tool_invocations to use Built-in tools with Function calling.",
        )),
        (false, _) => Err(Status::invalid_argument(
            "Tool use with function calling is unsupported",
        )),
    }
}

fn function<'a>(declaration: &'a Json, path: &str, upstream: Upstream) -> Result<&'a str, Status> {
    let name = declaration
        .get("name")
        .and_then(Json::as_str)
        .unwrap_or_default();
    if !is_function_name(name) {
        return Err(invalid(
            &format!("{path}.name"),
            "[FIELD_INVALID] Invalid function name. Must start with a letter or an underscore. Must be alphanumeric \
             (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 64.",
        ));
    }
    if let Some(parameters) = declaration.get("parameters") {
        if declaration
            .either("parametersJsonSchema", "parameters_json_schema")
            .is_some()
        {
            let why = "parameters and parameters_json_schema are mutually exclusive";
            return Err(invalid(path, why));
        }
        let path = format!("{path}.parameters");
        if !parameters.is_empty() && type_of(parameters).as_deref() != Some("OBJECT") {
            return Err(invalid(
                &format!("{path}.type"),
                "parameters schema should be of type OBJECT",
            ));
        }
        schema(parameters, At::Root(&path), upstream, 0)?;
    }
    Ok(name)
}

fn is_function_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte))
        && name.len() <= NAME_LIMIT
}

fn type_of(schema: &Json) -> Option<String> {
    match schema.get("type")? {
        Json::String(name) => Some(name.to_uppercase()),
        number => TYPES
            .get(usize::try_from(number.as_u64()?).ok()?)
            .filter(|name| !name.is_empty())
            .map(|name| (*name).to_owned()),
    }
}

/// Where in a request a schema stands. Written when something is wrong with it alone: a long name above many properties
/// would be written for each of them.
#[derive(Clone, Copy)]
pub(crate) enum At<'a> {
    Root(&'a str),
    Property(&'a At<'a>, &'a str),
    Items(&'a At<'a>),
    Choice(&'a At<'a>, usize),
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(path) => f.write_str(path),
            Self::Property(at, name) => write!(f, "{at}.properties[{name}]"),
            Self::Items(at) => write!(f, "{at}.items"),
            Self::Choice(at, nth) => write!(f, "{at}.any_of[{nth}]"),
        }
    }
}

/// Checks a schema in Gemini's own dialect.
pub(crate) fn schema(
    schema: &Json,
    path: At<'_>,
    upstream: Upstream,
    depth: usize,
) -> Result<(), Status> {
    if schema.as_object().is_none() || depth > DEPTH_LIMIT {
        return Ok(());
    }
    let choices = schema.either("anyOf", "any_of");
    let said = schema.as_object().into_iter().flat_map(Fields::values);
    let is_alone = said.filter(|value| **value != Json::Null).count() == 1;
    if choices.is_some() && !is_alone && upstream != Upstream::Gemini {
        return Err(Status::invalid_argument(format!(
            "Unable to submit request because `{path}` schema specified other fields alongside any_of. When using \
             any_of, it must be the only field set."
        )));
    }
    let of = type_of(schema);
    let is = |name: &str| of.as_deref() == Some(name);
    let properties = schema.get("properties").and_then(Json::as_object);
    if properties.is_some_and(|properties| !properties.is_empty()) && of.is_some() && !is("OBJECT")
    {
        return Err(invalid(
            &format!("{path}.properties"),
            "only allowed for OBJECT type",
        ));
    }
    for (nth, name) in schema
        .get("required")
        .map(Json::items)
        .unwrap_or_default()
        .iter()
        .enumerate()
    {
        let defined = name
            .as_str()
            .is_some_and(|name| properties.is_some_and(|known| known.contains_key(name)));
        if !defined {
            return Err(invalid(
                &format!("{path}.required[{nth}]"),
                "property is not defined",
            ));
        }
    }
    let items = schema.get("items");
    if is("ARRAY") && items.is_none() {
        return Err(invalid(&format!("{path}.items"), "missing field."));
    }
    if items.is_some() && of.is_some() && !is("ARRAY") {
        return Err(invalid(
            &format!("{path}.items"),
            "only allowed for ARRAY type",
        ));
    }
    for (nth, value) in schema
        .get("enum")
        .map(Json::items)
        .unwrap_or_default()
        .iter()
        .enumerate()
    {
        if value.as_str() == Some("") {
            return Err(invalid(&format!("{path}.enum[{nth}]"), "cannot be empty"));
        }
    }
    for (name, property) in properties.into_iter().flat_map(Fields::iter) {
        self::schema(property, At::Property(&path, name), upstream, depth + 1)?;
    }
    if let Some(items) = items {
        self::schema(items, At::Items(&path), upstream, depth + 1)?;
    }
    for (nth, choice) in choices
        .map(Json::items)
        .unwrap_or_default()
        .iter()
        .enumerate()
    {
        self::schema(choice, At::Choice(&path, nth), upstream, depth + 1)?;
    }
    Ok(())
}

/// Checks `toolConfig` against the names of the declared functions.
pub(crate) fn check_config(config: Option<&Json>, names: &HashSet<&str>) -> Result<(), Status> {
    let Some(calling) =
        config.and_then(|config| config.either("functionCallingConfig", "function_calling_config"))
    else {
        return Ok(());
    };
    let mode = match calling.get("mode") {
        Some(Json::String(mode)) => mode.to_uppercase(),
        Some(number) => match number.as_u64() {
            Some(1) => "AUTO".to_owned(),
            Some(2) => "ANY".to_owned(),
            Some(3) => "NONE".to_owned(),
            Some(4) => "VALIDATED".to_owned(),
            _ => String::new(),
        },
        None => String::new(),
    };
    let allowed = calling
        .either("allowedFunctionNames", "allowed_function_names")
        .map(Json::items)
        .unwrap_or_default();
    if !allowed.is_empty() && mode != "ANY" && mode != "VALIDATED" {
        return Err(Status::invalid_argument(
            "Allowed function names should only be set when function calling mode is ANY.",
        ));
    }
    if let Some(unknown) = allowed
        .iter()
        .filter_map(Json::as_str)
        .find(|name| !names.contains(name))
    {
        return Err(Status::invalid_argument(format!(
            "allowed_function_names contains a function that is not declared: {unknown}"
        )));
    }
    if mode == "ANY" && names.is_empty() {
        return Err(Status::invalid_argument(
            "Function calling config is set without function_declarations.",
        ));
    }
    Ok(())
}
