//! What a command line would run: every simple command in it, however it is wrapped. Approval and
//! the hard list judge this and never the text, because text can be quoted into anything.
//!
//! A line is read twice. `certain` reads a small part of bash, and what it reads is all that runs:
//! on this rules that allow and the policy `auto` stand. What it does not read has
//! [`ShellScript::unknown`]. `guess` reads all of bash, and programs that run others: for the hard list
//! and for rules that deny, which are reminders and no protection. `steps` bounds what both cost.

mod certain;
mod guess;
mod hard;
mod line;
mod steps;

use std::path::Path;

pub use hard::hard;
pub use line::{Certainty, MAX_BYTES, Redirect, ShellCommand, ShellPlaces, ShellScript, ShellWord};

use certain::Shell;
use guess::ShellState;
use line::{MAX_COMMANDS, MAX_SHELLS, absolute, name, unfit, unreadable};

/// The grammar is recursive: its stack must hold the deepest nesting that is read, in a debug build too.
const STACK: usize = 64 << 20;

/// Reads a command line as bash would. Never fails: what cannot be read has `unknown`.
pub fn parse(text: &str, places: &ShellPlaces) -> ShellScript {
    let refused = |why: &str| ShellScript {
        unknown: Some(why.to_owned()),
        ..ShellScript::default()
    };
    if let Some(why) = unfit(text) {
        return refused(why);
    }
    std::thread::scope(|scope| {
        let read = std::thread::Builder::new()
            .name("npast-command".into())
            .stack_size(STACK)
            .spawn_scoped(scope, || twice(text, places));
        match read.map(|thread| thread.join()) {
            Ok(Ok(script)) => script,
            _ => refused("it could not be read"),
        }
    })
}

/// What both readings found.
fn twice(text: &str, places: &ShellPlaces) -> ShellScript {
    let mut walk = ShellState::new(places);
    let shell = match bash() {
        Some(_) => Shell::Bash,
        None => Shell::Posix,
    };
    let certain = match unreadable(text) {
        Some(why) => Err(why),
        None => certain::read(text, places, shell, true, &mut walk.steps),
    };
    walk.text(text);
    match certain {
        Ok(reading) => {
            let moves_home = reading.moves_home;
            walk.certain(reading);
            if moves_home && walk.script.shells {
                walk.script.unknown = Some(certain::EXOTIC.to_owned());
            }
        }
        Err(why) => walk.script.unknown = Some(why.to_owned()),
    }
    let mut script = walk.script;
    if walk.steps.spent() {
        script.unknown.get_or_insert_with(|| certain::LONG.into());
    }
    script.steps = walk.steps.taken();
    script
}

/// The bash that commands run in, where the system has one; else `/bin/sh` runs them.
pub fn bash() -> Option<&'static Path> {
    let all = ["/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash"];
    all.into_iter().map(Path::new).find(|path| path.exists())
}

#[cfg(test)]
mod tests;
