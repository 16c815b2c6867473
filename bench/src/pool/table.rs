//! Figures beside targets.

use std::time::Duration;

use super::Figures;
use crate::table::{new, titled};

const START_TARGET: Duration = Duration::from_secs(2);
const ACQUIRE_TARGET: Duration = Duration::from_millis(1);
/// MiB.
const MEMORY_TARGET: f64 = 60.0;

struct Row {
    name: String,
    figure: String,
    target: String,
    /// `None`: there is no target.
    met: Option<bool>,
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1_000.0)
}

impl Figures {
    fn rows(&self) -> Vec<Row> {
        let row = |name: &str, figure: String, target: &str, met: Option<bool>| Row {
            name: name.to_owned(),
            figure,
            target: target.to_owned(),
            met,
        };
        let started = self.started < START_TARGET;
        let mut rows = vec![row(
            "start until the first turn",
            milliseconds(self.started),
            "< 2 s",
            Some(started),
        )];
        for acquires in &self.acquires {
            let figure = format!(
                "p50 {}, p99 {}, max {}",
                milliseconds(acquires.median),
                milliseconds(acquires.p99),
                milliseconds(acquires.longest)
            );
            let met = acquires.p99 < ACQUIRE_TARGET;
            rows.push(row(&acquires.name, figure, "p99 < 1 ms", Some(met)));
        }
        let (after_start, most) = self.memory;
        rows.extend([
            row(
                "memory after the start",
                format!("{after_start:.1} MiB"),
                "",
                None,
            ),
            row(
                "memory at most",
                format!("{most:.1} MiB"),
                "< 60 MiB",
                Some(most < MEMORY_TARGET),
            ),
            row("list of all projects", milliseconds(self.listed), "", None),
            row("scrape of metrics", milliseconds(self.scraped), "", None),
            row(
                "refreshes when all are due",
                format!("{:.0} a second", self.refreshes),
                "",
                None,
            ),
        ]);
        rows
    }

    /// What misses its target.
    pub(super) fn missed(&self) -> Vec<String> {
        let rows = self.rows().into_iter();
        rows.filter(|row| row.met == Some(false))
            .map(|row| format!("{} ({}; {})", row.name, row.figure, row.target))
            .collect()
    }
}

pub(super) fn of(figures: &Figures, projects: u32) -> String {
    let mut table = new(&["", "figure", "target", "met"]);
    for row in figures.rows() {
        let met = row.met.map_or("", |met| if met { "yes" } else { "no" });
        table.add_row([row.name, row.figure, row.target, met.to_owned()]);
    }
    titled(&format!("A pool of {projects} projects"), &table)
}

#[cfg(test)]
mod tests {
    use super::{super::Acquires, *};

    #[test]
    fn what_misses_its_target_is_named() {
        let acquires = Acquires {
            name: "acquire 1 turn".to_owned(),
            median: Duration::from_micros(100),
            p99: Duration::from_micros(900),
            longest: Duration::from_secs(1),
        };
        let mut figures = Figures {
            started: Duration::from_secs(1),
            memory: (40.0, 50.0),
            acquires: vec![acquires],
            ..Figures::default()
        };
        assert!(figures.missed().is_empty());
        figures.started = Duration::from_secs(3);
        figures.memory.1 = 61.0;
        figures.acquires[0].p99 = Duration::from_millis(2);
        assert_eq!(figures.missed().len(), 3, "{:?}", figures.missed());
    }
}
