//! The fuzz target's law over its corpus and over every golden request.

#[path = "../../../fuzz/laws/lower_request.rs"]
mod law;

use std::{fs, path::Path};

#[test]
fn the_law_of_the_fuzz_target_holds_on_its_corpus() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for entry in fs::read_dir(root.join("../fuzz/corpus/lower_request")).unwrap() {
        law::check(&fs::read(entry.unwrap().path()).unwrap());
        seen += 1;
    }
    for entry in fs::read_dir(root.join("tests/golden")).unwrap() {
        let request = fs::read(entry.unwrap().path().join("request.json")).unwrap();
        law::check(&request);
        // Broken off anywhere, it is refused or read, and never a panic.
        for end in (0..request.len()).step_by(7) {
            law::check(&request[..end]);
        }
        seen += 1;
    }
    assert!(seen > 10, "{seen}");
}
