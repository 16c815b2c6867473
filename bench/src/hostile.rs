//! Bad input: clients and upstreams that misbehave, and what the others notice of it.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use http::header;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    client::{Call, headers},
    figures::Life,
    load::{self, Lengths, Told},
    rig::{Answers, Programs, Rig, Setting, Target},
    workload::{Load, MODEL, Requests},
};

/// What the misbehaving ask for; a fake Google is told what to answer to it.
const OTHER_MODEL: &str = "gemini-2.5-pro";
/// Clients of good will beside them.
const OTHERS: usize = 8;
/// For the misbehaving to be at it before the others are measured.
const LEAD: Duration = Duration::from_millis(1500);

/// Between two answers of one that misbehaves.
const PAUSE: Duration = Duration::from_millis(100);

/// A way to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hostile {
    /// 50 clients that read a stream of 2 MB, a byte a second.
    SlowReaders,
    /// Connections on which nothing is ever sent.
    IdleConnections,
    /// A client whose answers are one event of 20 MB.
    HugeEvents,
    /// 16 clients whose requests come in segments of one byte.
    OneByteRequests,
    /// 8 clients whose answers come from Google in segments of one byte.
    OneByteAnswers,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Effect {
    pub(crate) name: &'static str,
    /// The others before it.
    pub(crate) alone: Told,
    /// Milliseconds until somebody new beside it has an answer.
    pub(crate) newcomer: f64,
    /// The others beside it.
    pub(crate) others: Told,
    /// Processor time of the gateway meanwhile.
    pub(crate) seconds: f64,
    /// Memory of the gateway.
    pub(crate) memory: Life,
    pub(crate) remark: String,
}

impl Hostile {
    pub(crate) const ALL: [Self; 5] = [
        Self::SlowReaders,
        Self::IdleConnections,
        Self::HugeEvents,
        Self::OneByteRequests,
        Self::OneByteAnswers,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SlowReaders => "bad-slow-readers",
            Self::IdleConnections => "bad-idle-connections",
            Self::HugeEvents => "bad-huge-events",
            Self::OneByteRequests => "bad-one-byte-requests",
            Self::OneByteAnswers => "bad-one-byte-answers",
        }
    }

    /// What the fake Google answers to [`OTHER_MODEL`].
    fn answer(self) -> Option<Value> {
        match self {
            // In a hundred events, and in one.
            Self::SlowReaders => Some(raw(&["slow ".repeat(4_000).as_str(); 100])),
            Self::HugeEvents => Some(raw(&[&"huge ".repeat(4_000_000)])),
            Self::OneByteAnswers => Some(json!({"kind": "one_byte_writes"})),
            Self::IdleConnections | Self::OneByteRequests => None,
        }
    }

    /// Starts the misbehaving, who go on until this is dropped.
    async fn start(self, call: &Arc<Call>, connections: usize) -> anyhow::Result<JoinSet<()>> {
        let mut clients = JoinSet::new();
        let door = call.door.address;
        let text: Arc<[u8]> = as_text(call).into();
        match self {
            Self::SlowReaders => {
                for _ in 0..50 {
                    clients.spawn(read_slowly(door, Arc::clone(&text)));
                }
            }
            Self::IdleConnections => {
                let mut idle = Vec::new();
                for _ in 0..connections {
                    idle.push(TcpStream::connect(door).await?);
                }
                clients.spawn(async move {
                    std::future::pending::<()>().await;
                    drop(idle);
                });
            }
            Self::HugeEvents | Self::OneByteAnswers => {
                let count = if self == Self::HugeEvents { 1 } else { 8 };
                for _ in 0..count {
                    clients.spawn(ask_on(Arc::clone(call)));
                }
            }
            Self::OneByteRequests => {
                for _ in 0..16 {
                    clients.spawn(write_slowly(door, Arc::clone(&text)));
                }
            }
        }
        Ok(clients)
    }

    fn remark(self, connections: usize) -> String {
        match self {
            Self::IdleConnections => format!("{connections} connections"),
            _ => String::new(),
        }
    }
}

/// Measures the others alone and beside it.
pub(crate) async fn measure(
    hostile: Hostile,
    programs: &Programs,
    lengths: Lengths,
    settle: Duration,
    connections: usize,
) -> anyhow::Result<Effect> {
    eprintln!("{}", hostile.name());
    let setting = Setting {
        https: false,
        projects: 3,
        two: false,
        answers: Answers::Told,
    };
    let rig = Rig::start(programs, setting).await?;
    if let Some(action) = hostile.answer() {
        let fault = json!({"matcher": {"model": OTHER_MODEL}, "action": action});
        script(&rig, &fault).await?;
    }
    let call = |model, stream| -> anyhow::Result<Arc<Call>> {
        let calls = rig.calls(Target::Ours, &requests(model, stream), stream)?;
        calls.into_iter().next().context("the gateway has no door")
    };
    let (other, bad) = (call(MODEL, false)?, call(OTHER_MODEL, true)?);
    let others = std::slice::from_ref(&other);
    let load = Load::Closed {
        connections: OTHERS,
    };
    let meter = rig.gateway();
    let alone = load::measure(load, others, lengths, &meter).await?;
    let before = meter.memory()?;
    let clients = hostile.start(&bad, connections).await?;
    tokio::time::sleep(LEAD).await;
    let used = meter.seconds()?;
    let began = Instant::now();
    let newcomer = other.door.connect().await?.call(&other, false).await;
    let waited = began.elapsed().as_secs_f64() * 1000.0;
    let others = load::measure(load, others, lengths, &meter).await?;
    let seconds = meter.seconds()? - used;
    drop(clients);
    tokio::time::sleep(settle).await;
    Ok(Effect {
        name: hostile.name(),
        alone,
        newcomer: newcomer.map_or(f64::INFINITY, |_| waited),
        others,
        seconds,
        memory: Life::between(before, meter.memory()?),
        remark: hostile.remark(connections),
    })
}

fn requests(model: &str, stream: bool) -> Requests {
    let body = json!({
        "model": model,
        "stream": stream,
        "messages": [{"role": "user", "content": "Hello"}],
    });
    Requests {
        google_path: String::new(),
        google: bytes::Bytes::new(),
        openai: body.to_string().into(),
    }
}

/// A stream of these texts that costs the fake Google nothing to make.
fn raw(texts: &[&str]) -> Value {
    let event = |(nth, text): (usize, &&str)| {
        let mut candidate = json!({"content": {"role": "model", "parts": [{"text": text}]}});
        if nth + 1 == texts.len() {
            candidate["finishReason"] = "STOP".into();
        }
        let usage = json!({"promptTokenCount": 1, "totalTokenCount": 1});
        let response = json!({"candidates": [candidate], "usageMetadata": usage});
        format!("data: {}\r\n\r\n", json!({"response": response}))
    };
    let body: String = texts.iter().enumerate().map(event).collect();
    json!({"kind": "raw", "status": 200, "content_type": "text/event-stream", "body": body})
}

/// Tells the fake Google what to do.
async fn script(rig: &Rig, fault: &Value) -> anyhow::Result<()> {
    let direct = rig.calls(Target::Direct, &requests(MODEL, false), false)?;
    let direct = direct.first().context("Google has no door")?;
    let call = Call {
        door: direct.door.clone(),
        path: "/__fake/faults".to_owned(),
        headers: headers(None)?,
        body: fault.to_string().into(),
        end_mark: "{}",
    };
    call.door.connect().await?.call(&call, false).await?;
    Ok(())
}

/// The request as it is written to the socket.
pub(crate) fn as_text(call: &Call) -> Vec<u8> {
    let mut text = format!("POST {} HTTP/1.1\r\n", call.path).into_bytes();
    for (name, value) in &call.headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    let length = format!("{}: {}\r\n\r\n", header::CONTENT_LENGTH, call.body.len());
    text.extend_from_slice(length.as_bytes());
    text.extend_from_slice(&call.body);
    text
}

/// What becomes of a client that misbehaves is not looked at.
async fn read_slowly(door: SocketAddr, text: Arc<[u8]>) {
    let Ok(mut stream) = TcpStream::connect(door).await else {
        return;
    };
    if stream.write_all(&text).await.is_err() {
        return;
    }
    while stream.read_u8().await.is_ok() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn write_slowly(door: SocketAddr, text: Arc<[u8]>) {
    loop {
        // Only without delay does each write become a segment.
        let _ = write_once(door, &text).await;
    }
}

pub(crate) async fn write_once(door: SocketAddr, text: &[u8]) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(door).await?;
    stream.set_nodelay(true)?;
    for byte in text {
        stream.write_all(&[*byte]).await?;
        // The others' clients are in this process too.
        tokio::task::yield_now().await;
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "refused");
    Ok(())
}

async fn ask_on(call: Arc<Call>) {
    while ask_once(&call).await.is_ok() {
        // To read megabytes takes this process's time, which is the others' too.
        tokio::time::sleep(PAUSE).await;
    }
}

async fn ask_once(call: &Call) -> anyhow::Result<()> {
    let mut connection = call.door.connect().await?;
    connection.call(call, false).await.context("no answer")?;
    Ok(())
}
