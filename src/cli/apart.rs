//! The tasks that npast does in processes of their own, and its last words when llama.cpp ends this one.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::{FAILED, Failure};
use super::{interrupt, output};
use crate::agent::probe;
use crate::harmless;
use crate::llama::{self, Apart, apart, bridge};

/// Whether errors are events on standard output.
static JSON: AtomicBool = AtomicBool::new(false);

/// This program, for work on untrusted bytes.
pub fn own() -> Apart {
    Apart::new(program(), interrupt::pressed)
}

/// The program's own file, also after an update has put another one in its place.
fn program() -> PathBuf {
    let own = PathBuf::from("/proc/self/exe");
    if own.exists() {
        return own;
    }
    let typed = || std::env::args_os().next().map(PathBuf::from);
    let found = std::env::current_exe().ok().or_else(typed);
    found.unwrap_or_else(|| PathBuf::from("npast"))
}

/// The child's work, if the words name some.
pub fn work(args: &[OsString]) -> Option<ExitCode> {
    if args.get(1)? != apart::SUBCOMMAND {
        return None;
    }
    Some(match args.get(2).and_then(|task| task.to_str()) {
        Some(bridge::TASK) => bridge::serve(),
        Some(probe::TASK) => probe::serve(),
        _ => ExitCode::FAILURE,
    })
}

/// From now on an abort of llama.cpp ends in a sentence and exit code 1.
pub fn say_aborts(json: bool) {
    JSON.store(json, Ordering::SeqCst);
    llama::on_abort(|words| {
        let failure = aborted(words);
        if JSON.load(Ordering::SeqCst) {
            output::json::error(&failure);
        } else {
            output::failed(&failure);
        }
        FAILED
    });
}

fn aborted(words: &str) -> Failure {
    let words = harmless::line(words);
    Failure::failed("engine", format!("llama.cpp had to stop: {}", words.trim())).hint(
        "stored messages are whole: start npast again; if it stops there too, take another model, a \
         smaller --ctx, or fewer --gpu-layers",
    )
}
