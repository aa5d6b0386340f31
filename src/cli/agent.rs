//! When a session that starts on the command line gets npast's tools.

use super::args::Cli;
use crate::config::Settings;

/// Whether a session that starts in this run gets tools. On a terminal it does, unless it was given
/// a system prompt or tools of its own; a script has to name the flag.
pub fn wanted(typed: &Cli, settings: &Settings, terminal: bool) -> bool {
    let talk = &typed.talk;
    if settings.no_tools || talk.tools.is_some() {
        return false;
    }
    talk.agent || (terminal && !typed.json && settings.system.is_none())
}
