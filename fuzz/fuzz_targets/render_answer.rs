#![no_main]

#[path = "../laws/render_answer.rs"]
mod render_answer;

libfuzzer_sys::fuzz_target!(|data: &[u8]| render_answer::check(data));
