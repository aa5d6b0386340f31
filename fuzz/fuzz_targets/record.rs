//! Any bytes as a record of the KV store: they are refused or whole, and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use npast::kv::{Limits, inspect};

fuzz_target!(|bytes: &[u8]| {
    let _ = inspect(bytes, &Limits::default());
});
