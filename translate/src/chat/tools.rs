//! `tools` and `tool_choice`, and `functions` and `function_call` before them: what the
//! model may call.

use std::borrow::Cow;

use super::{
    google::{self, Google},
    names::Names,
    request::{Ignored, kind_of, member, read, schema_at, text, verbatim},
};
use crate::{
    error::InvalidRequest,
    gemini::{
        model::Generation,
        request::{Calling, Function, Mode},
    },
    json::{self, Array, JsonStr, Object, Path, Raw},
    schema,
};

/// Gemini takes no more in one request.
const MAX_FUNCTIONS: usize = 512;
/// No function's name is longer; what Gemini does not take goes out under another one.
const MAX_NAME: usize = 1024;

/// What the model may call.
#[derive(Debug, Default)]
pub(super) struct Tools<'a> {
    pub(super) functions: Vec<Function<'a>>,
    pub(super) names: Names,
    pub(super) calling: Option<Calling<'a>>,
    /// The client speaks of `functions`, and of `function_call` in answers.
    pub(super) legacy: bool,
}

/// A function as it was declared.
struct Declared<'a> {
    name: Cow<'a, str>,
    description: Option<JsonStr<'a>>,
    parameters: Option<schema::Schema<'a>>,
    strict: bool,
}

/// Reads what the model may call; tools of Google's own go to `google`.
pub(super) fn tools<'a>(
    object: &Object<'a>,
    generation: Generation,
    google: &mut Google<'a>,
    ignored: &mut Ignored,
) -> Result<Tools<'a>, InvalidRequest> {
    let (declared, legacy) = match (object.get("tools"), object.get("functions")) {
        (Some(_), Some(functions)) if !json::array(functions).is_ok_and(|all| all.is_empty()) => {
            return Err(InvalidRequest::value(
                &Path::Root.key("functions"),
                "'tools' and 'functions' cannot both be given.",
            ));
        }
        (None, Some(functions)) => (legacy_functions(functions, ignored)?, true),
        (Some(tools), _) => (declared(tools, google, ignored)?, false),
        (None, None) => (Vec::new(), false),
    };
    let names = Names::of(
        declared.iter().map(|function| &*function.name),
        generation == Generation::Claude,
    );
    let strict = declared.iter().any(|function| function.strict);
    let functions: Vec<Function<'a>> = declared
        .into_iter()
        .map(|function| Function {
            name: names.upstream(function.name),
            description: function.description,
            parameters: function.parameters,
        })
        .collect();
    let chosen = match (object.get("tool_choice"), object.get("function_call")) {
        (Some(choice), older) => {
            if older.is_some() {
                ignored.insert("function_call".to_owned());
            }
            Some(choose(choice, &names)?)
        }
        (None, Some(choice)) => Some(legacy_choice(choice, &names)?),
        (None, None) => None,
    };
    let path = Path::Root.key(if object.get("tool_choice").is_some() {
        "tool_choice"
    } else {
        "function_call"
    });
    let calling = match chosen {
        Some((calling, at)) => checked(calling, &at, &path, &functions)?,
        None => None,
    };
    let may_hold_to_schemas = matches!(generation, Generation::Gemini25 | Generation::Gemini3);
    let calling = match calling {
        Some(Calling {
            mode: Mode::Auto,
            allowed,
        }) if strict && may_hold_to_schemas => Some(Calling {
            mode: Mode::Validated,
            allowed,
        }),
        None if strict && may_hold_to_schemas => Some(Calling {
            mode: Mode::Validated,
            allowed: Vec::new(),
        }),
        calling => calling,
    };
    if strict && !may_hold_to_schemas && generation != Generation::Claude {
        ignored.insert("tools[].function.strict".to_owned());
    }
    Ok(Tools {
        functions,
        names,
        calling,
        legacy,
    })
}

fn declared<'a>(
    raw: Raw<'a>,
    google: &mut Google<'a>,
    ignored: &mut Ignored,
) -> Result<Vec<Declared<'a>>, InvalidRequest> {
    let path = Path::Root.key("tools");
    let tools = at_most(read(raw, &path, json::array)?, &path)?;
    let mut functions: Vec<Declared<'a>> = Vec::with_capacity(tools.len());
    for (at, raw) in tools.into_iter().enumerate() {
        let path = path.index(at);
        let tool = read(raw, &path, json::object)?;
        if google.tool(&tool, &path, ignored)? {
            continue;
        }
        let kind = kind_of(&tool, &path)?;
        if kind != "function" {
            return Err(InvalidRequest::unsupported(
                &path.key("type"),
                format!(
                    "Tools of type '{kind}' are not served; 'function' is, and Google's own: {}.",
                    google::TOOL_TYPES
                ),
            ));
        }
        for (key, _) in tool.iter() {
            if !matches!(&*key, "type" | "function") {
                ignored.insert(format!("tools[].{key}"));
            }
        }
        let path = path.key("function");
        let declared = member(&tool, &path, "function", json::object)?;
        let function = function(&declared, &path, "tools[].function", ignored)?;
        push(function, &path, &mut functions)?;
    }
    Ok(functions)
}

fn legacy_functions<'a>(
    raw: Raw<'a>,
    ignored: &mut Ignored,
) -> Result<Vec<Declared<'a>>, InvalidRequest> {
    let path = Path::Root.key("functions");
    let all = at_most(read(raw, &path, json::array)?, &path)?;
    let mut functions: Vec<Declared<'a>> = Vec::with_capacity(all.len());
    for (at, raw) in all.into_iter().enumerate() {
        let path = path.index(at);
        let declared = read(raw, &path, json::object)?;
        let function = function(&declared, &path, "functions[]", ignored)?;
        push(function, &path, &mut functions)?;
    }
    Ok(functions)
}

fn at_most<'a>(all: Array<'a>, path: &Path<'_>) -> Result<Array<'a>, InvalidRequest> {
    let count = all.len();
    if count > MAX_FUNCTIONS {
        let why = format!("expected at most {MAX_FUNCTIONS}, but got {count}.");
        return Err(InvalidRequest::value(path, why));
    }
    Ok(all)
}

fn push<'a>(
    function: Declared<'a>,
    path: &Path<'_>,
    functions: &mut Vec<Declared<'a>>,
) -> Result<(), InvalidRequest> {
    if functions.iter().any(|other| other.name == function.name) {
        let why = "another function has this name.";
        return Err(InvalidRequest::value(&path.key("name"), why));
    }
    functions.push(function);
    Ok(())
}

fn function<'a>(
    declared: &Object<'a>,
    path: &Path<'_>,
    pattern: &str,
    ignored: &mut Ignored,
) -> Result<Declared<'a>, InvalidRequest> {
    let name = function_name(declared, path)?;
    let description = declared
        .get("description")
        .map(|raw| text(raw, &path.key("description")))
        .transpose()?;
    let parameters_path = path.key("parameters");
    let parameters = match declared.get("parameters") {
        Some(raw) => {
            read(raw, &parameters_path, json::object)?;
            verbatim(raw, &parameters_path)?;
            let schema = schema_at(raw, &parameters_path)?;
            object_alone(raw, &parameters_path)?;
            Some(schema).filter(|_| !schema::is_empty(raw))
        }
        None => None,
    };
    let mut strict = false;
    for (key, raw) in declared.iter() {
        match &*key {
            "name" | "description" | "parameters" => {}
            "strict" => strict = read(raw, &path.key("strict"), json::boolean)?,
            _ => {
                ignored.insert(format!("{pattern}.{key}"));
            }
        }
    }
    Ok(Declared {
        name,
        description,
        parameters,
        strict,
    })
}

/// Arguments of a function are an object.
fn object_alone(schema: Raw<'_>, path: &Path<'_>) -> Result<(), InvalidRequest> {
    let Ok(schema) = json::object(schema) else {
        return Ok(());
    };
    let Some(kind) = schema.get("type").and_then(|raw| json::string(raw).ok()) else {
        return Ok(());
    };
    if schema::is_object(&kind.text()) {
        return Ok(());
    }
    Err(InvalidRequest::value(
        &path.key("type"),
        "the arguments of a function are an object: expected 'object'.",
    ))
}

/// A function's name, as the client has it.
pub(super) fn function_name<'a>(
    function: &Object<'a>,
    path: &Path<'_>,
) -> Result<Cow<'a, str>, InvalidRequest> {
    let path = path.key("name");
    let name = function
        .get("name")
        .ok_or_else(|| InvalidRequest::missing(&path))?;
    let name = text(name, &path)?.text();
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(InvalidRequest::value(
            &path,
            format!("a function's name has 1 to {MAX_NAME} characters."),
        ));
    }
    Ok(name)
}

/// A choice, and where in it names stand.
type Chosen<'a> = (Calling<'a>, String);

fn named<'a>(mode: Mode, allowed: Vec<Cow<'a, str>>, at: &Path<'_>) -> Chosen<'a> {
    (Calling { mode, allowed }, at.to_string())
}

fn choose<'a>(raw: Raw<'a>, names: &Names) -> Result<Chosen<'a>, InvalidRequest> {
    let path = Path::Root.key("tool_choice");
    let supported = "supported values are 'auto', 'none', 'required', \
                     {\"type\": \"function\", \"function\": {\"name\": …}} and \
                     {\"type\": \"allowed_tools\", \"allowed_tools\": {\"mode\": …, \"tools\": […]}}.";
    if json::string(raw).is_ok() {
        let mode = match &*text(raw, &path)?.text() {
            "auto" => Mode::Auto,
            "none" => Mode::None,
            "required" => Mode::Any,
            _ => return Err(InvalidRequest::value(&path, supported)),
        };
        return Ok(named(mode, Vec::new(), &path));
    }
    let choice = read(raw, &path, json::object)?;
    match &*kind_of(&choice, &path)? {
        "function" => {
            let path = path.key("function");
            let function = member(&choice, &path, "function", json::object)?;
            let name = names.upstream(function_name(&function, &path)?);
            Ok(named(Mode::Any, vec![name], &path.key("name")))
        }
        "allowed_tools" => {
            let path = path.key("allowed_tools");
            let allowed = member(&choice, &path, "allowed_tools", json::object)?;
            let mode_path = path.key("mode");
            let mode = match &*member(&allowed, &mode_path, "mode", json::string)?.text() {
                // Without names of the allowed ones Gemini would not heed the list.
                "auto" => Mode::Validated,
                "required" => Mode::Any,
                _ => {
                    let why = "supported values are 'auto' and 'required'.";
                    return Err(InvalidRequest::value(&mode_path, why));
                }
            };
            let tools_path = path.key("tools");
            let tools = member(&allowed, &tools_path, "tools", json::array)?;
            let tools = at_most(tools, &tools_path)?;
            let mut list = Vec::with_capacity(tools.len());
            for (at, raw) in tools.into_iter().enumerate() {
                let path = tools_path.index(at);
                let tool = read(raw, &path, json::object)?;
                let kind = kind_of(&tool, &path)?;
                if kind != "function" {
                    return Err(InvalidRequest::unsupported(
                        &path.key("type"),
                        "Only tools of type 'function' can be allowed.",
                    ));
                }
                let path = path.key("function");
                let function = member(&tool, &path, "function", json::object)?;
                list.push(names.upstream(function_name(&function, &path)?));
            }
            if list.is_empty() {
                let why = "it is empty; expected at least one tool.";
                return Err(InvalidRequest::value(&tools_path, why));
            }
            Ok(named(mode, list, &tools_path))
        }
        "custom" => Err(InvalidRequest::unsupported(
            &path.key("type"),
            "Custom tools are not served; functions are.",
        )),
        _ => Err(InvalidRequest::value(&path, supported)),
    }
}

fn legacy_choice<'a>(raw: Raw<'a>, names: &Names) -> Result<Chosen<'a>, InvalidRequest> {
    let path = Path::Root.key("function_call");
    if json::string(raw).is_ok() {
        let mode = match &*text(raw, &path)?.text() {
            "auto" => Mode::Auto,
            "none" => Mode::None,
            _ => {
                let why = "supported values are 'auto', 'none' and {\"name\": …}.";
                return Err(InvalidRequest::value(&path, why));
            }
        };
        return Ok(named(mode, Vec::new(), &path));
    }
    let choice = read(raw, &path, json::object)?;
    let name = names.upstream(function_name(&choice, &path)?);
    Ok(named(Mode::Any, vec![name], &path.key("name")))
}

/// Held against what there is to choose from.
fn checked<'a>(
    calling: Calling<'a>,
    names_at: &str,
    path: &Path<'_>,
    functions: &[Function<'a>],
) -> Result<Option<Calling<'a>>, InvalidRequest> {
    if functions.is_empty() {
        return match calling.mode {
            // Without functions there is nothing to choose from.
            Mode::Auto | Mode::None => Ok(None),
            Mode::Any | Mode::Validated => Err(InvalidRequest::value(
                path,
                "it is only allowed when there are functions to call.",
            )),
        };
    }
    let unknown = calling
        .allowed
        .iter()
        .any(|name| !functions.iter().any(|function| function.name == *name));
    if unknown {
        let at = Path::Root.key(names_at);
        return Err(InvalidRequest::value(&at, "no function has this name."));
    }
    Ok(Some(calling))
}
