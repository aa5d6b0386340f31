//! `npast sessions show`: the facts and messages of a session, as far as they can be read.

use serde_json::{Value, json};

use super::super::CliContext;
use super::super::error::{FAILED, Failure};
use super::super::output::{self, count};
use super::branch;
use crate::harmless;
use crate::session::{Db, MessageState, Salvage, SalvagedMessage, SessionId, StoredMessage};

/// Prints a session. The exit code is 1 where a part of it cannot be read: what was printed is not all.
pub(super) fn run(run: &CliContext, db: &Db, id: SessionId, all: bool) -> Result<i32, Failure> {
    let found = db.salvage(id)?;
    match run.json {
        true => output::json::lines(&as_lines(db, id, &found, all)?)?,
        false => output::content(&as_text(db, id, &found, all)?)?,
    };
    Ok(match found.missing.is_empty() {
        true => 0,
        false => FAILED,
    })
}

/// A line for each message, and for each thing that cannot be read.
pub(super) fn as_lines(
    db: &Db,
    id: SessionId,
    found: &Salvage,
    all: bool,
) -> Result<Vec<Value>, Failure> {
    let mut lines: Vec<Value> = found
        .missing
        .iter()
        .map(|what| json!({"type": "damaged", "what": what}))
        .collect();
    for line in shown(db, id, found, all)? {
        lines.push(match line {
            ShownItem::Message(message) => as_json(&message.message),
            ShownItem::Branch(title) => title.json,
            ShownItem::OfBranch(message) => {
                let mut line = as_json(&message.message);
                line["branch"] = json!(message.branch.map(|b| b.0));
                line
            }
        });
    }
    Ok(lines)
}

pub(super) fn as_text(
    db: &Db,
    id: SessionId,
    found: &Salvage,
    all: bool,
) -> Result<String, Failure> {
    let mut text = match &found.session {
        Some(session) => format!(
            "{} · {} ({}) · {} tokens, {} of them frozen head · {} calls, {} read, {} written\n",
            session.name,
            session.model,
            session.class,
            count(found.tokens.len()),
            count(session.head),
            session.usage.calls,
            count(usize::try_from(session.usage.evaluated).unwrap_or(usize::MAX)),
            count(usize::try_from(session.usage.generated).unwrap_or(usize::MAX)),
        ),
        None => format!(
            "{} · {} tokens can be read\n",
            found.name,
            count(found.tokens.len())
        ),
    };
    if let Some(session) = &found.session {
        text.push_str(&branch::lineage(db, session)?);
    }
    if let Ok(Some(file)) = db.model_file(id) {
        let path = file.path.to_string_lossy();
        text.push_str(&format!("model file: {}\n", harmless::line(&path)));
    }
    if !found.missing.is_empty() {
        text.push_str("\nThis session is damaged, and what follows is what can be read of it:\n");
        for what in &found.missing {
            text.push_str(&format!("  {what}\n"));
        }
    }
    if let Some(system) = &found.system {
        text.push_str(&format!("\nsystem: {}\n", system.trim_end()));
    }
    let preface = found.session.as_ref().and_then(|s| s.preface.as_ref());
    if let Some(preface) = preface {
        text.push_str(&format!("\nbefore the first message: {preface}\n"));
    }
    for line in shown(db, id, found, all)? {
        text.push_str(&match line {
            ShownItem::Message(message) | ShownItem::OfBranch(message) => said(&message.message),
            ShownItem::Branch(title) => title.text,
        });
    }
    Ok(text)
}

/// What is printed, in order.
enum ShownItem<'a> {
    Message(&'a SalvagedMessage),
    Branch(TranscriptTitle),
    OfBranch(&'a SalvagedMessage),
}

/// What stands above a branch's messages.
struct TranscriptTitle {
    json: Value,
    text: String,
}

/// The conversation and, where they are wanted, the branches that were left. Messages of branches that
/// cannot be read are always there: nothing else shows them.
fn shown<'a>(
    db: &Db,
    id: SessionId,
    found: &'a Salvage,
    all: bool,
) -> Result<Vec<ShownItem<'a>>, Failure> {
    let whole = found.missing.is_empty();
    let branches = match db.branches(id) {
        Ok(branches) => branches,
        Err(error) if whole => return Err(error.into()),
        Err(_) => Vec::new(),
    };
    let known = |m: &SalvagedMessage| branches.iter().any(|b| Some(b.id) == m.branch);
    let mut lines: Vec<ShownItem<'_>> = found
        .messages
        .iter()
        .filter(|m| m.branch.is_none())
        .map(ShownItem::Message)
        .collect();
    for branch in branches.iter().filter(|_| all) {
        lines.push(ShownItem::Branch(TranscriptTitle {
            json: branch::as_json(branch),
            text: branch::title(branch),
        }));
        let of = found
            .messages
            .iter()
            .filter(|m| m.branch == Some(branch.id));
        lines.extend(of.map(ShownItem::OfBranch));
    }
    let lost = found
        .messages
        .iter()
        .filter(|m| m.branch.is_some() && !known(m));
    lines.extend(lost.map(ShownItem::OfBranch));
    Ok(lines)
}

pub(super) fn as_json(message: &StoredMessage) -> Value {
    json!({
        "seq": message.seq, "role": message.role, "message": message.body,
        "state": message.state.as_str(), "finish": message.finish.map(|f| f.as_str()),
        "start": message.span.map(|s| s.start), "end": message.span.map(|s| s.end),
        "created_ms": message.created_ms,
    })
}

pub(super) fn said(message: &StoredMessage) -> String {
    let mut notes = Vec::new();
    if message.state == MessageState::Open {
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
