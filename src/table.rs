//! Tables for people: as wide as the terminal, coloured on one, plain in a pipe.

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use jiff::{SignedDuration, Timestamp};

use crate::terminal;

/// A table without lines, with these headings.
pub(crate) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(headings.iter().map(Cell::new));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// Prints it, without the blanks at the ends of its lines.
pub(crate) fn print(table: &Table) {
    for line in table.lines() {
        terminal::line(line.trim_end());
    }
}

/// A cell that says how well something is: green, yellow or red.
pub(crate) fn state(name: &str) -> Cell {
    let colour = match name {
        "active" | "created" | "updated" => Color::Green,
        "cooling_down" | "denied" | "disabled" => Color::Yellow,
        "needs_login" | "needs_validation" | "suspended" | "rejected" | "refused" => Color::Red,
        _ => Color::Reset,
    };
    let cell = Cell::new(name.replace('_', " "));
    if terminal::has_colour() && colour != Color::Reset {
        cell.fg(colour)
    } else {
        cell
    }
}

/// How far `time` is from `now`: `in 52m`, `3h ago`.
pub(crate) fn distance(time: Timestamp, now: Timestamp) -> String {
    let ahead = time.duration_since(now);
    let length = span(ahead.abs());
    match ahead.is_negative() {
        false => format!("in {length}"),
        true => format!("{length} ago"),
    }
}

fn span(length: SignedDuration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (seconds, told) in [
            (0, "in 0s"),
            (59, "in 59s"),
            (3599, "in 59m"),
            (-3600, "1h 0m ago"),
            (200_000, "in 2d"),
        ] {
            let time = Timestamp::from_second(1_000_000 + seconds).unwrap();
            assert_eq!(distance(time, now), told);
        }
    }
}
