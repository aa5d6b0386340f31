//! What the rooms below log through `tracing`, on standard error, when the user wants it. They log
//! counts, places and reasons, never the text of a message.

use std::ffi::OsString;
use tracing_subscriber::EnvFilter;

use super::error::Failure;
use super::output::Log;

/// Starts logging if `-v` was typed or NPAST_LOG holds a filter; the filter wins.
pub fn start(verbose: u8, filter: Option<OsString>) -> Result<(), Failure> {
    let by_count = match verbose {
        0 => None,
        1 => Some("npast=info,llama=warn"),
        2 => Some("npast=debug,llama=info"),
        _ => Some("npast=trace,llama=debug"),
    };
    let words = match filter.filter(|f| !f.is_empty()) {
        Some(words) => words.to_string_lossy().into_owned(),
        None => match by_count {
            Some(words) => words.to_owned(),
            None => return Ok(()),
        },
    };
    let filter = EnvFilter::try_new(&words).map_err(|e| {
        Failure::usage(
            format!("NPAST_LOG is not a log filter: {e}"),
            "a filter looks like `info` or `npast::kv=debug,llama=info`",
        )
    })?;
    // A second start in one process (tests) keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Log)
        // The screen alone styles what it shows.
        .with_ansi(false)
        .try_init();
    Ok(())
}
