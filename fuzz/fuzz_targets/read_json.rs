#![no_main]

#[path = "../laws/read_json.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|text: &str| law::check(text));
