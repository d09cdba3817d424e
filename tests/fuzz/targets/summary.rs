#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| k6sync_fuzz::summary(data));
