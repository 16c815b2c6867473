//! Whether a stream is whole: the prepared answer numbers its sentences, one an event, and
//! none may be missing, merged with another or out of its place.

use serde_json::Value;

/// How many events with text a stream has, of Google's or of OpenAI's kind.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(body: &[u8]) -> Result<usize, String> {
    let body = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let mut events = 0;
    let mut said = String::new();
    for line in body.lines() {
        let Some(data) = line.strip_prefix("data: ").filter(|data| *data != "[DONE]") else {
            continue;
        };
        let event: Value = serde_json::from_str(data).map_err(|error| error.to_string())?;
        let text = text(&event).unwrap_or_default();
        said.push_str(text);
        events += usize::from(!text.is_empty());
    }
    let mut sentences = 0;
    for sentence in said.split_inclusive(". ") {
        sentences += 1;
        let (number, total) = numbers(sentence).ok_or_else(|| format!("unexpected: {sentence}"))?;
        if number != sentences {
            return Err(format!("sentence {number} where {sentences} belongs"));
        }
        if total != events {
            return Err(format!("{events} events for {total}"));
        }
    }
    if sentences == 0 || sentences != events {
        return Err(format!("{sentences} sentences in {events} events"));
    }
    Ok(events)
}

fn text(event: &Value) -> Option<&str> {
    let google = event.get("response").unwrap_or(event);
    google
        .pointer("/candidates/0/content/parts/0/text")
        .or_else(|| event.pointer("/choices/0/delta/content"))?
        .as_str()
}

/// "Line 3 of 50 …": 3 and 50.
fn numbers(sentence: &str) -> Option<(usize, usize)> {
    let mut words = sentence.strip_prefix("Line ")?.split(' ');
    let number = words.next()?.parse().ok()?;
    let total = words.nth(1)?.parse().ok()?;
    Some((number, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(texts: &[&str]) -> Vec<u8> {
        let event = |text: &&str| {
            let chunk = serde_json::json!({"choices": [{"delta": {"content": text}}]});
            format!("data: {chunk}\n\n")
        };
        let events: String = texts.iter().map(event).collect();
        format!("{events}data: [DONE]\n\n").into_bytes()
    }

    #[test]
    fn only_whole_streams_pass() {
        let whole = stream(&["Line 1 of 2 a. ", "Line 2 of 2 b. "]);
        assert_eq!(check(&whole), Ok(2));
        let split_elsewhere = stream(&["Line 1 of 2 a. Line ", "2 of 2 b. "]);
        assert_eq!(check(&split_elsewhere), Ok(2));
        for broken in [
            &["Line 1 of 2 a. "][..],
            &["Line 2 of 2 b. ", "Line 1 of 2 a. "],
            &["Line 1 of 2 a. Line 2 of 2 b. "],
            &["Line 1 of 2 a. ", "Line 1 of 2 a. "],
            &["x"],
            &[],
        ] {
            assert!(check(&stream(broken)).is_err(), "{broken:?}");
        }
        assert!(check(b"data: {\n\n").is_err());
    }
}
