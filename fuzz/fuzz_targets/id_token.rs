#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authlog::fuzzing::id_token(data));
