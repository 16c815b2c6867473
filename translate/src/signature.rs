//! Thought signatures and how they travel through OpenAI's language.
//!
//! Gemini 3 refuses a history whose function calls lack the signatures that it
//! gave them. They go out as `extra_content.google.thought_signature`, as
//! Google's own OpenAI endpoint does, and, for clients that drop fields they do
//! not know, in the tool call's id behind a separator, so that no gateway has to
//! remember anything.

use std::borrow::Cow;

/// Stands between a tool call's id and the signature that rides in it.
pub const SEPARATOR: &str = "__thought__";

/// What Google documents for histories without signatures.
pub const DUMMY: &str = "skip_thought_signature_validator";

/// The id with the signature in it; the plain id when together they have more than
/// `limit` characters.
#[must_use]
pub fn attach(id: &str, signature: &str, limit: usize) -> Option<String> {
    // What could not be told from an id that came so is not put there.
    let fits = is_signature(signature) && id.len() + SEPARATOR.len() + signature.len() <= limit;
    // Signatures are base64, whose `+`, `/` and `=` some clients will not have in an id.
    fits.then(|| {
        let mut attached = format!("{id}{SEPARATOR}");
        attached.extend(signature.trim_end_matches('=').chars().map(|c| match c {
            '+' => '-',
            '/' => '_',
            c => c,
        }));
        attached
    })
}

/// Whether an id of Google's can go out as it is: not when it looks as if it carried a
/// signature already.
#[must_use]
pub fn can_carry(id: &str) -> bool {
    !id.is_empty() && !id.contains(SEPARATOR)
}

/// Takes the signature out of an id that carries one: the plain id, and the signature.
#[must_use]
pub fn detach(id: &str) -> (&str, Option<&str>) {
    match id.split_once(SEPARATOR) {
        Some((plain, signature)) if is_signature(signature) => (plain, Some(signature)),
        _ => (id, None),
    }
}

/// Whether a text can be a signature: base64 in either alphabet. Anything else would
/// be refused by Google as malformed, for the whole request.
#[must_use]
pub fn is_signature(text: &str) -> bool {
    let bare = text.trim_end_matches('=');
    !bare.is_empty()
        && bare.len() % 4 != 1
        && bare
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_'))
}

/// The signature in standard base64 with its padding, as Google sent it.
#[must_use]
pub fn normalized(signature: &str) -> Cow<'_, str> {
    if signature == DUMMY {
        return Cow::Borrowed(signature);
    }
    let is_padded = signature.len().is_multiple_of(4) && !signature.ends_with("===");
    if is_padded && !signature.contains(['-', '_']) {
        return Cow::Borrowed(signature);
    }
    let mut standard: String = signature
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            c => c,
        })
        .collect();
    while !standard.len().is_multiple_of(4) {
        standard.push('=');
    }
    Cow::Owned(standard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_comes_back_as_it_went() {
        let signature = "Ep5F+/Ct==";
        let id = attach("call_1", "Ep5F+/Ctx/==", 4096).expect("fits");
        assert_eq!(id, "call_1__thought__Ep5F-_Ctx_");
        let (plain, carried) = detach(&id);
        assert_eq!(plain, "call_1");
        assert_eq!(normalized(carried.expect("carried")), "Ep5F+/Ctx/==");
        assert_eq!(attach("call_1", signature, 20), None);
        assert_eq!(attach("call_1", signature, 0), None);
    }

    #[test]
    fn other_ids_are_left_alone() {
        assert_eq!(detach("call_1"), ("call_1", None));
        assert_eq!(detach("a__thought__ö"), ("a__thought__ö", None));
        assert_eq!(normalized(DUMMY), DUMMY);
        // More of the padding than there can be, which Google would refuse.
        assert_eq!(normalized("QUJD===="), "QUJD");
        assert_eq!(normalized("QUI======"), "QUI=");
    }
}
