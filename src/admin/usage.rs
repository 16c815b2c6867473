//! `usage`: who used what, from the ledger of the token-service.

use std::time::Duration;

use antigravity_proto::v1::{
    QueryUsageRequest, QueryUsageResponse, UsageRow, query_usage_request::Dimension,
};
use antigravity_runtime::config::{self, Environment};
use comfy_table::{Cell, CellAlignment};
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use serde::Serialize;

use super::{Purpose, view, with_client};
use crate::{failure::Failure, table, terminal};

/// What `usage` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A row for each of these, comma-separated.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "key")]
    by: Vec<By>,
    /// From when on: a span such as 7d or 12h, a day such as 2026-11-01, or a time. Whole
    /// hours, by UTC.
    #[arg(long, value_name = "WHEN", default_value = "24h")]
    since: String,
    /// Until when, likewise. Default: now.
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Only of the client's key of this name.
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// Only of this project (its id in the pool).
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// Only of this model.
    #[arg(long)]
    model: Option<String>,
    /// Print CSV, with a line of names first.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print JSON: {"since", "until", "oldest", "rows": [{"begins", "key", "project",
    /// "model", "attempts", "answers", "cancelled", "failed", "prompt_tokens",
    /// "cached_tokens", "completion_tokens", "reasoning_tokens", "total_tokens",
    /// "mean_first_event_ms", "mean_duration_ms"}]}.
    #[arg(long)]
    json: bool,
}

/// What a row may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// The client's key, by its name.
    Key,
    /// The project.
    Project,
    /// The model that was asked.
    Model,
    /// The hour.
    Hour,
    /// The day, by UTC.
    Day,
}

impl By {
    fn dimension(self) -> Dimension {
        match self {
            Self::Key => Dimension::Key,
            Self::Project => Dimension::Project,
            Self::Model => Dimension::Model,
            Self::Hour => Dimension::Hour,
            Self::Day => Dimension::Day,
        }
    }

    fn heading(self) -> &'static str {
        match self {
            Self::Key => "KEY",
            Self::Project => "PROJECT",
            Self::Model => "MODEL",
            Self::Hour => "HOUR",
            Self::Day => "DAY",
        }
    }

    fn cell(self, row: &Row) -> String {
        let name = match self {
            Self::Key => row.key.clone(),
            Self::Project => row.project.clone(),
            Self::Model => row.model.clone(),
            Self::Hour => row.begins.map(|at| at.strftime("%F %H:00").to_string()),
            Self::Day => row.begins.map(|at| at.strftime("%F").to_string()),
        };
        name.unwrap_or_else(|| "-".to_owned())
    }
}

#[derive(Debug, Serialize)]
struct Report {
    since: Timestamp,
    until: Option<Timestamp>,
    oldest: Option<Timestamp>,
    rows: Vec<Row>,
}

#[derive(Debug, Default, Serialize)]
struct Row {
    begins: Option<Timestamp>,
    key: Option<String>,
    project: Option<String>,
    model: Option<String>,
    attempts: u64,
    answers: u64,
    cancelled: u64,
    failed: u64,
    prompt_tokens: u64,
    cached_tokens: u64,
    completion_tokens: u64,
    reasoning_tokens: u64,
    total_tokens: u64,
    mean_first_event_ms: Option<u64>,
    mean_duration_ms: Option<u64>,
}

const COUNTS: [&str; 8] = [
    "ATTEMPTS",
    "ANSWERS",
    "FAILED",
    "PROMPT",
    "CACHED",
    "COMPLETION",
    "REASONING",
    "TOTAL",
];

impl Row {
    fn of(row: UsageRow) -> Self {
        let named = |name: String| (!name.is_empty()).then_some(name);
        let mean = |time: Option<prost_types::Duration>| {
            let time: Duration = time?.try_into().ok()?;
            u64::try_from(time.as_millis())
                .ok()?
                .checked_div(row.answers)
        };
        let begins = row
            .begins
            .and_then(|at| Timestamp::new(at.seconds, at.nanos).ok());
        Self {
            begins,
            key: named(row.api_key_name),
            project: named(row.project_id),
            model: named(row.model),
            attempts: row.attempts,
            answers: row.answers,
            cancelled: row.cancelled,
            failed: row.attempts.saturating_sub(row.answers + row.cancelled),
            prompt_tokens: row.prompt_tokens,
            cached_tokens: row.cached_tokens,
            completion_tokens: row.completion_tokens,
            reasoning_tokens: row.reasoning_tokens,
            total_tokens: row.prompt_tokens.saturating_add(row.completion_tokens),
            mean_first_event_ms: mean(row.first_event),
            mean_duration_ms: mean(row.duration),
        }
    }

    fn counts(&self) -> [u64; 8] {
        [
            self.attempts,
            self.answers,
            self.failed,
            self.prompt_tokens,
            self.cached_tokens,
            self.completion_tokens,
            self.reasoning_tokens,
            self.total_tokens,
        ]
    }
}

/// Sums up.
pub(crate) async fn run(environment: &Environment, arguments: Arguments) -> Result<(), Failure> {
    let now = Timestamp::now();
    let since = when("--since", &arguments.since, now)?;
    let until = arguments
        .until
        .as_deref()
        .map(|text| when("--until", text, now))
        .transpose()?;
    let request = QueryUsageRequest {
        since: Some(timestamp(since)),
        until: until.map(timestamp),
        by: arguments
            .by
            .iter()
            .map(|by| by.dimension().into())
            .collect(),
        api_key_name: arguments.key.unwrap_or_default(),
        project_id: arguments.project.unwrap_or_default(),
        model: arguments.model.unwrap_or_default(),
    };
    let QueryUsageResponse { rows, oldest } =
        with_client(environment, Purpose::Read, async |client| {
            Ok(client.query_usage(request).await?)
        })
        .await?;
    let report = Report {
        since,
        until,
        oldest: oldest.and_then(|at| Timestamp::new(at.seconds, at.nanos).ok()),
        rows: rows.into_iter().map(Row::of).collect(),
    };
    if arguments.json {
        return view::print_json(&report);
    }
    if arguments.csv {
        print_csv(&report.rows);
        return Ok(());
    }
    print_table(&report, &arguments.by);
    Ok(())
}

fn print_table(report: &Report, by: &[By]) {
    if report.rows.is_empty() {
        terminal::line(match report.oldest {
            Some(oldest) => format!(
                "Nothing was used in that time. The ledger goes back to {}.",
                oldest.strftime("%F %H:00")
            ),
            None => "Nothing was used yet.".to_owned(),
        });
        return;
    }
    let headings: Vec<_> = by.iter().map(|by| by.heading()).chain(COUNTS).collect();
    let mut table = table::table(&headings);
    let number = |count: u64| Cell::new(grouped(count)).set_alignment(CellAlignment::Right);
    for row in &report.rows {
        let names = by.iter().map(|by| Cell::new(by.cell(row)));
        table.add_row(names.chain(row.counts().map(number)));
    }
    if report.rows.len() > 1 {
        let sums = (0..COUNTS.len()).map(|at| {
            let column = report.rows.iter().map(|row| row.counts()[at]);
            number(column.fold(0, u64::saturating_add))
        });
        let names = by.iter().enumerate();
        let names = names.map(|(at, _)| Cell::new(if at == 0 { "all" } else { "" }));
        table.add_row(names.chain(sums));
    }
    table::print(&table);
}

/// Digits in threes: `1,234,567`.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn print_csv(rows: &[Row]) {
    terminal::line(
        "begins,key,project,model,attempts,answers,cancelled,failed,prompt_tokens,cached_tokens,\
         completion_tokens,reasoning_tokens,total_tokens,mean_first_event_ms,mean_duration_ms",
    );
    let optional = |mean: Option<u64>| mean.map(|mean| mean.to_string()).unwrap_or_default();
    for row in rows {
        let begins = row.begins.map(|at| at.to_string()).unwrap_or_default();
        let name = |name: &Option<String>| quoted(name.as_deref().unwrap_or_default());
        let counts = [
            row.attempts,
            row.answers,
            row.cancelled,
            row.failed,
            row.prompt_tokens,
            row.cached_tokens,
            row.completion_tokens,
            row.reasoning_tokens,
            row.total_tokens,
        ];
        let fields = [begins, name(&row.key), name(&row.project), name(&row.model)]
            .into_iter()
            .chain(counts.map(|count| count.to_string()))
            .chain([row.mean_first_event_ms, row.mean_duration_ms].map(optional));
        terminal::line(fields.collect::<Vec<_>>().join(","));
    }
}

/// As RFC 4180 wants it; and nothing that a spreadsheet would take for a formula, as models are
/// named by clients.
fn quoted(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@']) {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

/// A span before now, a day, or a time.
fn when(argument: &str, text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    if let Ok(span) = config::duration(text) {
        let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
        return Ok(now.saturating_sub(span).unwrap_or(Timestamp::MIN));
    }
    let day = || {
        let day: Date = text.parse().ok()?;
        Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp())
    };
    text.parse().ok().or_else(day).ok_or_else(|| {
        Failure::Usage(format!(
            "{argument} {text:?} is no span such as 7d or 12h, no day such as 2026-11-01 and no \
             time such as 2026-11-01T12:00:00Z"
        ))
    })
}

fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.as_second(),
        nanos: at.subsec_nanosecond(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spans_days_or_times() {
        let now: Timestamp = "2026-11-26T12:30:00Z".parse().unwrap();
        for (text, expected) in [
            ("7d", "2026-11-19T12:30:00Z"),
            ("90m", "2026-11-26T11:00:00Z"),
            ("2026-11-01", "2026-11-01T00:00:00Z"),
            ("2026-11-01T05:00:00+01:00", "2026-11-01T04:00:00Z"),
        ] {
            assert_eq!(when("--since", text, now).unwrap().to_string(), expected);
        }
        for text in ["", "yesterday", "7 weeks", "2026-13-01", "-1d"] {
            assert!(when("--since", text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn csv_is_no_formula_and_has_its_quotes() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("=1+1", "'=1+1"),
            ("@x,y", "\"'@x,y\""),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }

    #[test]
    fn digits_stand_in_threes() {
        for (count, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(count), expected);
        }
    }
}
