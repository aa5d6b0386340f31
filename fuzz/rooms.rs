//! The rooms that are fuzzed, without the rest of the program: neither knows of llama.cpp, which
//! would have to be built anew with a fuzzer's flags.

#[path = "../src/kv/mod.rs"]
pub mod kv;
#[path = "../src/ledger/mod.rs"]
pub mod ledger;

pub mod folder;
