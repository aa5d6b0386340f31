//! `npast models pull`: fetches a model and shows how far it is.

use serde_json::json;

use crate::cli::CliContext;
use crate::cli::error::Failure;
use crate::cli::interrupt::Interrupt;
use crate::cli::output::{self, ProgressLine, bytes, table};
use crate::harmless;
use crate::models::{self, HubAccess, HubClient, ModelPlaces, PullSource, PullStep, Pulled, SHORT};

/// What is named where somebody has no model yet: it answers well and runs on most machines.
pub const FIRST: &str = "qwen3-4b";

/// The short names, and what is behind them.
pub fn short_names(run: &CliContext) -> Result<i32, Failure> {
    if run.json {
        let lines: Vec<_> = SHORT
            .iter()
            .map(|s| {
                json!({"name": s.name, "source": format!("hf:{}", s.source),
                    "megabytes": s.megabytes, "licence": s.licence})
            })
            .collect();
        return output::json::lines(&lines);
    }
    let rows: Vec<_> = SHORT
        .iter()
        .map(|s| {
            let size = format!("{:.1} GB", s.megabytes as f64 / 1000.0);
            vec![
                s.name.to_owned(),
                size,
                s.licence.to_owned(),
                format!("hf:{}", s.source),
            ]
        })
        .collect();
    output::page(&table(&["name", "size", "licence", ""], &rows, &[1]))
}

/// Fetches what was typed.
pub fn run(run: &CliContext, places: &ModelPlaces, given: &str) -> Result<i32, Failure> {
    let pulled = fetch(run, places, given)?;
    if run.json {
        return output::json::lines(&[json!({
            "type": "model", "name": pulled.name, "path": pulled.path.to_string_lossy(),
            "bytes": pulled.bytes, "was_there": pulled.was_there, "licence": pulled.licence,
        })]);
    }
    let name = harmless::line(&pulled.name);
    let there = if pulled.was_there {
        " was there already"
    } else {
        " is there"
    };
    let licence = pulled
        .licence
        .as_deref()
        .map_or_else(String::new, |licence| {
            format!(", licence {}", harmless::line(licence))
        });
    output::page(&format!(
        "{name}{there}: {}{licence}\n{}\nnpast -m {name} \"…\"\n",
        bytes(pulled.bytes),
        harmless::line(&pulled.path.to_string_lossy()),
    ))
}

/// Fetches a model; Ctrl-C ends it, and what came stays for the next time.
///
/// # Errors
/// See [`models::ModelsError`].
pub fn fetch(run: &CliContext, places: &ModelPlaces, given: &str) -> Result<Pulled, Failure> {
    let access = HubAccess::find(&|name| std::env::var_os(name))?;
    let source = PullSource::parse(given, &access.endpoint)?;
    let client = HubClient::new(access);
    let interrupt = Interrupt::listen();
    let mut progress = ProgressLine::here(output::bars(run));
    let mut said = String::new();
    let mut say = |text: String, progress: &mut ProgressLine| {
        if !run.quiet && said != text {
            progress.clear();
            output::notice(&text, None);
            said = text;
        }
    };
    let mut watch = |step: PullStep<'_>| {
        match &step {
            PullStep::Begin { name, have, whole } => {
                let size = whole.map_or_else(String::new, |whole| format!(", {}", bytes(whole)));
                let on = match have {
                    0 => String::new(),
                    have => format!(", {} of it are there", bytes(*have)),
                };
                say(
                    format!("fetching {}{size}{on}", harmless::line(name)),
                    &mut progress,
                );
            }
            PullStep::Waiting(name) => {
                let text = format!(
                    "another process fetches {}: waiting for it",
                    harmless::line(name)
                );
                say(text, &mut progress);
            }
            PullStep::Again(why) => say(
                format!("{}; it is tried again", harmless::line(why)),
                &mut progress,
            ),
            PullStep::Have(_) | PullStep::Proving(_) => {}
        }
        progress.fetching(&step);
        !interrupt.asked()
    };
    let pulled = models::pull(places, &client, &source, &mut watch);
    progress.clear();
    Ok(pulled?)
}
