//! A function call that comes in pieces (`partialArgs`), which Vertex does when it is asked
//! for: put together until it is whole, since nobody can act on less.

use super::response::FunctionCall;
use crate::json::{self, JsonStr, Object, Raw, WrongType};

/// Far more than any call has; every piece looks for its place among them.
const MAX_VALUES: usize = 4096;
/// How deep a place may be.
const MAX_DEPTH: usize = 64;

/// A call of which there is a part.
#[derive(Debug)]
pub(crate) struct PartialCall {
    /// Google's id of it.
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) signature: Option<String>,
    pub(crate) arguments: Arguments,
}

impl PartialCall {
    /// With the next piece. The first one has the name, and those after it have none.
    pub(crate) fn of(
        before: Option<Self>,
        piece: &FunctionCall<'_>,
        signature: Option<JsonStr<'_>>,
    ) -> Result<Self, Unfit> {
        let text = |text: JsonStr<'_>| text.text().into_owned();
        let mut this = match (before, piece.named()) {
            (Some(before), None) => before,
            (None, Some(name)) => Self {
                id: None,
                name: text(name),
                signature: None,
                arguments: Arguments::default(),
            },
            _ => return Err(Unfit),
        };
        this.id = this.id.or_else(|| piece.id.map(text));
        this.signature = this.signature.or_else(|| signature.map(text));
        if let Some(pieces) = piece.partial_args {
            this.arguments.take(pieces)?;
        }
        Ok(this)
    }
}

/// The arguments of a call, as far as they have come.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    root: Node,
    values: usize,
}

/// They cannot be put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unfit;

#[derive(Debug, Default)]
enum Node {
    #[default]
    Absent,
    /// A number, a boolean or null.
    Scalar(String),
    /// Escaped.
    Text {
        text: String,
        goes_on: bool,
    },
    Object(Vec<(String, Node)>),
    Array(Vec<Node>),
}

// https://docs.cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/Content#PartialArg
#[derive(Debug, Default)]
struct PartialArg<'a> {
    json_path: Option<JsonStr<'a>>,
    string_value: Option<JsonStr<'a>>,
    /// A number, a boolean or null.
    scalar: Option<&'a str>,
    will_continue: bool,
}

impl<'a> PartialArg<'a> {
    fn read(object: Object<'a>) -> Result<Self, WrongType> {
        let mut this = Self::default();
        for (name, raw) in object.iter() {
            match &*name {
                "jsonPath" => this.json_path = Some(json::string(raw)?),
                "stringValue" => this.string_value = Some(json::string(raw)?),
                "numberValue" => {
                    json::number(raw)?;
                    this.scalar = Some(raw.get());
                }
                "boolValue" => {
                    json::boolean(raw)?;
                    this.scalar = Some(raw.get());
                }
                "nullValue" => this.scalar = Some("null"),
                "willContinue" => this.will_continue = json::boolean(raw)?,
                _ => {}
            }
        }
        Ok(this)
    }
}

enum Step {
    Member(String),
    Element(usize),
}

impl Arguments {
    /// Takes the next pieces, a `partialArgs`.
    ///
    /// # Errors
    /// They are none, or do not fit to what was there.
    fn take(&mut self, pieces: Raw<'_>) -> Result<(), Unfit> {
        for piece in pieces.as_array().ok_or(Unfit)? {
            let piece = PartialArg::read(piece.as_object().ok_or(Unfit)?).map_err(|_| Unfit)?;
            self.values += 1;
            if self.values > MAX_VALUES {
                return Err(Unfit);
            }
            let path = piece.json_path.ok_or(Unfit)?.text();
            let mut node = &mut self.root;
            for step in steps(&path)? {
                node = node.at(step)?;
            }
            node.put(&piece)?;
        }
        Ok(())
    }

    /// The object that they are, once no text among them goes on.
    ///
    /// # Errors
    /// They are not whole.
    pub(crate) fn whole(&self) -> Result<String, Unfit> {
        let mut out = String::new();
        match self.root {
            Node::Absent => out.push_str("{}"),
            Node::Object(_) => self.root.write(&mut out)?,
            _ => return Err(Unfit),
        }
        Ok(out)
    }
}

impl Node {
    fn at(&mut self, step: Step) -> Result<&mut Self, Unfit> {
        match step {
            Step::Member(name) => {
                if let Self::Absent = self {
                    *self = Self::Object(Vec::new());
                }
                let Self::Object(members) = self else {
                    return Err(Unfit);
                };
                let at = members.iter().position(|(known, _)| *known == name);
                let at = at.unwrap_or_else(|| {
                    members.push((name, Self::Absent));
                    members.len() - 1
                });
                Ok(&mut members[at].1)
            }
            Step::Element(at) => {
                if let Self::Absent = self {
                    *self = Self::Array(Vec::new());
                }
                let Self::Array(elements) = self else {
                    return Err(Unfit);
                };
                if at == elements.len() {
                    elements.push(Self::Absent);
                }
                elements.get_mut(at).ok_or(Unfit)
            }
        }
    }

    fn put(&mut self, piece: &PartialArg<'_>) -> Result<(), Unfit> {
        if let Some(more) = piece.string_value {
            let more = more.mended();
            let goes_on = piece.will_continue;
            match self {
                Self::Absent => {
                    let text = more.into_owned();
                    *self = Self::Text { text, goes_on };
                }
                Self::Text {
                    text,
                    goes_on: open @ true,
                } => {
                    text.push_str(&more);
                    *open = goes_on;
                }
                _ => return Err(Unfit),
            }
            return Ok(());
        }
        let scalar = piece.scalar.ok_or(Unfit)?;
        let Self::Absent = self else {
            return Err(Unfit);
        };
        *self = Self::Scalar(scalar.to_owned());
        Ok(())
    }

    fn write(&self, out: &mut String) -> Result<(), Unfit> {
        match self {
            Self::Absent | Self::Text { goes_on: true, .. } => return Err(Unfit),
            Self::Scalar(scalar) => out.push_str(scalar),
            Self::Text { text, .. } => {
                out.push('"');
                out.push_str(text);
                out.push('"');
            }
            Self::Object(members) => {
                out.push('{');
                for (at, (name, node)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    let mut key = Vec::new();
                    json::write_string(&mut key, name);
                    out.push_str(&String::from_utf8_lossy(&key));
                    out.push(':');
                    node.write(out)?;
                }
                out.push('}');
            }
            Self::Array(elements) => {
                out.push('[');
                for (at, node) in elements.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    node.write(out)?;
                }
                out.push(']');
            }
        }
        Ok(())
    }
}

/// The steps of a path such as `$.days[0].name` or `$['a name']`.
fn steps(path: &str) -> Result<Vec<Step>, Unfit> {
    let mut rest = path.strip_prefix('$').ok_or(Unfit)?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if steps.len() == MAX_DEPTH {
            return Err(Unfit);
        }
        let step = if let Some(member) = rest.strip_prefix('.') {
            let end = member.find(['.', '[']).unwrap_or(member.len());
            let (name, after) = member.split_at(end);
            rest = after;
            Step::Member(name.to_owned())
        } else {
            let inside = rest.strip_prefix('[').ok_or(Unfit)?;
            let quote = inside.chars().next().filter(|c| matches!(c, '\'' | '"'));
            let (step, after) = match quote {
                Some(quote) => {
                    let (name, after) =
                        inside[1..].split_once(&format!("{quote}]")).ok_or(Unfit)?;
                    (Step::Member(name.to_owned()), after)
                }
                None => {
                    let (number, after) = inside.split_once(']').ok_or(Unfit)?;
                    (Step::Element(number.parse().map_err(|_| Unfit)?), after)
                }
            };
            rest = after;
            step
        };
        steps.push(step);
    }
    // The arguments are an object.
    if steps.is_empty() {
        Err(Unfit)
    } else {
        Ok(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(pieces: &[&str]) -> Result<String, Unfit> {
        let mut arguments = Arguments::default();
        for pieces in pieces {
            arguments.take(json::Document::read(pieces).expect("JSON").root())?;
        }
        arguments.whole()
    }

    #[test]
    fn pieces_become_one_object() {
        for (pieces, object) in [
            (&[][..], "{}"),
            (
                &[
                    r#"[{"jsonPath":"$.a","stringValue":"x\n","willContinue":true}]"#,
                    r#"[{"jsonPath":"$.a","stringValue":"y\"","willContinue":true}]"#,
                    r#"[{"jsonPath":"$.a","stringValue":""},{"jsonPath":"$.n","numberValue":1.5}]"#,
                ],
                r#"{"a":"x\ny\"","n":1.5}"#,
            ),
            (
                &[
                    r#"[{"jsonPath":"$.days[0].name","stringValue":"Mo"}]"#,
                    r#"[{"jsonPath":"$.days[0].off","boolValue":false}]"#,
                    r#"[{"jsonPath":"$.days[1].name","stringValue":"é"},{"jsonPath":"$['a \" b'][0][0]","nullValue":"NULL_VALUE"}]"#,
                ],
                r#"{"days":[{"name":"Mo","off":false},{"name":"é"}],"a \" b":[[null]]}"#,
            ),
            (
                &[r#"[{"jsonPath":"$.__proto__.x","boolValue":true}]"#],
                r#"{"__proto__":{"x":true}}"#,
            ),
        ] {
            assert_eq!(whole(pieces).as_deref(), Ok(object));
        }
    }

    #[test]
    fn what_does_not_fit_is_not_bent() {
        let deep = format!(
            r#"[{{"jsonPath":"${}","boolValue":true}}]"#,
            ".a".repeat(65)
        );
        let many = r#"{"jsonPath":"$.a","stringValue":"x","willContinue":true}"#;
        let many = format!("[{}]", vec![many; MAX_VALUES + 1].join(","));
        for pieces in [
            &[r#"[{"jsonPath":"$.a","stringValue":"x","willContinue":true}]"#][..],
            &[r#"[{"jsonPath":"$.a","stringValue":"x"},{"jsonPath":"$.a","stringValue":"y"}]"#],
            &[r#"[{"jsonPath":"$.a","boolValue":true},{"jsonPath":"$.a.b","boolValue":true}]"#],
            &[r#"[{"jsonPath":"$.a[1]","boolValue":true}]"#],
            &[r#"[{"jsonPath":"$.a[99999999999999999999]","boolValue":true}]"#],
            &[r#"[{"jsonPath":"$[0]","boolValue":true}]"#],
            &[r#"[{"jsonPath":"$","stringValue":"x"}]"#],
            &[r#"[{"jsonPath":"a","stringValue":"x"}]"#],
            &[r#"[{"jsonPath":"$.a","numberValue":"NaN"}]"#],
            &[r#"[{"jsonPath":"$['a","boolValue":true}]"#],
            &[r#"[{"jsonPath":"$.a"}]"#],
            &[r#"[{}]"#],
            &[r#"{}"#],
            &[&deep],
            &[&many],
        ] {
            assert_eq!(whole(pieces), Err(Unfit), "{pieces:?}");
        }
    }
}
