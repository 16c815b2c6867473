//! Figures over time, as paths that a browser draws without a script. A plot is stretched to the
//! width that there is, so its words stand beside it and not in it.

use std::fmt::Write as _;

/// In units of the drawing.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 100.0;
/// What is drawn at the very top would be cut by half its stroke.
const ROOM: f64 = 2.0;
/// The middle of an edge between bars is so far below the upper one.
const EDGE: f64 = 0.5;
/// A bar that is no higher has none in it.
const LEAST: f64 = 3.0;

/// How values are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// On top of each other: parts of a whole.
    Bars,
    /// Each for itself.
    Lines,
}

/// One name and its colour.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: &'static str,
    /// The class that gives it its colour.
    pub(super) class: &'static str,
    pub(super) path: String,
}

/// What is told of a moment that one points at.
#[derive(Clone, Debug)]
pub(super) struct Hit {
    pub(super) x: String,
    pub(super) text: String,
}

/// A plot as the page has it.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// The same in numbers: what is told of it to those who do not see it.
    pub(super) summary: String,
    pub(super) kind: Kind,
    pub(super) series: Vec<Series>,
    /// Between bars that stand on each other, whose colours are too like to be told apart by
    /// everybody.
    pub(super) edges: String,
    pub(super) hits: Vec<Hit>,
    /// How wide what one points at is.
    pub(super) step: String,
    /// What stands at the top and in the middle of its height.
    pub(super) ceiling: String,
    pub(super) half: String,
    /// What stands below its left end, its middle and its right end.
    pub(super) below: [String; 3],
    pub(super) is_empty: bool,
}

/// A moment: when it was, and a value of each series, where there is one.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) when: String,
    pub(super) values: Vec<Option<f64>>,
}

/// What a plot is of.
pub(super) struct Figures {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) summary: String,
    pub(super) kind: Kind,
    /// Names and classes, in the order of the values.
    pub(super) series: &'static [(&'static str, &'static str)],
    pub(super) columns: Vec<Column>,
    pub(super) below: [String; 3],
    /// How a value is written.
    pub(super) unit: fn(f64) -> String,
}

impl Figures {
    pub(super) fn plot(self) -> Plot {
        let highest = self.columns.iter().map(|column| match self.kind {
            Kind::Bars => column.values.iter().flatten().sum(),
            Kind::Lines => column.values.iter().flatten().copied().fold(0.0, f64::max),
        });
        let highest: f64 = highest.fold(0.0, f64::max);
        let ceiling = ceiling(highest);
        let step = WIDTH / self.columns.len().max(1) as f64;
        let y = |value: f64| HEIGHT - value / ceiling * (HEIGHT - ROOM);
        let series = self.series.iter().enumerate();
        let series = series.map(|(nth, (name, class))| Series {
            name,
            class,
            path: match self.kind {
                Kind::Bars => bars(&self.columns, nth, step, y),
                Kind::Lines => line(&self.columns, nth, step, y),
            },
        });
        let series = series.collect();
        let edges = match self.kind {
            Kind::Bars => edges(&self.columns, step, y),
            Kind::Lines => String::new(),
        };
        let hits = self.columns.iter().enumerate().filter_map(|(at, column)| {
            let values: Vec<_> = std::iter::zip(self.series, &column.values)
                .filter_map(|((name, _), value)| {
                    let value = value.filter(|value| self.kind == Kind::Lines || *value > 0.0)?;
                    Some(format!("{name} {}", (self.unit)(value)))
                })
                .collect();
            (!values.is_empty()).then(|| Hit {
                x: format!("{:.1}", at as f64 * step),
                text: format!("{}: {}", column.when, values.join(", ")),
            })
        });
        Plot {
            id: self.id,
            title: self.title,
            summary: self.summary,
            kind: self.kind,
            series,
            edges,
            hits: hits.collect(),
            step: format!("{step:.1}"),
            ceiling: (self.unit)(ceiling),
            half: (self.unit)(ceiling / 2.0),
            below: self.below,
            is_empty: highest <= 0.0,
        }
    }
}

/// The next of 1, 2, 5, 10, 20 …, so that the scale does not move with each value.
fn ceiling(highest: f64) -> f64 {
    if highest <= 0.0 || !highest.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(highest.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let above = steps.into_iter().find(|step| *step >= highest * 0.999);
    above.unwrap_or(highest)
}

/// Each on what the series before it come to.
fn bars(columns: &[Column], nth: usize, step: f64, y: impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    // Between bars that are wide enough to be told apart there is a gap.
    let width = if step > 8.0 { step * 0.8 } else { step };
    for (at, column) in columns.iter().enumerate() {
        let below: f64 = column.values.iter().take(nth).flatten().sum();
        if let Some(value) = column.values.get(nth).copied().flatten()
            && value > 0.0
        {
            let x = at as f64 * step + (step - width) / 2.0;
            let (bottom, top) = (y(below), y(below + value));
            // Writing to a string does not fail.
            let _ = write!(path, "M{x:.1} {bottom:.1}V{top:.1}h{width:.1}V{bottom:.1}z");
        }
    }
    path
}

/// At the foot of each bar that stands on another, drawn into that: so that a small one, such as
/// that of few failures, is not covered.
fn edges(columns: &[Column], step: f64, y: impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    for (at, column) in columns.iter().enumerate() {
        let (mut below, mut top) = (0.0, HEIGHT);
        for value in column.values.iter().flatten().filter(|value| **value > 0.0) {
            let foot = y(below);
            if top - foot > LEAST {
                // Writing to a string does not fail.
                let _ = write!(
                    path,
                    "M{:.1} {:.1}h{step:.1}",
                    at as f64 * step,
                    foot + EDGE
                );
            }
            below += value;
            top = foot;
        }
    }
    path
}

/// From one value to the next; where there is none it breaks off. Where it begins it is as wide as
/// half of what it stands for, so that a value alone can be seen.
fn line(columns: &[Column], nth: usize, step: f64, y: impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    let mut drawing = false;
    for (at, column) in columns.iter().enumerate() {
        let value = column.values.get(nth).copied().flatten();
        if let Some(value) = value {
            let (x, y) = ((at as f64 + 0.5) * step, y(value));
            // Writing to a string does not fail.
            let _ = if drawing {
                write!(path, "L{x:.1} {y:.1}")
            } else {
                write!(path, "M{:.1} {y:.1}H{x:.1}", x - step / 2.0)
            };
        }
        drawing = value.is_some();
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(kind: Kind, values: &[&[Option<f64>]]) -> Plot {
        let columns = values.iter().enumerate().map(|(at, values)| Column {
            when: format!("12:0{at}"),
            values: values.to_vec(),
        });
        Figures {
            id: "test",
            title: "Test",
            summary: String::new(),
            kind,
            series: &[("answered", "a"), ("failed", "b")],
            columns: columns.collect(),
            below: Default::default(),
            unit: |value| value.to_string(),
        }
        .plot()
    }

    #[test]
    fn bars_stand_on_each_other() {
        let plot = plot(
            Kind::Bars,
            &[
                &[Some(3.0), Some(1.0)],
                &[Some(0.0), None],
                &[None, Some(5.0)],
            ],
        );
        assert_eq!((&*plot.ceiling, &*plot.half), ("5", "2.5"));
        assert_eq!(plot.series[0].path, "M20.0 100.0V41.2h160.0V100.0z");
        assert_eq!(
            plot.series[1].path,
            "M20.0 41.2V21.6h160.0V41.2zM420.0 100.0V2.0h160.0V100.0z"
        );
        // Where one stands on another, and nowhere else.
        assert_eq!(plot.edges, "M0.0 41.7h200.0");
        let told: Vec<_> = plot.hits.iter().map(|hit| &*hit.text).collect();
        assert_eq!(told, ["12:00: answered 3, failed 1", "12:02: failed 5"]);
        assert!(!plot.is_empty);
    }

    #[test]
    fn few_failures_are_not_covered_by_an_edge() {
        let few = [Some(90.0), Some(1.0), Some(9.0)];
        let columns = [Column {
            when: "12:00".to_owned(),
            values: few.to_vec(),
        }];
        let path = edges(&columns, 10.0, |value| HEIGHT - value);
        assert_eq!(path, "M0.0 10.5h10.0");
    }

    #[test]
    fn lines_break_off_where_there_is_nothing() {
        let plot = plot(
            Kind::Lines,
            &[&[Some(1.0), None], &[Some(2.0), None], &[None, Some(1.0)]],
        );
        assert_eq!(plot.ceiling, "2");
        assert_eq!(plot.series[0].path, "M0.0 51.0H100.0L300.0 2.0");
        assert_eq!(plot.series[1].path, "M400.0 51.0H500.0");
    }

    #[test]
    fn nothing_is_empty_and_divides_by_nothing() {
        let plot = plot(Kind::Bars, &[]);
        assert!(plot.is_empty && plot.hits.is_empty());
        assert_eq!(plot.ceiling, "1");
        for (highest, expected) in [(0.03, 0.05), (1.0, 1.0), (1.01, 2.0), (70.0, 100.0)] {
            assert!((ceiling(highest) - expected).abs() < 1e-9, "{highest}");
        }
        assert_eq!(ceiling(f64::INFINITY), 1.0);
    }
}
