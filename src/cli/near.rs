//! One word that looks like a subcommand: asked about, and not said to the model unseen.

use std::io::IsTerminal;

use super::CliContext;
use super::args::TalkArgs;
use super::confirm;
use super::error::Failure;
use super::output::screen;

/// Asks whether the word is a message. Where nobody can be asked it is wrong usage.
///
/// # Errors
/// Wrong usage, with what the word may have meant; so also where the answer is a no.
pub fn ask(run: &CliContext, talk: &TalkArgs) -> Result<(), Failure> {
    let word = talk.prompt.as_deref().unwrap_or_default();
    let lines: Vec<String> = talk
        .near
        .iter()
        .map(|line| format!("`npast {line}`"))
        .collect();
    let meant = lines.join(" or ");
    let somebody = std::io::stdin().is_terminal() && screen().looks().err;
    if somebody && !run.json && !run.quiet {
        let question = format!(
            "There is no subcommand {word}; {meant} is near. Say \"{word}\" to the model? [y/N] "
        );
        if matches!(confirm::asked(&question)?.as_str(), "y" | "Y" | "yes") {
            return Ok(());
        }
    }
    Err(Failure::usage(
        format!("there is no subcommand {word}"),
        format!("{meant} is near; `npast -p {word}` says it to the model"),
    ))
}
