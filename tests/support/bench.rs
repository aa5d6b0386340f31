//! `bench`: what npast adds to llama.cpp, in numbers, on models made here. Sides that are compared
//! take turns in one run, so that a busy machine is busy for both.
//!
//! `scripts/bench [slot|host|start|merge|kv|serve]`; without a word all of them.
//!
//! - `slot`: prefill and decode of the slot against a bare loop over llama.cpp.
//! - `host`: what a turn costs besides decoding, on a ledger of 100,000 tokens.
//! - `start`: from the start of a process to the first token of a stored session.
//! - `merge`: a cold start from a thousand small segments, before and after they are merged.
//! - `kv`: saving, restoring and switching, beside plain reads and copies of as many bytes.
//! - `serve`: what the server adds to decoding. It is the program that `NPAST_PROGRAM` names.

#[path = "bench/host.rs"]
mod host;
#[path = "bench/kv.rs"]
mod kv;
#[path = "bench/measure.rs"]
mod measure;
#[path = "bench/merge.rs"]
mod merge;
#[path = "model.rs"]
mod model;
#[path = "bench/rows.rs"]
mod rows;
#[path = "bench/serve.rs"]
mod serve;
#[path = "bench/slot.rs"]
mod slot;
#[path = "bench/start.rs"]
mod start;
#[path = "bench/store.rs"]
mod store;
#[path = "bench/turns.rs"]
mod turns;

use std::process::ExitCode;

const USAGE: &str = "usage: bench [slot|host|start|merge|kv|serve]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => {
            slot::run();
            host::run();
            start::run();
            merge::run();
            kv::run();
            serve::run();
        }
        ["slot"] => slot::run(),
        ["host"] => host::run(),
        ["start"] => start::run(),
        ["merge"] => merge::run(),
        ["kv"] => kv::run(),
        ["serve"] => serve::run(),
        // What `start` starts, in a process of its own.
        ["start-child", model, home, spawned] => start::child(model, home, spawned),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
