#![no_main]

#[path = "../laws/lower_request.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|body: &[u8]| law::check(body));
