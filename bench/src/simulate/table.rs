//! The tables of the simulation.

use super::{Outcome, time::Time};
use crate::table::{new, titled};

fn row(outcome: &Outcome, more: impl IntoIterator<Item = String>) -> Vec<String> {
    let size = outcome.size;
    let sizes = [size.gateways, size.replicas, size.projects];
    sizes
        .map(|size| size.to_string())
        .into_iter()
        .chain(more)
        .collect()
}

fn table(
    title: &str,
    headings: &[&str],
    outcomes: &[Outcome],
    figures: impl Fn(&Outcome) -> Vec<String>,
) -> String {
    let sizes = ["gateways", "replicas", "projects"];
    let headings: Vec<_> = sizes.iter().chain(headings).copied().collect();
    let mut table = new(&headings);
    for outcome in outcomes {
        table.add_row(row(outcome, figures(outcome)));
    }
    titled(title, &table)
}

fn one(value: f64) -> String {
    format!("{value:.1}")
}

#[expect(clippy::cast_precision_loss, reason = "times of a simulation")]
fn milliseconds(time: Time) -> String {
    one(time as f64 / 1_000.0)
}

#[expect(clippy::cast_precision_loss, reason = "times of a simulation")]
fn seconds(time: Time) -> String {
    one(time as f64 / 1_000_000.0)
}

/// Who calls whom how often.
pub(super) fn calls(outcomes: &[Outcome]) -> String {
    let headings = [
        "requests/s",
        "AcquireTokens/s",
        "ReportOutcomes/s",
        "calls/s of the busiest replica",
        "transactions/s",
        "failed",
    ];
    table(
        "Calls of the token-service",
        &headings,
        outcomes,
        |outcome| {
            let figures = &outcome.traffic;
            vec![
                one(figures.requests),
                one(figures.acquires),
                one(figures.reports),
                one(figures.busiest),
                one(figures.transactions),
                figures.failed.to_string(),
            ]
        },
    )
}

/// How even shares are.
pub(super) fn shares(outcomes: &[Outcome]) -> String {
    let title = "Requests of projects, while a gateway and one of several replicas are killed";
    table(
        title,
        &["max − min", "bound", "at the worst moment"],
        outcomes,
        |outcome| {
            let figures = &outcome.traffic;
            let spreads = [figures.spread, figures.bound, figures.worst_spread];
            spreads.map(|spread| spread.to_string()).into()
        },
    )
}

/// How soon cooldowns are obeyed.
pub(super) fn cooldowns(outcomes: &[Outcome]) -> String {
    let headings = [
        "cooldowns",
        "all replicas know, ms p50",
        "p99",
        "max",
        "last request, ms p50",
        "p99",
        "max",
        "refused",
    ];
    let title = "Cooldowns: from the first 429 of a project until every replica knows, and until \
                 the last request to it; how many requests of a cooldown were refused";
    table(title, &headings, outcomes, |outcome| {
        let obedience = &outcome.traffic.obedience;
        let times = obedience.known.into_iter().chain(obedience.asked);
        let mut row = vec![obedience.count.to_string()];
        row.extend(times.map(milliseconds));
        row.push(one(obedience.refused));
        row
    })
}

/// How refreshes are spread.
pub(super) fn refreshes(outcomes: &[Outcome]) -> String {
    let headings = [
        "all fresh after s",
        "ideal/s",
        "mean/s",
        "p99 s",
        "max s",
        "least left s",
        "leases/refresh",
        "transactions/s",
    ];
    let title = "Refreshes: all tokens expired at the start; rates after the first hour";
    table(title, &headings, outcomes, |outcome| {
        let figures = &outcome.refresh;
        vec![
            seconds(figures.all_fresh),
            format!("{:.2}", figures.ideal),
            format!("{:.2}", figures.mean),
            figures.p99.to_string(),
            figures.most.to_string(),
            seconds(figures.least_left),
            one(figures.attempts),
            one(figures.transactions),
        ]
    })
}
