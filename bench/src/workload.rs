//! What is measured: the workloads, their requests and the targets that they are held to.

use bytes::Bytes;
use serde_json::{Value, json};

/// The model of all requests.
pub(crate) const MODEL: &str = "gemini-2.5-flash";
const LARGE_MESSAGES: usize = 60;
const LARGE_BYTES: usize = 100_000;
const TOOLS: usize = 20;

/// One line of the tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) stream: bool,
    pub(crate) size: Size,
    pub(crate) load: Load,
    /// Whether the upstream is reached over HTTPS, and so over HTTP/2.
    pub(crate) https: bool,
    pub(crate) projects: usize,
    /// Whether two gateways are measured too.
    pub(crate) two: bool,
    /// Processor time at most, as a multiple of the pass-through's.
    pub(crate) cpu_target: Option<f64>,
    /// Milliseconds at most that the median answer may take longer than direct.
    pub(crate) added_target: Option<f64>,
    /// Whether `--quick` leaves it out.
    pub(crate) full_only: bool,
}

/// How much a request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// One message.
    Small,
    /// 60 messages of 100 KB together.
    Large,
    /// One message and 20 tools.
    Tools,
}

/// How requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Each of so many connections sends its next request when it has the answer.
    Closed { connections: usize },
    /// So many streams at once, of 50 events at 20 ms each.
    Slow { streams: usize },
    /// On each of so many connections, evenly apart, streams of one event, 200 ms of nothing and
    /// an end.
    Silent { connections: usize },
}

impl Load {
    pub(crate) fn connections(self) -> usize {
        match self {
            Self::Closed { connections } | Self::Silent { connections } => connections,
            Self::Slow { streams } => streams,
        }
    }
}

const fn closed(name: &'static str, stream: bool, size: Size, connections: usize) -> Workload {
    Workload {
        name,
        stream,
        size,
        load: Load::Closed { connections },
        https: false,
        projects: 3,
        two: false,
        cpu_target: None,
        added_target: None,
        full_only: false,
    }
}

const fn slow(name: &'static str, streams: usize) -> Workload {
    let load = Load::Slow { streams };
    Workload {
        load,
        ..closed(name, true, Size::Small, 0)
    }
}

/// All of them, in the order of the tables.
pub(crate) const WORKLOADS: &[Workload] = &[
    closed("unary-small-1", false, Size::Small, 1),
    Workload {
        cpu_target: Some(2.0),
        ..closed("unary-small-32", false, Size::Small, 32)
    },
    closed("unary-small-256", false, Size::Small, 256),
    closed("unary-large-1", false, Size::Large, 1),
    Workload {
        cpu_target: Some(1.8),
        ..closed("unary-large-32", false, Size::Large, 32)
    },
    closed("unary-tools-32", false, Size::Tools, 32),
    Workload {
        added_target: Some(0.25),
        ..closed("stream-small-1", true, Size::Small, 1)
    },
    Workload {
        cpu_target: Some(1.0),
        ..closed("stream-small-32", true, Size::Small, 32)
    },
    closed("stream-small-256", true, Size::Small, 256),
    Workload {
        cpu_target: Some(1.0),
        ..closed("stream-large-32", true, Size::Large, 32)
    },
    Workload {
        https: true,
        ..closed("https-unary-small-32", false, Size::Small, 32)
    },
    Workload {
        https: true,
        ..closed("https-stream-small-32", true, Size::Small, 32)
    },
    Workload {
        projects: 1000,
        ..closed("projects-1000-unary-32", false, Size::Small, 32)
    },
    Workload {
        two: true,
        ..closed("two-gateways-unary-32", false, Size::Small, 32)
    },
    Workload {
        two: true,
        ..closed("two-gateways-stream-32", true, Size::Small, 32)
    },
    Workload {
        load: Load::Silent { connections: 40 },
        ..closed("one-event-40", true, Size::Small, 40)
    },
    Workload {
        cpu_target: Some(1.3),
        added_target: Some(15.0),
        ..slow("slow-500", 500)
    },
    Workload {
        https: true,
        ..slow("https-slow-300", 300)
    },
    Workload {
        full_only: true,
        ..slow("slow-2000", 2000)
    },
];

/// A request for Google, as it would be sent to `upstream`, and the same for the gateway.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    pub(crate) google_path: String,
    pub(crate) google: Bytes,
    pub(crate) openai: Bytes,
}

impl Workload {
    pub(crate) fn requests(&self) -> Requests {
        let (openai, google) = match self.size {
            Size::Small => conversation(&[question()]),
            Size::Large => conversation(&long_conversation()),
            Size::Tools => with_tools(conversation(&[question()])),
        };
        let method = if self.stream {
            "streamGenerateContent?alt=sse"
        } else {
            "generateContent"
        };
        let mut openai = openai;
        openai["stream"] = self.stream.into();
        let google = json!({"project": "fake-project-1", "model": MODEL, "request": google});
        Requests {
            google_path: format!("/v1internal:{method}"),
            google: google.to_string().into(),
            openai: openai.to_string().into(),
        }
    }
}

fn question() -> (&'static str, String) {
    let text = "In what way do server-sent events differ from WebSockets? Two paragraphs, please.";
    ("user", text.to_owned())
}

/// Text as people send it: lines, quotes, umlauts and code, so that escapes occur.
fn long_conversation() -> Vec<(&'static str, String)> {
    const PARAGRAPH: &str = "The proxy ran on a small machine with \"two\" cores.\nÄhnlich war es \
        gestern; see `let path = \"C:\\\\temp\\\\x\";` and the <b>table</b> – figures moved by a few \
        percent.\n\n";
    let role = |nth: usize| match nth {
        0 => "system",
        nth if nth % 2 == 1 => "user",
        _ => "assistant",
    };
    let message = |nth: usize| {
        let length = LARGE_BYTES / LARGE_MESSAGES;
        let mut text = format!("Message {nth}. ");
        text.extend(PARAGRAPH.chars().cycle().take(length - text.len()));
        (role(nth), text)
    };
    // An odd number of turns after the system's, so that the user speaks last.
    (0..LARGE_MESSAGES).map(message).collect()
}

/// The same conversation for OpenAI and for Google.
fn conversation(messages: &[(&str, String)]) -> (Value, Value) {
    let openai: Vec<Value> = messages
        .iter()
        .map(|(role, text)| json!({"role": role, "content": text}))
        .collect();
    let turns: Vec<Value> = messages
        .iter()
        .filter(|(role, _)| *role != "system")
        .map(|(role, text)| {
            let role = if *role == "assistant" {
                "model"
            } else {
                "user"
            };
            json!({"role": role, "parts": [{"text": text}]})
        })
        .collect();
    let mut google = json!({
        "contents": turns,
        "generationConfig": {"temperature": 0.7, "maxOutputTokens": 1024},
    });
    if let Some((_, text)) = messages.iter().find(|(role, _)| *role == "system") {
        google["systemInstruction"] = json!({"parts": [{"text": text}]});
    }
    let openai = json!({
        "model": MODEL,
        "messages": openai,
        "temperature": 0.7,
        "max_completion_tokens": 1024,
    });
    (openai, google)
}

fn with_tools((mut openai, mut google): (Value, Value)) -> (Value, Value) {
    let tool = |nth: usize| {
        json!({
            "name": format!("look_up_{nth}"),
            "description": format!("Looks up entry {nth} of the register, with its history."),
            "parameters": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "Whom to look for."},
                    "kind": {"type": "string", "enum": ["person", "place", "company"]},
                    "limit": {"type": "integer", "minimum": 1, "maximum": 100},
                    "filters": {"type": "array", "items": {"type": "object", "properties": {
                        "field": {"type": "string"}, "value": {"type": "string"}}}},
                },
                "required": ["name"],
            },
        })
    };
    let tools: Vec<Value> = (1..=TOOLS).map(tool).collect();
    let functions = tools
        .iter()
        .map(|tool| json!({"type": "function", "function": tool}));
    openai["tools"] = functions.collect();
    google["tools"] = json!([{"functionDeclarations": tools}]);
    (openai, google)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_tell_the_load() {
        let names: HashSet<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
        assert_eq!(names.len(), WORKLOADS.len());
        for workload in WORKLOADS {
            let number = workload.load.connections().to_string();
            assert!(
                workload.name.ends_with(&format!("-{number}")),
                "{workload:?}"
            );
        }
    }

    #[test]
    fn a_large_request_is_what_the_name_says() {
        let large = WORKLOADS
            .iter()
            .find(|one| one.size == Size::Large)
            .unwrap();
        let openai: Value = serde_json::from_slice(&large.requests().openai).unwrap();
        let messages = openai["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 60);
        assert_eq!(messages[59]["role"], "user");
        let texts = messages
            .iter()
            .map(|message| message["content"].as_str().unwrap());
        let bytes: usize = texts.map(str::len).sum();
        assert!((95_000..120_000).contains(&bytes), "{bytes}");
    }
}
