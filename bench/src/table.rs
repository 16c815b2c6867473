//! The tables that are printed.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::{
    figures::{Figures, Life, Spread},
    hostile::Effect,
    load::Told,
    rig::Target,
    workload::Load,
};

#[cfg(test)]
mod tests;

/// Memory that is allowed: MiB at rest, KiB for each live stream, and the part of what was
/// there at rest that may stay.
const IDLE_TARGET: f64 = 15.0;
const STREAM_TARGET: f64 = 40.0;
const LEFT_TARGET: f64 = 0.2;
/// Milliseconds between two events that Google sends 20 ms apart.
const GAP_TARGET: f64 = 200.0;
/// Milliseconds over the pass-through, and what two gateways are to carry.
const SILENCE_TARGET: f64 = 1.0;
const TWO_TARGET: f64 = 1.8;

/// Processor time and throughput.
pub(crate) fn processor(all: &[Figures]) -> String {
    let beside = all.iter().any(|one| one.of(Target::Beside, cpu).is_some());
    let mut headings = vec!["workload", "pass-through", "gateway", "×", "target", ""];
    if beside {
        headings.push("beside ×");
    }
    headings.extend(["req/s direct", "pass-through", "gateway", "×"]);
    let mut table = new(&headings);
    for one in all {
        let ratio = one.ratio(Target::Ours, Target::PassThrough, cpu);
        let target = one.workload.cpu_target;
        let mut row = vec![
            one.workload.name.to_owned(),
            median(one.of(Target::PassThrough, cpu), 4),
            median(one.of(Target::Ours, cpu), 4),
            spread(ratio),
            target.map_or(String::new(), |target| format!("≤ {target}")),
            verdict(ratio.map(|ratio| ratio.median), target),
        ];
        if beside {
            row.push(spread(one.ratio(Target::Beside, Target::PassThrough, cpu)));
        }
        row.extend([
            median(one.of(Target::Direct, per_second), 0),
            median(one.of(Target::PassThrough, per_second), 0),
            median(one.of(Target::Ours, per_second), 0),
            spread(one.ratio(Target::Ours, Target::PassThrough, per_second)),
        ]);
        table.add_row(row);
    }
    titled(
        "CPU seconds for 1,000 requests (gateway: with the token-service), and requests a second",
        &table,
    )
}

/// Time added over direct: at one connection, and for slow streams.
pub(crate) fn latency(all: &[Figures]) -> Option<String> {
    let mut table = new(&[
        "workload",
        "first byte p50",
        "pass-through",
        "×",
        "p99",
        "pass-through",
        "total p50",
        "pass-through",
        "×",
        "p99",
        "pass-through",
        "target",
        "",
    ]);
    let mut rows = 0;
    for one in all {
        let slow = matches!(one.workload.load, Load::Slow { .. });
        if !slow && one.workload.load.connections() != 1 {
            continue;
        }
        rows += 1;
        let ours = |figure| one.added(Target::Ours, Target::Direct, figure);
        let reference = |figure| one.added(Target::PassThrough, Target::Direct, figure);
        let added = ours(total_p50);
        let target = one.workload.added_target;
        table.add_row([
            one.workload.name.to_owned(),
            spread(ours(first_p50)),
            median(reference(first_p50), 2),
            quotient(ours(first_p50), reference(first_p50)),
            median(ours(first_p99), 2),
            median(reference(first_p99), 2),
            spread(added),
            median(reference(total_p50), 2),
            quotient(added, reference(total_p50)),
            median(ours(total_p99), 2),
            median(reference(total_p99), 2),
            target.map_or(String::new(), |target| format!("≤ {target}")),
            verdict(added.map(|added| added.median), target),
        ]);
    }
    (rows > 0).then(|| titled("Milliseconds added over direct", &table))
}

/// Whole streams, their order and their gaps.
pub(crate) fn streams(all: &[Figures]) -> Option<String> {
    let mut table = new(&[
        "workload",
        "whole streams",
        "total p50 direct",
        "pass-through",
        "gateway",
        "longest gap direct",
        "pass-through",
        "gateway",
        "target",
        "",
    ]);
    let mut rows = 0;
    for one in all {
        if !matches!(one.workload.load, Load::Slow { .. }) {
            continue;
        }
        rows += 1;
        let gap = one.of(Target::Ours, longest_gap);
        table.add_row([
            one.workload.name.to_owned(),
            median(one.of(Target::Ours, answers), 0),
            median(one.of(Target::Direct, total_p50), 0),
            median(one.of(Target::PassThrough, total_p50), 0),
            median(one.of(Target::Ours, total_p50), 0),
            median(one.of(Target::Direct, longest_gap), 0),
            median(one.of(Target::PassThrough, longest_gap), 0),
            spread(gap),
            format!("≤ {GAP_TARGET}"),
            gap_verdict(gap, one.of(Target::Direct, longest_gap)),
        ]);
    }
    (rows > 0).then(|| {
        titled(
            "Slow streams, ms: each with all its events, unmerged and in order",
            &table,
        )
    })
}

/// One event that nothing follows for a while.
pub(crate) fn silence(all: &[Figures]) -> Option<String> {
    let mut table = new(&[
        "workload",
        "p50 direct",
        "pass-through",
        "gateway",
        "p99 direct",
        "pass-through",
        "gateway",
        "p99 over pass-through",
        "target",
        "",
    ]);
    let silent = |one: &&Figures| matches!(one.workload.load, Load::Silent { .. });
    for one in all.iter().filter(silent) {
        let over = one.added(Target::Ours, Target::PassThrough, first_p99);
        table.add_row([
            one.workload.name.to_owned(),
            median(one.of(Target::Direct, first_p50), 2),
            median(one.of(Target::PassThrough, first_p50), 2),
            median(one.of(Target::Ours, first_p50), 2),
            median(one.of(Target::Direct, first_p99), 2),
            median(one.of(Target::PassThrough, first_p99), 2),
            median(one.of(Target::Ours, first_p99), 2),
            spread(over),
            format!("≤ {SILENCE_TARGET}"),
            verdict(over.map(|over| over.median), Some(SILENCE_TARGET)),
        ]);
    }
    (table.row_count() > 0).then(|| {
        titled(
            "Milliseconds to an event that is followed by 200 ms of silence",
            &table,
        )
    })
}

/// Two gateways beside one.
pub(crate) fn scale(all: &[Figures]) -> Option<String> {
    let mut table = new(&[
        "workload",
        "CPU, one",
        "two",
        "two carry ×",
        "target",
        "",
        "req/s, one",
        "two",
        "total p50, one",
        "two",
    ]);
    for one in all.iter().filter(|one| one.workload.two) {
        let carried = one.carried_by_two();
        let met = carried.is_some_and(|carried| carried.median >= TWO_TARGET);
        table.add_row([
            one.workload.name.to_owned(),
            median(one.of(Target::Ours, cpu), 4),
            median(one.of(Target::Two, cpu), 4),
            spread(carried),
            format!("≥ {TWO_TARGET}"),
            if met { "met" } else { "missed" }.to_owned(),
            median(one.of(Target::Ours, per_second), 0),
            median(one.of(Target::Two, per_second), 0),
            median(one.of(Target::Ours, total_p50), 2),
            median(one.of(Target::Two, total_p50), 2),
        ]);
    }
    (table.row_count() > 0).then(|| {
        titled(
            "Two gateways that share the load: CPU seconds for 1,000 requests, with the \
             token-service; what they carry with a core each, as a multiple of what one does",
            &table,
        )
    })
}

/// Resident memory.
pub(crate) fn memory(all: &[Figures]) -> String {
    let mut table = new(&[
        "workload",
        "gateway idle",
        "peak",
        "settled",
        "pass-through idle",
        "peak",
        "settled",
        "× peak",
        "token-service peak",
        "KiB a stream",
        "missed",
    ]);
    for one in all {
        let memory = &one.memory;
        let ours = memory.gateway;
        let streams = one
            .streams
            .map(|streams| (ours.peak - ours.idle) * 1024.0 / streams as f64);
        let mut row = vec![one.workload.name.to_owned()];
        row.extend(life(ours));
        row.extend(life(memory.pass_through));
        row.extend([
            format!("{:.2}", ours.peak / memory.pass_through.peak),
            format!("{:.1}", memory.token_service.peak),
            streams.map_or(String::new(), |kib| format!("{kib:.0}")),
            missed(ours, streams),
        ]);
        table.add_row(row);
    }
    let title = format!(
        "Resident MiB (targets of the gateway: idle ≤ {IDLE_TARGET}, ≤ {STREAM_TARGET} KiB for \
         each live stream, settled within {:.0} % of idle)",
        LEFT_TARGET * 100.0
    );
    titled(&title, &table)
}

fn missed(life: Life, streams: Option<f64>) -> String {
    let misses = [
        ("idle", life.idle > IDLE_TARGET),
        ("stream", streams.is_some_and(|kib| kib > STREAM_TARGET)),
        ("settled", life.settled > life.idle * (1.0 + LEFT_TARGET)),
    ];
    let names: Vec<&str> = misses
        .iter()
        .filter_map(|(name, missed)| missed.then_some(*name))
        .collect();
    names.join(", ")
}

/// What misbehaving clients and upstreams do to the others.
pub(crate) fn hostile(effects: &[Effect]) -> String {
    let mut table = new(&[
        "beside",
        "newcomer's answer, ms",
        "others' p50",
        "alone",
        "p99",
        "alone",
        "failed",
        "gateway CPU, s",
        "gateway peak, MiB",
        "settled",
        "",
    ]);
    for effect in effects {
        table.add_row([
            effect.name.to_owned(),
            format!("{:.0}", effect.newcomer),
            format!("{:.2}", effect.others.total.p50),
            format!("{:.2}", effect.alone.total.p50),
            format!("{:.2}", effect.others.total.p99),
            format!("{:.2}", effect.alone.total.p99),
            effect.others.failures.to_string(),
            format!("{:.2}", effect.seconds),
            format!("{:.1}", effect.memory.peak),
            format!("{:.1}", effect.memory.settled),
            effect.remark.clone(),
        ]);
    }
    titled(
        "Bad input: unary requests at 8 connections beside it",
        &table,
    )
}

pub(crate) fn new(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::ASCII_MARKDOWN)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(headings.iter().copied());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

pub(crate) fn titled(title: &str, table: &Table) -> String {
    format!("{title}\n\n{table}\n")
}

fn median(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or("–".to_owned(), |spread| {
        format!("{:.digits$}", spread.median)
    })
}

fn spread(spread: Option<Spread>) -> String {
    spread.map_or("–".to_owned(), |spread| spread.to_string())
}

fn quotient(one: Option<Spread>, other: Option<Spread>) -> String {
    match (one, other) {
        (Some(one), Some(other)) if other.median > 0.0 => {
            format!("{:.1}", one.median / other.median)
        }
        _ => "–".to_owned(),
    }
}

fn verdict(value: Option<f64>, target: Option<f64>) -> String {
    match (value, target) {
        (Some(value), Some(target)) if value <= target => "met".to_owned(),
        (_, Some(_)) => "missed".to_owned(),
        (_, None) => String::new(),
    }
}

/// Where Google's own streams have such gaps, nothing is said of the gateway's.
fn gap_verdict(ours: Option<Spread>, direct: Option<Spread>) -> String {
    let [ours, direct] = [ours, direct].map(|gap| gap.map(|gap| gap.median));
    match verdict(ours, Some(GAP_TARGET)).as_str() {
        "missed" if direct.is_some_and(|direct| direct > GAP_TARGET) => "missed, direct too".into(),
        other => other.to_owned(),
    }
}

fn life(life: Life) -> [String; 3] {
    [life.idle, life.peak, life.settled].map(|mebibytes| format!("{mebibytes:.1}"))
}

fn cpu(told: &Told) -> f64 {
    told.cpu
}

fn per_second(told: &Told) -> f64 {
    told.per_second
}

fn first_p50(told: &Told) -> f64 {
    told.first_byte.p50
}

fn first_p99(told: &Told) -> f64 {
    told.first_byte.p99
}

fn total_p50(told: &Told) -> f64 {
    told.total.p50
}

fn total_p99(told: &Told) -> f64 {
    told.total.p99
}

fn longest_gap(told: &Told) -> f64 {
    told.longest_gap
}

fn answers(told: &Told) -> f64 {
    told.answers as f64
}
