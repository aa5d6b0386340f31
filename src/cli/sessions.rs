//! `npast sessions`: list, show, rename, rm. What goes back or aside is in `branch`, the list in
//! `list`.

mod branch;
mod list;

use std::io::{BufRead, IsTerminal, Write};

use serde_json::{Value, json};

use super::Run;
use super::args::{SessionsArgs, SessionsCommand};
use super::error::Failure;
use super::output::{self, count, printable};
use crate::agent::{kv_owner, temp};
use crate::ledger::Token;
use crate::session::{Db, Error, Lock, Message, Session, State};

/// Runs the subcommand.
pub fn run(run: &Run, args: &SessionsArgs) -> Result<i32, Failure> {
    let path = run.places.db();
    // Looking makes no database.
    let db = match path.is_file() {
        true => Some(Db::open(&path)?),
        false => None,
    };
    match (&args.command, db) {
        (SessionsCommand::List, db) => list::run(run, db.as_ref()),
        (SessionsCommand::Show { name, all }, db) => {
            let (db, session) = find(db, name)?;
            show(run, &db, &session, *all)
        }
        (SessionsCommand::Undo { name, turns }, db) => {
            let (db, session) = find(db, name)?;
            branch::undo(run, db, &session, *turns)
        }
        (SessionsCommand::Redo { name, branch }, db) => {
            let (db, session) = find(db, name)?;
            branch::redo(run, db, &session, *branch)
        }
        (SessionsCommand::Fork { name, new, at }, db) => {
            let (db, session) = find(db, name)?;
            branch::fork(run, &db, &session, new.as_deref(), *at)
        }
        (SessionsCommand::Rename { name, to }, db) => {
            let (db, session) = find(db, name)?;
            db.rename(session.id, to)?;
            Ok(0)
        }
        (SessionsCommand::Rm { name, yes }, db) => {
            let (db, session) = find(db, name)?;
            if !yes && !agreed(&db, &session)? {
                return Err(Failure::failed("declined", "nothing was removed"));
            }
            // Whoever talks in it now would write into nothing.
            let _lock = Lock::session(&run.places.home, session.id)?;
            // KV first: it is only a cache if the rest fails, and nobody's if it came second.
            let forgotten = forget(run, &session, &db.ledger(session.id)?);
            let results = temp::remove(&run.places.home, session.id.0);
            db.remove(session.id)?;
            if let Err(error) = results {
                let text = format!("long results of \"{name}\" are still on disk: {error}");
                output::notice(&text, Some("the next session with tools removes them"));
            }
            if let Err(failure) = forgotten {
                output::notice(
                    &format!("the KV of \"{name}\" is still on disk: {}", failure.message),
                    Some("`npast kv gc` removes it"),
                );
            }
            Ok(0)
        }
    }
}

/// Removes the KV that no other session shares.
fn forget(run: &Run, session: &Session, ledger: &[Token]) -> Result<(), Failure> {
    if let Some(folder) = super::kv::open(&run.places.home, None)? {
        folder.forget(&kv_owner(session.id), ledger)?;
    }
    Ok(())
}

fn find(db: Option<Db>, name: &str) -> Result<(Db, Session), Failure> {
    let missing = || Error::NotFound(format!("a session named \"{}\"", printable(name)));
    let db = db.ok_or_else(missing)?;
    let session = db.find(name)?.ok_or_else(missing)?;
    Ok((db, session))
}

fn agreed(db: &Db, session: &Session) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage(
            format!("removing \"{}\" has no way back", session.name),
            "write --yes behind it",
        ));
    }
    let messages = db.messages(session.id)?.len();
    let mut err = std::io::stderr();
    let _ = write!(
        err,
        "Remove \"{}\" with its {messages} messages? [y/N] ",
        session.name
    );
    let _ = err.flush();
    let mut answer = String::new();
    stdin
        .lock()
        .read_line(&mut answer)
        .map_err(|e| Failure::failed("io", format!("the answer cannot be read: {e}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn show(run: &Run, db: &Db, session: &Session, all: bool) -> Result<i32, Failure> {
    let messages = db.messages(session.id)?;
    let branches = match all {
        true => branch::read(db, session)?,
        false => Vec::new(),
    };
    if run.json {
        let mut lines: Vec<Value> = messages.iter().map(as_json).collect();
        for (branch, messages) in &branches {
            lines.push(branch::as_json(branch));
            lines.extend(messages.iter().map(|message| {
                let mut line = as_json(message);
                line["branch"] = json!(branch.id.0);
                line
            }));
        }
        return output::json::lines(&lines);
    }
    let tokens = db.ledger(session.id)?.len();
    let mut text = format!(
        "{} · {} ({}) · {} tokens, {} of them frozen head · {} calls, {} read, {} written\n",
        session.name,
        session.model,
        session.class,
        count(tokens),
        count(session.head),
        session.usage.calls,
        count(usize::try_from(session.usage.evaluated).unwrap_or(usize::MAX)),
        count(usize::try_from(session.usage.generated).unwrap_or(usize::MAX)),
    );
    text.push_str(&branch::lineage(db, session)?);
    if let Some(system) = &session.system {
        text.push_str(&format!("\nsystem: {}\n", system.trim_end()));
    }
    for message in &messages {
        text.push_str(&said(message));
    }
    for (branch, messages) in &branches {
        text.push_str(&branch::title(branch));
        messages.iter().for_each(|m| text.push_str(&said(m)));
    }
    match std::io::stdout().is_terminal() {
        true => output::page(&printable(&text)),
        false => output::page(&text),
    }
}

fn as_json(message: &Message) -> Value {
    json!({
        "seq": message.seq, "role": message.role, "message": message.body,
        "state": message.state.as_str(), "finish": message.finish.map(|f| f.as_str()),
        "start": message.span.map(|s| s.start), "end": message.span.map(|s| s.end),
        "created_ms": message.created_ms,
    })
}

fn said(message: &Message) -> String {
    let mut notes = Vec::new();
    if message.state == State::Open {
        notes.push("not answered yet".to_owned());
    }
    if let Some(finish) = message.finish.filter(|f| f.as_str() != "stop") {
        notes.push(finish.as_str().replace('_', " "));
    }
    let note = match notes.is_empty() {
        true => String::new(),
        false => format!(" ({})", notes.join(", ")),
    };
    let mut text = format!("\n{}{note}: ", message.role);
    match &message.body["content"] {
        Value::String(content) => text.push_str(content.trim_end()),
        Value::Null => {}
        other => text.push_str(&other.to_string()),
    }
    for call in message.body["tool_calls"].as_array().into_iter().flatten() {
        let function = &call["function"];
        let name = function["name"].as_str().unwrap_or("?");
        // JSON in a string, as clients of the usual API have it.
        let arguments = match &function["arguments"] {
            Value::String(json) => json.clone(),
            other => other.to_string(),
        };
        text.push_str(&format!("\n  call: {name} {arguments}"));
    }
    text.push('\n');
    text
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
pub(super) mod tests;
