//! `npast prompt`: the exact beginning of a session (system prompt, tools, what stands before the first
//! message), and what it costs.

use serde_json::json;

use super::args::PromptArgs;
use super::error::Failure;
use super::output::{self, count, notice, table};
use super::{CliContext, engine};
use crate::agent::{Options, PartCost, cost, vocabulary};
use crate::config::Settings;
use crate::service::{ProjectTools, Tooling, setup};
use crate::session::{Db, DbError};

/// Runs the subcommand.
pub fn run(run: &CliContext, args: &PromptArgs, settings: &Settings) -> Result<i32, Failure> {
    match &args.session {
        Some(name) => stored(run, args, settings, name),
        None => new(run, args, settings),
    }
}

/// What a session that starts here now would begin with.
fn new(run: &CliContext, args: &PromptArgs, settings: &Settings) -> Result<i32, Failure> {
    let options = engine::options(run, settings, None)?;
    let folder = std::env::current_dir()
        .map_err(|e| Failure::failed("io", format!("the current folder is gone: {e}")))?;
    let system = settings.system.as_deref();
    let system = system.map(|given| super::input::text_or_file(given, "the system prompt"));
    let system = system.transpose()?;
    // Servers are started for it: their tools are part of what the model reads.
    let mut live = ProjectTools::new(&run.places, &folder, settings);
    let (setup, prompt) = setup(&mut live, &Tooling::of(settings), system.as_deref())?;
    for (text, hint) in live.take_notices() {
        notice(&text, hint.as_deref());
    }
    for (text, hint) in &setup.notices {
        notice(text, hint.as_deref());
    }
    let cost = cost(&options, &setup, &prompt.parts)?;
    for (text, hint) in &cost.notices {
        notice(text, hint.as_deref());
    }
    let ids: Vec<i32> = cost.tokens.iter().map(|t| t.0).collect();
    show(run, args, &cost.text, &ids, &cost.parts)
}

/// What a stored session has in its ledger.
fn stored(
    run: &CliContext,
    args: &PromptArgs,
    settings: &Settings,
    name: &str,
) -> Result<i32, Failure> {
    let missing = || DbError::NotFound(format!("a session named \"{name}\""));
    let path = run.places.db();
    let db = match path.is_file() {
        true => Db::open(&path)?,
        false => return Err(missing().into()),
    };
    let session = db.find(name)?.ok_or_else(missing)?;
    let ledger = db.ledger(session.id)?;
    let head = &ledger[..session.head];
    let own = engine::own_model(run, settings, Some(&session))?;
    let model = engine::options(run, settings, own.as_deref())?;
    let text = text_of(&model, &session.vocab.0, head)?;
    if session.runs_tools && session.system.as_deref().unwrap_or_default().is_empty() {
        notice(
            "the stored system prompt is missing; its tokens are as they were",
            None,
        );
    }
    let ids: Vec<i32> = head.iter().map(|t| t.0).collect();
    show(run, args, &text, &ids, &[])
}

/// The head's text, by the session's own vocabulary.
fn text_of(
    options: &Options,
    vocab: &[u8; 32],
    head: &[crate::ledger::Token],
) -> Result<String, Failure> {
    let facts =
        crate::llama::gguf::facts(&options.model).map_err(crate::agent::AgentError::from)?;
    if facts.tokenizer.as_bytes() != vocab {
        return Err(Failure::usage(
            "this model has another vocabulary than the session",
            "name the session's own model with -m",
        ));
    }
    let model = vocabulary(options)?;
    Ok(String::from_utf8_lossy(&model.vocab().bytes(head, true)).into_owned())
}

fn show(
    run: &CliContext,
    args: &PromptArgs,
    text: &str,
    ids: &[i32],
    parts: &[PartCost],
) -> Result<i32, Failure> {
    if run.json {
        let parts: Vec<_> = parts
            .iter()
            .map(|part| json!({"part": part.name, "tokens": part.tokens, "in": place(part)}))
            .collect();
        let mut object = json!({"text": text, "count": ids.len(), "parts": parts});
        if args.tokens {
            object["tokens"] = json!(ids);
        }
        return output::json::lines(&[object]);
    }
    let mut page = format!("{}\n\n", text.trim_end());
    if args.tokens {
        let ids: Vec<String> = ids.iter().map(i32::to_string).collect();
        page.push_str(&format!("{}\n\n", ids.join(" ")));
    }
    let mut rows: Vec<Vec<String>> = parts
        .iter()
        .map(|part| {
            let tokens = count(part.tokens);
            vec![part.name.to_owned(), tokens, place(part).to_owned()]
        })
        .collect();
    rows.push(vec![
        "all, as the model reads it".to_owned(),
        count(ids.len()),
        String::new(),
    ]);
    page.push_str(&table(&["part", "tokens", "stands in"], &rows, &[1]));
    output::page(&page)
}

/// Where the model finds a part.
fn place(part: &PartCost) -> &'static str {
    match part.in_message {
        true => "first user message",
        false => "system prompt",
    }
}
