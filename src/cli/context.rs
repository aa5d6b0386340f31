//! What every subcommand knows of the run.

use crate::config::Places;

/// The places and the output of this run.
pub(super) struct CliContext {
    pub places: Places,
    /// Standard output is for programs.
    pub json: bool,
    /// Nothing on standard error but errors and notices.
    pub quiet: bool,
}
