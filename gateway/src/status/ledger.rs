//! The plots of the ledger's hours, which are those of all gateways, and its models.

use std::time::Duration;

use antigravity_proto::v1::UsageRow;
use jiff::Timestamp;

use super::{
    figures::{Line, TOKENS, clock, tokens},
    plot::{Column, Figures, Kind, Plot},
    pool::HOURS,
    words::{self, Moment},
};

/// Models that are named.
const MODELS: usize = 12;
const ATTEMPTS: &[(&str, &str)] = &[
    ("answered", "blue"),
    ("failed", "red"),
    ("cancelled", "grey"),
];
const MEANS: &[(&str, &str)] = &[("first event", "blue"), ("whole answer", "violet")];

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
}
