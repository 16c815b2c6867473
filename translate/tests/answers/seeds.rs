//! What the fuzzers begin with, and what they once found, as a plain test.

#[path = "../../../fuzz/laws/render_answer.rs"]
mod render_answer;
#[path = "../../../fuzz/laws/sse.rs"]
mod sse;

use std::{fs, path::Path};

fn each(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut checked = 0;
    for entry in fs::read_dir(folder).unwrap() {
        check(&fs::read(entry.unwrap().path()).unwrap());
        checked += 1;
    }
    assert!(checked > 3, "{checked} seeds");
}

#[test]
fn framing() {
    each("sse", sse::check);
}

#[test]
fn rendering() {
    each("render_answer", render_answer::check);
}
