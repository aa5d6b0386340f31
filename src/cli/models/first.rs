//! The first start: a run that has no model offers one, on a terminal, and asks once. What is chosen
//! is the default from then on.

use std::io::IsTerminal;
use std::path::PathBuf;

use super::pull;
use crate::cli::CliContext;
use crate::cli::confirm::asked;
use crate::cli::error::Failure;
use crate::cli::output::{self, bytes};
use crate::harmless;
use crate::models::{ModelPlaces, Short};
use crate::slot::fit::Machine;

/// Models that are offered by number.
const OFFERED: usize = 9;
/// The speed for which the time of a download is estimated, in megabits a second.
const LINE: u64 = 100;

/// A model for a run that has none, if somebody is there to choose it.
///
/// # Errors
/// The pull's, and the terminal's.
pub fn offer(run: &CliContext, places: &ModelPlaces) -> Result<Option<PathBuf>, Failure> {
    let stdin = std::io::stdin();
    let somebody = stdin.is_terminal() && output::screen().looks().err;
    let has_one = places.default_name().is_some() || !places.own().is_empty();
    if run.json || run.quiet || !somebody || has_one {
        return Ok(None);
    }
    let mut all = places.all();
    all.truncate(OFFERED);
    if all.is_empty() {
        let Some(short) = fitting() else {
            return Ok(None);
        };
        let question = format!(
            "There is no model on this machine. {} fits it: {:.1} GB, licence {}, about {} at {LINE} \
             Mbit/s. Fetch it? [y/N] ",
            short.name,
            short.megabytes as f64 / 1000.0,
            short.licence,
            minutes(short),
        );
        if !matches!(asked(&question)?.as_str(), "y" | "Y" | "yes") {
            return Ok(None);
        }
        let pulled = pull::fetch(run, places, short.name)?;
        places.set_default(&pulled.name)?;
        return Ok(Some(pulled.path));
    }
    let mut question = String::from("No model was named. This machine has:\n");
    for (at, found) in all.iter().enumerate() {
        let size = found.path.metadata().map_or(0, |meta| meta.len());
        let name = harmless::line(&found.name);
        question += &format!("  {}  {name}  {}\n", at + 1, bytes(size));
    }
    question += "Which one is it, from now on? [number, or Enter for none] ";
    let answer = asked(&question)?.parse::<usize>().ok();
    let Some(found) = answer.and_then(|n| all.get(n.checked_sub(1)?)) else {
        return Ok(None);
    };
    places.set_default(&found.name)?;
    output::notice(
        &format!("{} is the default model now", harmless::line(&found.name)),
        Some("`npast models default NAME` names another"),
    );
    Ok(Some(found.path.clone()))
}

/// The best model with a short name that this machine has the memory for.
fn fitting() -> Option<&'static Short> {
    let machine = Machine::here();
    let cards = machine.cards.iter().map(|card| card.place.total);
    match cards.max() {
        None | Some(0) => Short::fitting(machine.host.free, false),
        Some(memory) => Short::fitting(memory, true),
    }
}

fn minutes(short: &Short) -> String {
    match (short.megabytes * 8 / LINE).div_ceil(60) {
        0 | 1 => "a minute".to_owned(),
        n => format!("{n} minutes"),
    }
}
