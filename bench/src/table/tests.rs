//! Tables of figures that are made up.

use std::collections::HashMap;

use super::*;
use crate::{figures::Memories, load::Percentiles, workload::WORKLOADS};

fn told(cpu: f64) -> Told {
    let times = Percentiles {
        p50: cpu * 10.0,
        p99: cpu * 20.0,
    };
    Told {
        answers: 100,
        per_second: 100.0 / cpu,
        cpu,
        first_byte: times,
        total: times,
        longest_gap: 20.0,
        failures: 0,
        failure: None,
    }
}

/// Three repetitions on a machine that gets slower by half each time.
fn figures(name: &str, ours: f64) -> Figures {
    let repetition = |slower: f64| {
        let of = |target, cpu| (target, told(cpu * slower));
        HashMap::from([
            of(Target::Direct, 0.5),
            of(Target::PassThrough, 1.0),
            of(Target::Ours, ours),
        ])
    };
    let life = Life {
        idle: 10.0,
        peak: 30.0,
        settled: 11.0,
    };
    Figures {
        workload: WORKLOADS.iter().find(|one| one.name == name).unwrap(),
        told: [1.0, 1.5, 2.25].map(repetition).into(),
        memory: Memories {
            gateway: life,
            pass_through: life,
            token_service: life,
        },
        streams: name.contains("slow").then_some(512),
    }
}

fn row<'t>(table: &'t str, name: &str) -> &'t str {
    table.lines().find(|line| line.contains(name)).unwrap()
}

#[test]
fn a_slower_machine_changes_no_multiple() {
    let all = [
        figures("unary-small-32", 1.9),
        figures("unary-large-32", 1.9),
    ];
    let table = processor(&all);
    let small = row(&table, "unary-small-32");
    assert!(
        small.contains("1.90 (1.90–1.90)") && small.contains("met"),
        "{small}"
    );
    assert!(row(&table, "unary-large-32").contains("missed"), "{table}");
    assert!(!table.contains("beside"), "{table}");
    // One connection, and slow streams, have times of their own.
    assert!(latency(&all).is_none() && streams(&all).is_none());
}

#[test]
fn time_is_told_as_what_is_added_to_direct() {
    let table = latency(&[figures("stream-small-1", 2.5)]).unwrap();
    let row = row(&table, "stream-small-1");
    // Direct takes 5, 7.5 and 11.25 ms, the gateway five times that.
    assert!(row.contains("30.00 (20.00–45.00)"), "{row}");
    assert!(row.contains("4.0") && row.contains("missed"), "{row}");
}

#[test]
fn silence_is_held_against_the_pass_through() {
    assert!(silence(&[figures("slow-500", 1.0)]).is_none());
    // The 99th percentile is 20 ms here for each second of the pass-through's 1, 1.5, 2.25.
    let table = silence(&[figures("one-event-40", 1.02)]).unwrap();
    let of = row(&table, "one-event-40");
    assert!(
        of.contains("0.60 (0.40–0.90)") && of.contains("met"),
        "{of}"
    );
    let table = silence(&[figures("one-event-40", 1.1)]).unwrap();
    assert!(row(&table, "one-event-40").contains("missed"), "{table}");
}

#[test]
fn two_gateways_carry_what_their_requests_leave_room_for() {
    assert!(scale(&[figures("slow-500", 1.0)]).is_none());
    let two = |cpu: f64| {
        let mut figures = figures("two-gateways-unary-32", 1.0);
        for (repetition, slower) in figures.told.iter_mut().zip([1.0, 1.5, 2.25]) {
            repetition.insert(Target::Two, told(cpu * slower));
        }
        scale(&[figures]).unwrap()
    };
    let table = two(1.0);
    let of = row(&table, "two-gateways");
    assert!(
        of.contains("2.00 (2.00–2.00)") && of.contains("met"),
        "{of}"
    );
    let table = two(1.25);
    let of = row(&table, "two-gateways");
    assert!(
        of.contains("1.60 (1.60–1.60)") && of.contains("missed"),
        "{of}"
    );
}

#[test]
fn a_gap_that_google_has_too_is_told_as_such() {
    let with_gaps = |ours: f64, direct: f64| {
        let mut figures = figures("slow-500", 1.0);
        for repetition in &mut figures.told {
            let mut set = |target, gap| repetition.get_mut(&target).unwrap().longest_gap = gap;
            set(Target::Ours, ours);
            set(Target::Direct, direct);
        }
        let table = streams(&[figures]).unwrap();
        row(&table, "slow-500")
            .trim_end_matches([' ', '|'])
            .to_owned()
    };
    assert!(with_gaps(200.0, 300.0).ends_with("met"));
    assert!(with_gaps(201.0, 200.0).ends_with("missed"));
    assert!(with_gaps(201.0, 201.0).ends_with("missed, direct too"));
}

#[test]
fn memory_is_told_for_each_stream() {
    let table = memory(&[figures("slow-500", 1.0)]);
    let row = row(&table, "slow-500");
    assert!(row.contains(" 40 ") && !row.contains("stream"), "{row}");
}
