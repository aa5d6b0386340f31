//! The subcommand `sandbox-exec` and its stages: the supervisor, then inside of the sandbox `inner`, and
//! where process numbers of its own can be had `first` and `last`.

use std::io::{self, Write};
use std::process::ExitCode;

use super::{JOB, MESSAGE_PREFIX, NOT_STARTED, SandboxJob, inner, probe, supervisor};
#[cfg(target_os = "linux")]
use super::{first, view::OwnView};
use crate::harmless;

/// The subcommand `sandbox-exec`: the supervisor, or with `inner` the program itself.
pub fn main(words: &[std::ffi::OsString]) -> ExitCode {
    let step = words.first().and_then(|w| w.to_str());
    if step == Some("probe") {
        return probe::inside();
    }
    let job = std::env::var(JOB).map_err(io::Error::other);
    let job: io::Result<SandboxJob> =
        job.and_then(|text| serde_json::from_str(&text).map_err(io::Error::other));
    let failed = |error: io::Error| {
        let _ = writeln!(
            io::stderr(),
            "{MESSAGE_PREFIX}{}",
            harmless::line(&error.to_string())
        );
        ExitCode::from(NOT_STARTED as u8)
    };
    let job = match job {
        Ok(job) => job,
        Err(error) => return failed(error),
    };
    match step {
        Some("inner") => inner::begin(&job).unwrap_or_else(failed),
        #[cfg(target_os = "linux")]
        Some("first") => own(words)
            .and_then(|own| first::main(&job, own))
            .unwrap_or_else(failed),
        #[cfg(target_os = "linux")]
        Some("last") => failed(own(words).map_or_else(|e| e, |own| inner::last(&job, own))),
        _ => supervisor::keep(&job).unwrap_or_else(failed),
    }
}

/// What the process above found that the program has of its own.
#[cfg(target_os = "linux")]
fn own(words: &[std::ffi::OsString]) -> io::Result<OwnView> {
    let word = words.get(1).and_then(|word| word.to_str());
    serde_json::from_str(word.unwrap_or_default()).map_err(io::Error::other)
}
