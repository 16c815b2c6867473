//! Reads `.env` files the way python-dotenv does, since that is what wrote the
//! files our users have: an unquoted value runs to the end of its line, so that
//! `API_KEYS=["a","b"]` keeps its quotes. Variables are not interpolated.

/// One assignment of a `.env` file.
#[derive(Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The variable's name.
    pub name: String,
    /// Its value, quotes and escapes resolved.
    pub value: String,
    /// Where it stands, from 1.
    pub line: usize,
}

impl std::fmt::Debug for Assignment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assignment")
            .field("name", &self.name)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

/// A line that is neither empty, a comment nor an assignment.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not `NAME=value`: {problem}")]
pub struct Malformed {
    /// Where it stands, from 1.
    pub line: usize,
    /// What is wrong with it. Never its text, which may hold a secret.
    pub problem: &'static str,
}

/// The assignments of a file in their order.
///
/// # Errors
/// The first line that is no assignment.
pub fn parse(text: &str) -> Result<Vec<Assignment>, Malformed> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut assignments = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let (current, _) = split_line(rest);
        let trimmed = current.trim_start();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            rest = split_line(rest).1;
            line += 1;
            continue;
        }
        let malformed = |problem| Malformed { line, problem };
        let declaration = trimmed
            .strip_prefix("export ")
            .map_or(trimmed, str::trim_start);
        let Some((name, value)) = declaration.split_once('=') else {
            return Err(malformed("there is no `=`"));
        };
        let name = name.trim();
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(malformed(
                "the name may hold letters, digits and underscores",
            ));
        }
        let value = value.trim_start_matches([' ', '\t']);
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (value, consumed) = match quote {
            Some(quote) => {
                let start = offset(rest, value) + 1;
                let (value, end) = quoted(&rest[start..], quote)
                    .ok_or_else(|| malformed("its quote is not closed"))?;
                (value, start + end)
            }
            None => (unquoted(value).to_owned(), 0),
        };
        assignments.push(Assignment {
            name: name.to_owned(),
            value,
            line,
        });
        line += rest[..consumed].matches('\n').count() + 1;
        rest = split_line(&rest[consumed..]).1;
    }
    Ok(assignments)
}

/// Where `part`, a slice of `whole`, begins in it.
fn offset(whole: &str, part: &str) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

/// The first line without its end, and what follows it.
fn split_line(text: &str) -> (&str, &str) {
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    (line.strip_suffix('\r').unwrap_or(line), rest)
}

fn unquoted(value: &str) -> &str {
    let end = value
        .char_indices()
        .find(|&(at, c)| c == '#' && value[..at].ends_with([' ', '\t']))
        .map_or(value.len(), |(at, _)| at);
    value[..end].trim_end()
}

/// The value of a quoted text that begins after its quote, and where it ends.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => return Some((value, at + 1)),
            '\\' => {
                let (_, escaped) = chars.next()?;
                match escaped {
                    'n' if quote == '"' => value.push('\n'),
                    'r' if quote == '"' => value.push('\r'),
                    't' if quote == '"' => value.push('\t'),
                    '\\' | '\'' => value.push(escaped),
                    '"' if quote == '"' => value.push('"'),
                    _ => value.extend(['\\', escaped]),
                }
            }
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String, usize)> {
        parse(text)
            .expect("parses")
            .into_iter()
            .map(|a| (a.name, a.value, a.line))
            .collect()
    }

    #[test]
    fn reads_what_python_dotenv_reads() {
        let text = "\u{feff}# a comment\r\nAPI_KEYS=[\"sk-a\",\"sk-b\"]\r\n\nexport HOST = 0.0.0.0 # where\nPORT='8000'\nA=\"x\\ny\" # c\nEMPTY=\nHASH=a#b\nFIRST=#a\nM=\"one\ntwo\"\nAFTER=1";
        let expected = [
            ("API_KEYS", "[\"sk-a\",\"sk-b\"]", 2),
            ("HOST", "0.0.0.0", 4),
            ("PORT", "8000", 5),
            ("A", "x\ny", 6),
            ("EMPTY", "", 7),
            ("HASH", "a#b", 8),
            ("FIRST", "#a", 9),
            ("M", "one\ntwo", 10),
            ("AFTER", "1", 12),
        ]
        .map(|(n, v, l)| (n.to_owned(), v.to_owned(), l));
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn names_the_line_and_not_the_text() {
        for (text, line) in [
            ("A=1\nsecret words\n", 2),
            ("\n\nB=\"open", 3),
            ("a b=1", 1),
        ] {
            let error = parse(text).expect_err("malformed");
            assert_eq!(error.line, line);
            assert!(!error.to_string().contains("secret"));
        }
    }
}
