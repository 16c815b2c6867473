//! Log lines on standard error, for people or for machines.

mod json;
mod levels;
mod lines;

use std::{io::IsTerminal as _, str::FromStr};

pub use levels::Levels;
use tracing_subscriber::{
    EnvFilter, fmt, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One line for people; coloured on a terminal only.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" | "pretty" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

/// At debug the transport crates would write header bytes, secrets included.
const QUIET: &str =
    ",h2=info,hyper=info,hyper_util=info,rustls=info,reqwest=info,tonic=info,tower=info,sqlx=warn";

/// Which lines are written: a level (`info`) or a tracing filter (`info,gateway=debug`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level(String);

impl FromStr for Level {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        // As Python's logging spells them.
        let lower = text.to_ascii_lowercase();
        let text = match lower.as_str() {
            "warning" => "warn",
            "critical" | "fatal" => "error",
            _ if text.contains(['=', ',']) => text,
            lower => lower,
        };
        let plain = ["trace", "debug", "info", "warn", "error", "off"];
        let targeted = text.contains(['=', ',']);
        if !plain.contains(&text) && !targeted {
            return Err(());
        }
        EnvFilter::try_new(text).map_err(|_| ())?;
        Ok(Self(format!("{text}{QUIET}")))
    }
}

impl Level {
    /// As the operator wrote it.
    fn asked(&self) -> &str {
        self.0.strip_suffix(QUIET).unwrap_or(&self.0)
    }
}

/// Log lines that are being written, for as long as this lives.
#[derive(Debug)]
#[must_use = "lines are written for as long as this lives"]
pub struct Writing {
    _lines: lines::Writing,
    levels: Levels,
}

impl Writing {
    /// Which lines, to be changed while the process runs.
    #[must_use]
    pub fn levels(&self) -> Levels {
        self.levels.clone()
    }
}

/// Starts writing log lines, and does so for as long as what it returns lives. Called once, in
/// `main`; a second call changes nothing.
pub fn init(format: Format, level: &Level) -> Writing {
    let filter = EnvFilter::new(&level.0);
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let (lines, writing) = lines::Lines::new(std::io::stderr());
    let layer = fmt::layer().with_writer(lines);
    // An error says that somebody else has set a subscriber, which then gets our lines.
    let _ = match format {
        Format::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            registry
                .with(layer.with_ansi(colour).with_target(false))
                .try_init()
        }
        Format::Json => registry.with(layer.event_format(json::Json)).try_init(),
    };
    Writing {
        _lines: writing,
        levels: Levels::new(handle, level.clone()),
    }
}
