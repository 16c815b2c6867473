//! What [`FakeGoogle`] offers, over HTTP for scripts: see the crate's documentation.

use std::time::Duration;

use http::{Method, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::catalogue::Group;
use crate::fake::FakeGoogle;
use crate::json::{Json, object};
use crate::reply::{self, Body};

/// Where the control paths begin.
pub(crate) const PREFIX: &str = "/__fake/";

#[derive(Deserialize)]
struct Advance {
    seconds: f64,
}

/// Names an account by refresh token or Google project, or a token to revoke.
#[derive(Deserialize)]
struct Target {
    target: String,
}

#[derive(Deserialize)]
struct Release {
    gate: String,
}

#[derive(Deserialize)]
struct Exhaust {
    target: String,
    group: Group,
    seconds: f64,
}

/// Answers a control request; `command` is the path after [`PREFIX`].
pub(crate) fn answer(
    fake: &FakeGoogle,
    method: &Method,
    command: &str,
    body: &[u8],
) -> Response<Body> {
    let done = if method == Method::GET {
        match command {
            "counters" => return document(&fake.counters()),
            "requests" => return document(&fake.requests()),
            _ => Err(Refusal::Unknown),
        }
    } else if method == Method::DELETE && command == "faults" {
        fake.clear_script();
        Ok(())
    } else if method == Method::POST {
        act(fake, command, body)
    } else {
        Err(Refusal::Unknown)
    };
    match done {
        Ok(()) => reply::json(200, &object! {}),
        Err(Refusal::Unknown) => reply::json(404, &object! { "error": "there is no such control" }),
        Err(Refusal::NoSuchAccount) => reply::json(
            404,
            &object! { "error": "there is no such account or token" },
        ),
        Err(Refusal::Body(error)) => reply::json(400, &object! { "error": error.to_string() }),
    }
}

enum Refusal {
    Unknown,
    NoSuchAccount,
    Body(serde_json::Error),
}

fn act(fake: &FakeGoogle, command: &str, body: &[u8]) -> Result<(), Refusal> {
    let found = match command {
        "faults" => {
            read_each(body, |fault| fake.script(fault))?;
            true
        }
        "accounts" => {
            read_each(body, |account| fake.add_account(account))?;
            true
        }
        "advance" => {
            fake.advance(seconds(read::<Advance>(body)?.seconds));
            true
        }
        "release" => {
            fake.release(&read::<Release>(body)?.gate);
            true
        }
        "reset" => {
            fake.reset();
            true
        }
        "revoke" => fake.revoke(&read::<Target>(body)?.target),
        "disable" => fake.disable_service_account(&read::<Target>(body)?.target),
        "invalidate" => fake.invalidate_access_tokens(&read::<Target>(body)?.target),
        "exhaust" => {
            let exhaust: Exhaust = read(body)?;
            fake.exhaust_quota(&exhaust.target, exhaust.group, seconds(exhaust.seconds))
        }
        _ => return Err(Refusal::Unknown),
    };
    if found {
        Ok(())
    } else {
        Err(Refusal::NoSuchAccount)
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(Refusal::Body)
}

/// Reads one, or a list of them. Not an untagged enum, which would not say what is wrong.
fn read_each<T: DeserializeOwned>(body: &[u8], act: impl FnMut(T)) -> Result<(), Refusal> {
    let several = if body.trim_ascii_start().starts_with(b"[") {
        read(body)?
    } else {
        vec![read(body)?]
    };
    several.into_iter().for_each(act);
    Ok(())
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn document(told: &impl Serialize) -> Response<Body> {
    let told = serde_json::to_value(told).unwrap_or_default();
    reply::json(200, &Json::from(&told))
}
