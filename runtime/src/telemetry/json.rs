//! One JSON object a line, written straight into the line: a line for each request is worth
//! no tree of values.

use std::fmt::{self, Write as _};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    registry::LookupSpan,
};

/// Writes events as JSON objects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        writer.write_str("\",\"level\":\"")?;
        writer.write_str(metadata.level().as_str())?;
        writer.write_char('"')?;
        let mut fields = Fields {
            line: writer.by_ref(),
            result: Ok(()),
        };
        event.record(&mut fields);
        fields.result?;
        writer.write_str(",\"target\":\"")?;
        Escaped(writer.by_ref()).write_str(metadata.target())?;
        writer.write_str("\"}\n")
    }
}

struct Fields<'w> {
    line: Writer<'w>,
    result: fmt::Result,
}

impl Fields<'_> {
    fn value(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.result = self.result.and_then(|()| {
            self.name(field)?;
            self.line.write_fmt(value)
        });
    }

    fn name(&mut self, field: &Field) -> fmt::Result {
        self.line.write_str(",\"")?;
        Escaped(self.line.by_ref()).write_str(field.name())?;
        self.line.write_str("\":")
    }

    fn text(&mut self, field: &Field, write: impl FnOnce(&mut Escaped<'_>) -> fmt::Result) {
        self.result = self.result.and_then(|()| {
            self.name(field)?;
            self.line.write_char('"')?;
            write(&mut Escaped(self.line.by_ref()))?;
            self.line.write_char('"')
        });
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.value(field, format_args!("{value}"));
        } else {
            self.value(field, format_args!("null"));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.value(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.value(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.value(field, format_args!("{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, |text| text.write_str(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, |text| write!(text, "{value:?}"));
    }
}

/// Escapes what is written for the inside of a JSON string.
struct Escaped<'w>(Writer<'w>);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut from = 0;
        for (at, byte) in text.bytes().enumerate() {
            if byte >= b' ' && byte != b'"' && byte != b'\\' {
                continue;
            }
            self.0.write_str(&text[from..at])?;
            from = at + 1;
            match byte {
                b'"' => self.0.write_str("\\\"")?,
                b'\\' => self.0.write_str("\\\\")?,
                b'\n' => self.0.write_str("\\n")?,
                _ => write!(self.0, "\\u{byte:04x}")?,
            }
        }
        self.0.write_str(&text[from..])
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt as _};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Kept {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn every_kind_of_value_is_one_line_of_json() {
        let kept = Kept::default();
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(kept.clone())
            .event_format(Json);
        let subscriber = tracing_subscriber::registry().with(lines);
        let evil = "a\"b\\c\nd\u{1}é";
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(
                target: "here",
                whole = 7_u64,
                less = -7,
                part = 0.5,
                none = f64::NAN,
                absent = None::<u64>,
                is = true,
                text = evil,
                shown = %evil,
                debug = ?Some("x"),
                "it {}",
                "happened"
            );
        });
        let line = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["target"], "here");
        assert_eq!(line["message"], "it happened");
        assert_eq!((&line["whole"], &line["less"]), (&7.into(), &(-7).into()));
        assert_eq!((&line["part"], &line["is"]), (&0.5.into(), &true.into()));
        assert!(line["none"].is_null() && line.get("absent").is_none());
        assert_eq!(
            (&line["text"], &line["shown"]),
            (&evil.into(), &evil.into())
        );
        assert_eq!(line["debug"], "Some(\"x\")");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }
}
