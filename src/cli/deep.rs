//! `npast kv verify --deep`: some stored segments are evaluated again, from the same state and in the
//! same batches, and compared byte for byte.

use serde_json::{Value, json};

use super::error::{FAILED, Failure};
use super::interrupt::Interrupt;
use super::output::{self, ProgressLine, count};
use super::{CliContext, engine, kv};
use crate::agent::Options;
use crate::config::Settings;
use crate::kv::Edge;
use crate::slot::Compared;

/// Segments that `verify --deep` evaluates again.
const DEEP: usize = 8;

/// `npast kv verify --deep`: every file is proven, then some segments are evaluated again.
///
/// # Errors
/// When the folder or the model cannot be used.
pub fn run(run: &CliContext, settings: &Settings) -> Result<i32, Failure> {
    let options = Options {
        store_kv: true,
        ..engine::options(run, settings, None)?
    };
    let mut code = kv::verify(
        run,
        kv::open(&run.places.home, settings.kv_quota)?.as_deref(),
    )?;
    let interrupt = Interrupt::listen();
    let engine = engine::load(
        &options,
        &interrupt,
        &mut ProgressLine::here(output::bars(run)),
    )?;
    let mut printed = Ok(0);
    let mut tally = Tally::default();
    engine.verify_deep(DEEP, &mut |edge, compared| {
        tally.count(compared);
        printed = match run.json {
            true => output::json::lines(&[deep_event(edge, compared)]),
            false => output::page(&deep_line(edge, compared)),
        };
        printed.is_ok() && !interrupt.asked()
    })?;
    interrupt.check()?;
    printed?;
    match run.json {
        true => output::json::lines(&[tally.event()])?,
        false => output::page(&tally.line())?,
    };
    if !tally.is_proof() {
        code = FAILED;
    }
    Ok(code)
}

/// What came of all of them.
#[derive(Clone, Copy, Default)]
struct Tally {
    same: usize,
    differ: usize,
    not: usize,
}

impl Tally {
    fn count(&mut self, compared: &Compared) {
        match compared {
            Compared::Same => self.same += 1,
            Compared::Differs { .. } => self.differ += 1,
            Compared::Not(_) => self.not += 1,
        }
    }

    /// No segment differs, and at least one says so; a store without segments has nothing to say.
    fn is_proof(self) -> bool {
        self.differ == 0 && (self.same > 0 || self.not == 0)
    }

    fn line(self) -> String {
        let Tally { same, differ, not } = self;
        let compared = same + differ;
        match (compared, not) {
            (0, 0) => "No segments are stored for this model.\n".to_owned(),
            (0, not) => format!(
                "Nothing was compared: none of {} could be evaluated as it was.\n",
                segments(not)
            ),
            _ => format!(
                "{} evaluated again: {same} the same, {differ} not; {not} not compared.\n",
                segments(compared)
            ),
        }
    }

    fn event(self) -> Value {
        json!({
            "type": "compared", "same": self.same, "differ": self.differ, "not_compared": self.not,
        })
    }
}

fn segments(count: usize) -> String {
    match count {
        1 => "1 segment".to_owned(),
        n => format!("{n} segments"),
    }
}

fn deep_line(edge: &Edge, compared: &Compared) -> String {
    let said = match compared {
        Compared::Same => "the same bytes".to_owned(),
        Compared::Differs { bytes, of } => format!(
            "{} of {} bytes differ from what the model gives",
            count(*bytes),
            count(*of)
        ),
        Compared::Not(why) => format!("not compared: {why}"),
    };
    let (p0, p1) = (count(edge.p0), count(edge.p1));
    format!("tokens {p0} to {p1}: {said}\n")
}

fn deep_event(edge: &Edge, compared: &Compared) -> Value {
    let (same, differs, why) = match compared {
        Compared::Same => (Some(true), 0, None),
        Compared::Differs { bytes, .. } => (Some(false), *bytes, None),
        Compared::Not(why) => (None, 0, Some(why)),
    };
    json!({
        "type": "deep", "from": edge.p0, "to": edge.p1, "same": same, "differing_bytes": differs,
        "reason": why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(same: usize, differ: usize, not: usize) -> (bool, String) {
        let mut tally = Tally::default();
        let differs = Compared::Differs { bytes: 1, of: 2 };
        (0..same).for_each(|_| tally.count(&Compared::Same));
        (0..differ).for_each(|_| tally.count(&differs));
        (0..not).for_each(|_| tally.count(&Compared::Not("why".to_owned())));
        (tally.is_proof(), tally.line())
    }

    #[test]
    fn a_run_that_compared_nothing_proves_nothing_and_says_so() {
        let said = |proof: bool, line: &str| (proof, format!("{line}\n"));
        assert_eq!(
            tally(0, 0, 8),
            said(
                false,
                "Nothing was compared: none of 8 segments could be evaluated as it was."
            )
        );
        assert_eq!(
            tally(0, 0, 0),
            said(true, "No segments are stored for this model.")
        );
        assert_eq!(
            tally(1, 0, 7),
            said(
                true,
                "1 segment evaluated again: 1 the same, 0 not; 7 not compared."
            )
        );
        assert_eq!(
            tally(2, 1, 0),
            said(
                false,
                "3 segments evaluated again: 2 the same, 1 not; 0 not compared."
            )
        );
    }
}
