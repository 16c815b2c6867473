//! Thought signatures: issued with a keyed hash, so that any fake Google accepts what another one issued.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use uuid::Uuid;

const KEY: &[u8] = b"fake-google thought signature";
/// Signatures begin like Google's: a protobuf field of bytes.
const HEAD: [u8; 2] = [0x12, 0x40];
const NONCE: usize = 32;
const MAC: usize = 32;

/// What Google documents for callers that have lost a signature.
pub(crate) const DUMMIES: [&str; 2] = [
    "skip_thought_signature_validator",
    "context_engineering_is_the_way_to_go",
];

/// What a signature turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Real,
    Dummy,
    Corrupt,
}

/// A new signature, in standard base64.
pub(crate) fn issue() -> String {
    let nonce = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
    STANDARD.encode([HEAD.as_slice(), &nonce, &mac(&nonce)].concat())
}

fn mac(nonce: &[u8]) -> [u8; MAC] {
    Sha256::new()
        .chain_update(KEY)
        .chain_update(nonce)
        .finalize()
        .into()
}

/// Judges a signature as it stands in a request.
pub(crate) fn judge(signature: &str) -> Verdict {
    if DUMMIES.contains(&signature) {
        return Verdict::Dummy;
    }
    let engines = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD];
    let Some(bytes) = engines
        .iter()
        .find_map(|engine| engine.decode(signature).ok())
    else {
        return Verdict::Corrupt;
    };
    if DUMMIES.iter().any(|dummy| dummy.as_bytes() == bytes) {
        return Verdict::Dummy;
    }
    match bytes.strip_prefix(&HEAD) {
        Some(rest) if rest.len() == NONCE + MAC && rest[NONCE..] == mac(&rest[..NONCE]) => {
            Verdict::Real
        }
        _ => Verdict::Corrupt,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::{DUMMIES, Verdict, issue, judge};

    #[test]
    fn tells_real_dummy_and_corrupt_apart() {
        let real = issue();
        assert_eq!(judge(&real), Verdict::Real);
        assert_eq!(
            judge(&real.replace('+', "-").replace('/', "_")),
            Verdict::Real
        );
        for dummy in DUMMIES {
            assert_eq!(judge(dummy), Verdict::Dummy);
            assert_eq!(judge(&STANDARD.encode(dummy)), Verdict::Dummy);
        }
        assert_eq!(judge("EjQKMgEM"), Verdict::Corrupt);
        assert_eq!(judge(""), Verdict::Corrupt);
    }
}
