//! What the rooms below log through `tracing`, on standard error, when the user wants it. They log
//! counts, places and reasons, never the text of a message.

use std::ffi::OsString;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use super::error::Failure;
use super::output::Log;

/// Sets another filter.
type Set = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

/// How the filter is changed while this process runs, and whether a flag or a variable chose it.
static FILTER: OnceLock<(Set, bool)> = OnceLock::new();

/// Starts logging if `-v` was typed or NPAST_LOG holds a filter; the filter wins.
pub fn start(verbose: u8, filter: Option<OsString>) -> Result<(), Failure> {
    let by_count = match verbose {
        0 => None,
        1 => Some("npast=info,llama=warn"),
        2 => Some("npast=debug,llama=info"),
        _ => Some("npast=trace,llama=debug"),
    };
    match filter.filter(|f| !f.is_empty()) {
        Some(words) => begin(&words.to_string_lossy(), "NPAST_LOG", true),
        None => by_count.map_or(Ok(()), |words| begin(words, "-v", true)),
    }
}

/// Logs as the configuration file says, unless a flag or a variable said otherwise at the start. Nothing
/// ends a log that it began.
pub fn set(words: Option<&str>) -> Result<(), Failure> {
    match FILTER.get() {
        Some((_, true)) => Ok(()),
        Some((set, false)) => {
            set(parsed(words.unwrap_or("off"), "the key log")?);
            Ok(())
        }
        None => words.map_or(Ok(()), |words| begin(words, "the key log", false)),
    }
}

fn parsed(words: &str, from: &str) -> Result<EnvFilter, Failure> {
    EnvFilter::try_new(words).map_err(|e| {
        Failure::usage(
            format!("{from} is not a log filter: {e}"),
            "a filter looks like `info` or `npast::kv=debug,llama=info`",
        )
    })
}

fn begin(words: &str, from: &str, chosen: bool) -> Result<(), Failure> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parsed(words, from)?)
        .with_writer(|| Log)
        // The screen alone styles what it shows.
        .with_ansi(false)
        .with_filter_reloading();
    let handle = builder.reload_handle();
    // A second start in one process (tests) keeps the first.
    if builder.try_init().is_ok() {
        let set: Set = Box::new(move |filter| handle.reload(filter).is_ok());
        let _ = FILTER.set((set, chosen));
    }
    Ok(())
}
