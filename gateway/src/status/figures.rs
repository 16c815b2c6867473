//! The plots of the page and the numbers above them: this gateway's minutes, and the ledger's
//! hours of all gateways.

use std::time::Duration;

use antigravity_proto::v1::UsageRow;
use jiff::Timestamp;

use super::{
    plot::{Column, Figures, Kind, Plot},
    pool::HOURS,
    words::{self, Moment},
};
use crate::metrics::{MINUTES, Minute, Spread};

/// Minutes that "now" is about, the present one included.
const NOW: usize = 5;
/// What a gateway that has not run for longer shows, in minutes: of hours there would be nothing to see.
const SHORT: [usize; 2] = [30, 60];
/// Models that are named.
const MODELS: usize = 12;
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
const ATTEMPTS: &[(&str, &str)] = &[
    ("answered", "blue"),
    ("failed", "red"),
    ("cancelled", "grey"),
];
const PERCENTILES: &[(&str, &str)] = &[("half within", "blue"), ("95 % within", "violet")];
const MEANS: &[(&str, &str)] = &[("first event", "blue"), ("whole answer", "violet")];
const TOKENS: &[(&str, &str)] = &[("prompt", "teal"), ("completion", "violet")];

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
    /// How many those are: fewer at the start.
    pub(super) now_minutes: f64,
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
                summary: outcomes(&all),
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
                summary: percentiles(&all.first_pieces, "stream"),
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
                summary: percentiles(&all.durations, "answer"),
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
            now_minutes: passed.min(up_for.as_secs_f64() / 60.0).max(1.0 / 60.0),
        }
    }

    pub(super) fn tiles(&self) -> Vec<Tile> {
        let Self { now, all, .. } = self;
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
                more: format!("{} in 3 h", words::grouped(all.requests())),
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
                    "{} in, {} out in 3 h",
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

fn outcomes(all: &Minute) -> String {
    let mut text = format!("{} in 3 h", words::grouped(all.requests()));
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

fn tokens(prompt: u64, completion: u64) -> String {
    format!(
        "{} prompt · {} completion",
        words::grouped(prompt),
        words::grouped(completion)
    )
}

fn percentiles(spread: &Spread, what: &str) -> String {
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
        _ => format!("no {what}s in 3 h"),
    }
}

/// The time of day, by UTC.
fn clock(seconds: i64) -> String {
    let at = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%H:%M").to_string()
}

/// What all gateways have reported.
#[derive(Clone, Debug)]
pub(super) struct Hours {
    pub(super) plots: Vec<Plot>,
    pub(super) lines: Vec<Line>,
    pub(super) models: Vec<Model>,
    /// How many models have no place.
    pub(super) more_models: usize,
}

/// What was asked of a model.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) attempts: String,
    pub(super) failed: String,
    pub(super) prompt: String,
    pub(super) completion: String,
    pub(super) first: String,
    pub(super) whole: String,
}

/// Those that came to neither an answer nor a hang-up.
fn failed(row: &UsageRow) -> u64 {
    row.attempts.saturating_sub(row.answers + row.cancelled)
}

/// Of an answer, in seconds.
fn mean(time: Option<prost_types::Duration>, answers: u64) -> Option<f64> {
    let time: Duration = time?.try_into().ok()?;
    (answers > 0).then(|| time.as_secs_f64() / answers as f64)
}

fn written(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "–".to_owned(), words::took)
}

impl Hours {
    pub(super) fn of(hours: &[UsageRow], models: &[UsageRow], now: Timestamp) -> Self {
        let present = now.as_second().div_euclid(3600);
        let first = present - (HOURS as i64 - 1);
        let mut rows: Vec<(i64, Option<&UsageRow>)> =
            (first..=present).map(|hour| (hour, None)).collect();
        for row in hours {
            let begins = words::time(row.begins.as_ref());
            let place = begins.map(|at| at.as_second().div_euclid(3600) - first);
            let place = place.and_then(|place| usize::try_from(place).ok());
            if let Some(place) = place.and_then(|place| rows.get_mut(place)) {
                place.1 = Some(row);
            }
        }
        let columns = |of: fn(&UsageRow) -> Vec<Option<f64>>| -> Vec<Column> {
            let columns = rows.iter().map(|(hour, row)| Column {
                when: clock(hour * 3600),
                values: row.map(of).unwrap_or_default(),
            });
            columns.collect()
        };
        let sum = |of: fn(&UsageRow) -> u64| hours.iter().map(of).fold(0, u64::saturating_add);
        let below = || {
            [
                format!("{HOURS} h ago"),
                format!("{} h ago", HOURS / 2),
                "now".to_owned(),
            ]
        };
        let mut summary = format!("{} in 24 h", words::grouped(sum(|row| row.attempts)));
        for (count, what) in [
            (sum(failed), "failed"),
            (sum(|row| row.cancelled), "cancelled"),
        ] {
            if count > 0 {
                summary.push_str(&format!(" · {} {what}", words::grouped(count)));
            }
        }
        let whole = hours.iter().filter_map(|row| {
            let time: Duration = row.duration?.try_into().ok()?;
            Some(time)
        });
        let answers = sum(|row| row.answers);
        let whole: Duration = whole.sum();
        let times = match answers {
            0 => "no answers in 24 h".to_owned(),
            answers => format!(
                "whole answer {} on average",
                words::took(whole.as_secs_f64() / answers as f64)
            ),
        };
        let plots = vec![
            Figures {
                id: "ledger-requests",
                title: "Requests to Google an hour",
                summary,
                kind: Kind::Bars,
                series: ATTEMPTS,
                columns: columns(|row| {
                    let counts = [row.answers, failed(row), row.cancelled];
                    counts.map(|count| Some(count as f64)).into()
                }),
                below: below(),
                unit: words::short,
            }
            .plot(),
            Figures {
                id: "ledger-tokens",
                title: "Tokens an hour",
                summary: tokens(
                    sum(|row| row.prompt_tokens),
                    sum(|row| row.completion_tokens),
                ),
                kind: Kind::Bars,
                series: TOKENS,
                columns: columns(|row| {
                    let counts = [row.prompt_tokens, row.completion_tokens];
                    counts.map(|count| Some(count as f64)).into()
                }),
                below: below(),
                unit: words::short,
            }
            .plot(),
            Figures {
                id: "ledger-times",
                title: "Google's time, on average",
                summary: times,
                kind: Kind::Lines,
                series: MEANS,
                columns: columns(|row| {
                    vec![
                        mean(row.first_event, row.answers),
                        mean(row.duration, row.answers),
                    ]
                }),
                below: below(),
                unit: words::took,
            }
            .plot(),
        ];
        let lines = rows.iter().rev().filter_map(|(hour, row)| {
            let row = (*row)?;
            let begins = Timestamp::from_second(hour * 3600).unwrap_or(now);
            let count = words::grouped;
            Some(Line {
                when: Moment {
                    told: clock(hour * 3600),
                    ..words::moment(begins, now)
                },
                cells: vec![
                    count(row.answers),
                    count(failed(row)),
                    count(row.cancelled),
                    written(mean(row.first_event, row.answers)),
                    written(mean(row.duration, row.answers)),
                    count(row.prompt_tokens),
                    count(row.completion_tokens),
                ],
            })
        });
        Self {
            plots,
            lines: lines.collect(),
            models: models.iter().take(MODELS).map(Model::of).collect(),
            more_models: models.len().saturating_sub(MODELS),
        }
    }
}

impl Model {
    fn of(row: &UsageRow) -> Self {
        Self {
            name: row.model.clone(),
            attempts: words::grouped(row.attempts),
            failed: words::grouped(failed(row)),
            prompt: words::grouped(row.prompt_tokens),
            completion: words::grouped(row.completion_tokens),
            first: written(mean(row.first_event, row.answers)),
            whole: written(mean(row.duration, row.answers)),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn hours_are_where_they_were_and_those_without_requests_too() {
        let now: Timestamp = "2026-11-26T12:30:00Z".parse().unwrap();
        let row = |at: Timestamp, answers| UsageRow {
            begins: Some(prost_types::Timestamp {
                seconds: at.as_second().div_euclid(3600) * 3600,
                nanos: 0,
            }),
            attempts: answers + 1,
            answers,
            prompt_tokens: 10 * answers,
            completion_tokens: answers,
            duration: Some(prost_types::Duration {
                seconds: 2 * i64::try_from(answers).unwrap(),
                nanos: 0,
            }),
            ..Default::default()
        };
        let rows = [
            row(now - SignedDuration::from_hours(HOURS as i64 - 1), 3),
            row(now, 5),
            // Of a clock that is ahead.
            row(now + SignedDuration::from_hours(2), 100),
        ];
        let told = Hours::of(&rows[..2], &[], now);
        let [requests, tokens, times] = &told.plots[..] else {
            panic!("three plots");
        };
        assert_eq!(requests.summary, "10 in 24 h · 2 failed");
        assert_eq!(tokens.summary, "80 prompt · 8 completion");
        assert_eq!(times.summary, "whole answer 2.0 s on average");
        let hits: Vec<_> = requests.hits.iter().map(|hit| &*hit.text).collect();
        assert_eq!(
            hits,
            ["13:00: answered 3, failed 1", "12:00: answered 5, failed 1"]
        );
        assert_eq!(requests.hits[0].x, "0.0");
        assert_eq!(told.lines.len(), 2);
        assert_eq!(Hours::of(&rows, &[], now).lines.len(), 2);
        assert!(
            Hours::of(&[], &[], now)
                .plots
                .iter()
                .all(|plot| plot.is_empty)
        );
    }

    #[test]
    fn a_gateway_that_has_just_begun_tells_of_the_time_that_it_had() {
        let now: Timestamp = "2026-11-26T12:30:30Z".parse().unwrap();
        let mut minutes = vec![Minute::default(); MINUTES];
        for (at, minute) in minutes.iter_mut().enumerate() {
            minute.begins = now.as_second() / 60 - (MINUTES - 1 - at) as i64;
        }
        minutes[MINUTES - 1].answered = 30;
        let tile = |up_for| {
            let live = Live::of(&minutes, now, up_for);
            live.tiles()[0].value.clone()
        };
        assert_eq!(tile(Duration::from_secs(60)), "30");
        assert_eq!(tile(Duration::from_secs(3600)), "6.7");
    }
}
