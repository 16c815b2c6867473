//! What names may look like and how long texts may be, the same for every way in.

use antigravity_runtime::showable;

/// Characters of `Project.display_name`.
pub(crate) const DISPLAY_NAME: usize = 256;
/// Characters of an OAuth client's id.
pub(crate) const CLIENT_ID: usize = 256;
/// Bytes of a refresh token, an access token or a client secret.
pub(crate) const SECRET: usize = 16 * 1024;

/// Whether a text can be a `Project.id` or a Google project id.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._:@-".contains(&b))
}

/// Whether a text is a Google project number, which is not its id.
pub(crate) fn is_project_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether a text can stand in a header or a form as it is.
pub(crate) fn is_token(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic())
}

/// Whether a text can be shown as it is: no character steers a terminal, or turns round what stands
/// beside it.
pub(crate) fn is_showable(text: &str) -> bool {
    text.chars().all(showable::is_showable)
}

/// Whether a text can be shown as an e-mail address.
pub(crate) fn is_email(text: &str) -> bool {
    let plain = |c: char| showable::is_showable(c) && !c.is_whitespace();
    text.contains('@') && text.chars().count() <= DISPLAY_NAME && text.chars().all(plain)
}
