//! `npast kv verify --deep`: some stored segments are evaluated again, from the same state and in the
//! same batches, and compared byte for byte.

use std::io::IsTerminal;

use serde_json::{Value, json};

use super::error::{FAILED, Failure};
use super::interrupt::Interrupt;
use super::output::{self, Progress, count};
use super::{Run, engine, kv};
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
pub fn run(run: &Run, settings: &Settings) -> Result<i32, Failure> {
    let options = Options {
        store_kv: true,
        ..engine::options(run, settings, None)?
    };
    let mut code = kv::verify(run, kv::open(&run.places.home, settings.kv_quota)?.as_ref())?;
    let interrupt = Interrupt::listen();
    let shown = !run.quiet && !run.json && std::io::stderr().is_terminal();
    let engine = engine::load(&options, &interrupt, &mut Progress::new(shown))?;
    let mut printed = Ok(0);
    engine.verify_deep(DEEP, &mut |edge, compared| {
        if matches!(compared, Compared::Differs { .. }) {
            code = FAILED;
        }
        printed = match run.json {
            true => output::json::lines(&[deep_event(edge, compared)]),
            false => output::page(&deep_line(edge, compared)),
        };
        printed.is_ok() && !interrupt.asked()
    })?;
    interrupt.check()?;
    printed?;
    Ok(code)
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
