//! What Google sent the browser back with, as people paste it: the whole address, its
//! query, or the code alone.

use antigravity_runtime::secret;
use secrecy::SecretString;
use url::form_urlencoded;

use crate::limits;

/// Google's addresses have a few hundred bytes.
const MAX_LENGTH: usize = 32 * 1024;

/// What the browser came back with.
pub(super) enum Answer {
    Code(SecretString),
    /// OAuth's name of the refusal, such as `access_denied`.
    Refusal(String),
}

/// Why it is not an answer to this login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("is empty; paste the whole address that the browser ends at, or the code in it")]
    Empty,
    #[error("is too long to be the address that the browser ends at")]
    TooLong,
    #[error(
        "is the address to open; open it, consent, and paste the address that the browser ends at"
    )]
    StillToOpen,
    #[error(
        "holds neither a code nor an error; paste the whole address that the browser ends at, \
         after the consent"
    )]
    NoCode,
    #[error("is neither the address that the browser ends at nor the code in it")]
    NotACode,
    #[error(
        "has another state than this login: it belongs to another login, or somebody else made \
         it; begin anew, and use the newest address alone"
    )]
    State,
}

/// Reads `text`, whose state has to be `state`. A code alone has none; it is bound to the
/// login by PKCE as well.
pub(super) fn read(text: &str, state: &str) -> Result<Answer, AnswerError> {
    if text.len() > MAX_LENGTH {
        return Err(AnswerError::TooLong);
    }
    // Terminals break long lines, and people quote.
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let text = text.trim_matches(['"', '\'', '`', '<', '>']);
    if text.is_empty() {
        return Err(AnswerError::Empty);
    }
    let query = match text.split_once(['?', '#']) {
        Some((_, query)) => query,
        None if text.contains('=') => text,
        None if text.contains("://") => return Err(AnswerError::NoCode),
        None => return bare(text),
    };
    let query = query.split('#').next().unwrap_or_default();
    let mut fields: [Option<String>; 4] = [const { None }; 4];
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let names = ["code", "state", "error", "code_challenge"];
        let field = names.iter().position(|own| *own == name);
        if let Some(field) = field.and_then(|at| fields.get_mut(at)) {
            field.get_or_insert(value.into_owned());
        }
    }
    let [code, found_state, error, challenge] = fields;
    if challenge.is_some() {
        return Err(AnswerError::StillToOpen);
    }
    if code.is_none() && error.is_none() {
        return Err(AnswerError::NoCode);
    }
    if !found_state.is_some_and(|found| secret::equal(&found, state)) {
        return Err(AnswerError::State);
    }
    match (error, code) {
        (Some(error), _) => Ok(Answer::Refusal(shown(&error))),
        (None, Some(code)) => checked(code),
        (None, None) => Err(AnswerError::NoCode),
    }
}

/// A code alone, as it stands in the address or decoded.
fn bare(text: &str) -> Result<Answer, AnswerError> {
    let field = format!("code={text}");
    match form_urlencoded::parse(field.as_bytes()).next() {
        Some((_, code)) => checked(code.into_owned()),
        None => Err(AnswerError::NotACode),
    }
}

fn checked(code: String) -> Result<Answer, AnswerError> {
    let fits = (1..=limits::SECRET).contains(&code.len()) && limits::is_token(&code);
    fits.then(|| Answer::Code(code.into()))
        .ok_or(AnswerError::NotACode)
}

/// An error's name as it may be repeated.
fn shown(error: &str) -> String {
    let harmless = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let shown: String = error.chars().filter(harmless).take(64).collect();
    match shown.as_str() {
        "" => "unknown".to_owned(),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn told(text: &str) -> Result<String, AnswerError> {
        read(text, "st").map(|answer| match answer {
            Answer::Code(code) => code.expose_secret().to_owned(),
            Answer::Refusal(error) => format!("error {error}"),
        })
    }

    #[test]
    fn it_is_read_as_people_paste_it() {
        for text in [
            "http://127.0.0.1:8085/oauth-callback?state=st&code=4%2F0Ab&scope=a%20b",
            "  \"http://127.0.0.1:8085/oauth-callback?code=4/0Ab&state=st\"\n",
            "<http://127.0.0.1:8085/oauth-\ncallback?code=4%2F0Ab&state=st#>",
            "127.0.0.1:8085/oauth-callback?code=4%2F0Ab&state=st",
            "code=4%2F0Ab&state=st",
            "4/0Ab",
            " '4%2F0Ab' ",
        ] {
            assert_eq!(told(text).as_deref(), Ok("4/0Ab"), "{text}");
        }
        let denied = told("http://127.0.0.1/?error=access_denied&state=st");
        assert_eq!(denied.as_deref(), Ok("error access_denied"));
        let odd = told("?error=%1b[2Ja\u{9b}&state=st");
        assert_eq!(odd.as_deref(), Ok("error 2Ja"));
        assert_eq!(told("?error=&state=st").as_deref(), Ok("error unknown"));
    }

    #[test]
    fn what_is_no_answer_says_so() {
        for (text, error) in [
            ("", AnswerError::Empty),
            (" \" \" ", AnswerError::Empty),
            ("http://127.0.0.1/?code=x", AnswerError::State),
            ("http://127.0.0.1/?code=x&state=other", AnswerError::State),
            ("http://127.0.0.1/?error=access_denied", AnswerError::State),
            ("http://127.0.0.1/?state=st", AnswerError::NoCode),
            ("http://127.0.0.1/oauth-callback", AnswerError::NoCode),
            (
                "https://x/auth?client_id=a&code_challenge=b&state=st",
                AnswerError::StillToOpen,
            ),
            (
                "http://127.0.0.1/?code=a%0Ab&state=st",
                AnswerError::NotACode,
            ),
            ("ключ", AnswerError::NotACode),
        ] {
            assert_eq!(told(text), Err(error), "{text}");
        }
        let long = "x".repeat(MAX_LENGTH + 1);
        assert_eq!(told(&long), Err(AnswerError::TooLong));
    }
}
