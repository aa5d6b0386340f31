//! `npast sessions`: list, show, rename, rm.

use std::io::{BufRead, IsTerminal, Write};

use serde_json::{Value, json};

use super::Run;
use super::args::{SessionsArgs, SessionsCommand};
use super::error::Failure;
use super::output::{self, ago, count, printable, table};
use super::state::now_ms;
use crate::agent::{kv_owner, temp_folder};
use crate::ledger::Token;
use crate::session::{Db, Error, Lock, Message, Session, State, Summary};

/// Runs the subcommand.
pub fn run(run: &Run, args: &SessionsArgs) -> Result<i32, Failure> {
    let path = run.places.db();
    // Looking makes no database.
    let db = match path.is_file() {
        true => Some(Db::open(&path)?),
        false => None,
    };
    match (&args.command, db) {
        (SessionsCommand::List, None) => list(run, &[]),
        (SessionsCommand::List, Some(db)) => list(run, &db.list()?),
        (SessionsCommand::Show { name }, db) => {
            let (db, session) = find(db, name)?;
            let messages = db.messages(session.id)?;
            let tokens = db.ledger(session.id)?.len();
            show(run, &session, &messages, tokens)
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
            db.remove(session.id)?;
            let long = temp_folder(&run.places.home, session.id.0);
            if let Err(error) = std::fs::remove_dir_all(&long)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                let text = format!("long results of \"{name}\" are still on disk: {error}");
                output::notice(&text, Some(&format!("remove {}", long.display())));
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
    if let Some(folder) = super::kv::open(&run.places.home)? {
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

fn list(run: &Run, all: &[Summary]) -> Result<i32, Failure> {
    if run.json {
        let lines: Vec<Value> = all
            .iter()
            .map(|s| {
                json!({
                    "id": s.session.id.0, "name": s.session.name, "messages": s.messages,
                    "tokens": s.tokens, "model": s.session.model, "class": s.session.class,
                    "folder": s.session.folder, "used_ms": s.session.used_ms,
                    "first_words": s.first_words,
                })
            })
            .collect();
        return output::json::lines(&lines);
    }
    if all.is_empty() {
        eprintln!("There are no sessions yet; npast --session NAME \"…\" starts one.");
        return Ok(0);
    }
    output::page(&listed(all, now_ms()))
}

fn listed(all: &[Summary], now: i64) -> String {
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|s| {
            vec![
                printable(&s.session.name).into_owned(),
                count(s.messages),
                count(s.tokens),
                printable(&s.session.model).into_owned(),
                ago(now, s.session.used_ms),
            ]
        })
        .collect();
    table(
        &["name", "messages", "tokens", "model", "last used"],
        &rows,
        &[1, 2],
    )
}

fn show(run: &Run, session: &Session, messages: &[Message], tokens: usize) -> Result<i32, Failure> {
    if run.json {
        let lines: Vec<Value> = messages.iter().map(as_json).collect();
        return output::json::lines(&lines);
    }
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
    if let Some(system) = &session.system {
        text.push_str(&format!("\nsystem: {}\n", system.trim_end()));
    }
    for message in messages {
        text.push_str(&said(message));
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
