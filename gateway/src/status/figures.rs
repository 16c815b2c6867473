//! The plots of this gateway's own minutes, and the numbers above them.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    plot::{Column, Figures, Kind, Plot},
    words::{self, Moment},
};
use crate::metrics::{MINUTES, Minute, Spread};

/// Minutes that "now" is about, the present one included.
const NOW: usize = 5;
/// What a gateway that has not run for longer shows, in minutes: of hours there would be nothing to see.
const SHORT: [usize; 2] = [30, 60];
/// Of the last minutes' requests, in hundredths: when more fail, something is wrong.
pub(super) const MANY: u64 = 5;
/// Minutes that stand in the table below the plots.
const TABLE: usize = 30;

const OUTCOMES: &[(&str, &str)] = &[
    ("answered", "blue"),
    ("failed", "red"),
    ("refused", "amber"),
    ("cancelled", "grey"),
];
const PERCENTILES: &[(&str, &str)] = &[("half within", "blue"), ("95 % within", "violet")];
pub(super) const TOKENS: &[(&str, &str)] = &[("prompt", "teal"), ("completion", "violet")];

/// A number that tells at a glance.
#[derive(Clone, Debug)]
pub(super) struct Tile {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) more: String,
    /// The class that gives it its colour.
    pub(super) tone: &'static str,
}

/// A row of a table of figures.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) when: Moment,
    pub(super) cells: Vec<String>,
}

/// What this gateway has seen itself.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) plots: Vec<Plot>,
    pub(super) lines: Vec<Line>,
    /// All of the minutes that are kept.
    pub(super) all: Minute,
    /// The last few.
    pub(super) now: Minute,
    /// How many those are: fewer at the start, and one at least, as a second's requests are not a
    /// minute's.
    pub(super) now_minutes: f64,
    /// How long all of them are, in words.
    pub(super) over: &'static str,
}

impl Live {
    pub(super) fn of(minutes: &[Minute], now: Timestamp, up_for: Duration) -> Self {
        let sum = |minutes: &[Minute]| {
            minutes.iter().fold(Minute::default(), |mut sum, minute| {
                sum.add(minute);
                sum
            })
        };
        let all = sum(minutes);
        let last = &minutes[minutes.len().saturating_sub(NOW)..];
        // The present minute has not passed yet.
        let passed = (NOW - 1) as f64 + (now.as_second().rem_euclid(60) as f64 / 60.0);
        let ran = up_for.as_secs() / 60 + 1;
        let shown = SHORT.into_iter().find(|shown| ran <= *shown as u64);
        let shown = shown.unwrap_or(MINUTES).min(minutes.len());
        let drawn = &minutes[minutes.len() - shown..];
        let column = |minute: &Minute, values: Vec<Option<f64>>| Column {
            when: clock(minute.begins * 60),
            values,
        };
        let counts = |of: fn(&Minute) -> Vec<f64>| {
            let columns = drawn.iter();
            let columns =
                columns.map(|minute| column(minute, of(minute).into_iter().map(Some).collect()));
            columns.collect::<Vec<_>>()
        };
        let times = |of: fn(&Minute) -> &Spread| {
            let columns = drawn.iter();
            let columns = columns.map(|minute| {
                let within = [50, 95].map(|percent| of(minute).percentile(percent));
                let seconds = within.map(|time| time.map(|time| time.as_secs_f64()));
                column(minute, seconds.into())
            });
            columns.collect::<Vec<_>>()
        };
        let over = if ran > MINUTES as u64 {
            "in 3 h"
        } else {
            "since its start"
        };
        let below = || {
            [
                match shown {
                    MINUTES => format!("{} h ago", MINUTES / 60),
                    shown => format!("{shown} min ago"),
                },
                format!("{} min ago", shown / 2),
                "now".to_owned(),
            ]
        };
        let plots = vec![
            Figures {
                id: "requests",
                title: "Requests a minute",
                summary: outcomes(&all, over),
                kind: Kind::Bars,
                series: OUTCOMES,
                columns: counts(|minute| {
                    let Minute {
                        answered,
                        failed,
                        refused,
                        cancelled,
                        ..
                    } = *minute;
                    [answered, failed, refused, cancelled]
                        .map(|count| count as f64)
                        .into()
                }),
                below: below(),
                unit: words::short,
            }
            .plot(),
            Figures {
                id: "tokens",
                title: "Tokens a minute",
                summary: tokens(all.prompt_tokens, all.completion_tokens),
                kind: Kind::Bars,
                series: TOKENS,
                columns: counts(|minute| {
                    vec![minute.prompt_tokens as f64, minute.completion_tokens as f64]
                }),
                below: below(),
                unit: words::short,
            }
            .plot(),
            Figures {
                id: "first-token",
                title: "Time to first token",
                summary: percentiles(&all.first_pieces, "stream", over),
                kind: Kind::Lines,
                series: PERCENTILES,
                columns: times(|minute| &minute.first_pieces),
                below: below(),
                unit: words::took,
            }
            .plot(),
            Figures {
                id: "duration",
                title: "Time to the whole answer",
                summary: percentiles(&all.durations, "answer", over),
                kind: Kind::Lines,
                series: PERCENTILES,
                columns: times(|minute| &minute.durations),
                below: below(),
                unit: words::took,
            }
            .plot(),
        ];
        let lines = minutes.iter().rev().filter(|minute| minute.requests() > 0);
        let lines = lines.take(TABLE).map(|minute| line(minute, now)).collect();
        Self {
            plots,
            lines,
            now: sum(last),
            all,
            now_minutes: passed.min(up_for.as_secs_f64() / 60.0).max(1.0),
            over,
        }
    }

    pub(super) fn tiles(&self) -> Vec<Tile> {
        let Self { now, all, over, .. } = self;
        let per_minute = |count: u64| words::short(count as f64 / self.now_minutes);
        let times = |spread: &Spread| {
            let within = |percent| {
                spread
                    .percentile(percent)
                    .map(|t| words::took(t.as_secs_f64()))
            };
            match (within(50), within(95)) {
                (Some(half), Some(most)) => (half, format!("95 % within {most}")),
                _ => ("–".to_owned(), "none in the last 5 min".to_owned()),
            }
        };
        let (first, first_most) = times(&now.first_pieces);
        let (whole, whole_most) = times(&now.durations);
        vec![
            Tile {
                id: "requests-now",
                name: "Requests a minute",
                value: per_minute(now.requests()),
                more: format!("{} {over}", words::grouped(all.requests())),
                tone: "",
            },
            Tile {
                id: "failed-now",
                name: "Failed",
                value: words::percent(now.failed, now.requests()),
                more: format!(
                    "{} of {} in 5 min",
                    words::grouped(now.failed),
                    words::grouped(now.requests())
                ),
                tone: match now.failed {
                    0 => "",
                    few if few * 100 <= now.requests() * MANY => "warn",
                    _ => "bad",
                },
            },
            Tile {
                id: "first-token-now",
                name: "Time to first token",
                value: first,
                more: first_most,
                tone: "",
            },
            Tile {
                id: "duration-now",
                name: "Whole answer",
                value: whole,
                more: whole_most,
                tone: "",
            },
            Tile {
                id: "tokens-now",
                name: "Tokens a minute",
                value: per_minute(now.prompt_tokens.saturating_add(now.completion_tokens)),
                more: format!(
                    "{} in, {} out {over}",
                    words::short(all.prompt_tokens as f64),
                    words::short(all.completion_tokens as f64)
                ),
                tone: "",
            },
        ]
    }
}

fn line(minute: &Minute, now: Timestamp) -> Line {
    let begins = Timestamp::from_second(minute.begins * 60).unwrap_or(now);
    let count = words::grouped;
    let within = |spread: &Spread, percent| match spread.percentile(percent) {
        Some(time) => words::took(time.as_secs_f64()),
        None => "–".to_owned(),
    };
    Line {
        when: Moment {
            told: clock(minute.begins * 60),
            ..words::moment(begins, now)
        },
        cells: vec![
            count(minute.answered),
            count(minute.failed),
            count(minute.refused),
            count(minute.cancelled),
            within(&minute.first_pieces, 50),
            within(&minute.durations, 50),
            within(&minute.durations, 95),
            count(minute.prompt_tokens),
            count(minute.completion_tokens),
        ],
    }
}

fn outcomes(all: &Minute, over: &str) -> String {
    let mut text = format!("{} {over}", words::grouped(all.requests()));
    for (count, what) in [
        (all.failed, "failed"),
        (all.refused, "refused"),
        (all.cancelled, "cancelled"),
    ] {
        if count > 0 {
            text.push_str(&format!(" · {} {what}", words::grouped(count)));
        }
    }
    text
}

pub(super) fn tokens(prompt: u64, completion: u64) -> String {
    format!(
        "{} prompt · {} completion",
        words::grouped(prompt),
        words::grouped(completion)
    )
}

fn percentiles(spread: &Spread, what: &str, over: &str) -> String {
    let within = |percent| {
        spread
            .percentile(percent)
            .map(|t| words::took(t.as_secs_f64()))
    };
    match (within(50), within(95)) {
        (Some(half), Some(most)) => format!(
            "half within {half} · 95 % within {most} · {}",
            words::counted(spread.total(), what)
        ),
        _ => format!("no {what}s {over}"),
    }
}

/// The time of day, by UTC.
pub(super) fn clock(seconds: i64) -> String {
    let at = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_has_just_begun_tells_of_the_time_that_it_had() {
        let now: Timestamp = "2026-11-26T12:30:30Z".parse().unwrap();
        let mut minutes = vec![Minute::default(); MINUTES];
        for (at, minute) in minutes.iter_mut().enumerate() {
            minute.begins = now.as_second() / 60 - (MINUTES - 1 - at) as i64;
        }
        minutes[MINUTES - 1].answered = 30;
        let told = |seconds| {
            let live = Live::of(&minutes, now, Duration::from_secs(seconds));
            let tile = live.tiles()[0].clone();
            let summaries = live.plots.iter().map(|plot| plot.summary.clone());
            (tile.value, tile.more, summaries.collect::<Vec<_>>())
        };
        for (seconds, value, over) in [
            // A second's requests are not those of a minute.
            (1, "30", "since its start"),
            (60, "30", "since its start"),
            (3600, "6.7", "since its start"),
            (MINUTES as u64 * 60 - 1, "6.7", "since its start"),
            (MINUTES as u64 * 60, "6.7", "in 3 h"),
        ] {
            let (tile, more, summaries) = told(seconds);
            assert_eq!((&*tile, more), (value, format!("30 {over}")));
            assert_eq!(summaries[0], format!("30 {over}"));
            assert_eq!(summaries[2], format!("no streams {over}"));
        }
    }
}
