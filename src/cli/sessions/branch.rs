//! `npast sessions undo|redo|fork`, and where a session comes from. No model is loaded.

use serde_json::{Value, json};

use super::super::error::Failure;
use super::super::output::{self, count, notice};
use super::super::{CliContext, kv, through};
use crate::agent::{self, Done, UndoneTurns, kv_owner};
use crate::harmless;
use crate::service::Request;
use crate::session::{Branch, Continuation, Db, DbError, Lock, Session};

/// Takes turns back. A session that the gateway has open is asked there.
pub(super) fn undo(
    run: &CliContext,
    db: Db,
    session: &Session,
    turns: usize,
) -> Result<i32, Failure> {
    let taken = match Lock::session(&run.places.home, session.id) {
        Ok(here) => undone(run, db, session, turns, here)?,
        Err(held) => match through::asked(run, held, session, Request::Undo { turns })? {
            Done::Undone(taken) => taken,
            other => return Err(through::strange(&other)),
        },
    };
    if run.json {
        return output::json::lines(&[json!({
            "type": "undo", "name": taken.session, "turns": taken.turns,
            "messages": taken.messages, "tokens": taken.tokens,
        })]);
    }
    if !run.quiet {
        output::say(&format!(
            "Taken back: {} messages, {} tokens. `npast sessions redo {}` puts them back.",
            count(taken.messages),
            count(taken.tokens),
            harmless::line(&taken.session),
        ));
    }
    Ok(0)
}

/// Takes turns back in npast.db.
fn undone(
    run: &CliContext,
    mut db: Db,
    session: &Session,
    turns: usize,
    // Whoever talks in it now would hold the ledger that is cut.
    _here: Lock,
) -> Result<UndoneTurns, Failure> {
    let (there, turns) = agent::behind(&db, session, turns)?;
    let _there = match there.id == session.id {
        true => None,
        false => Some(Lock::session(&run.places.home, there.id)?),
    };
    Ok(agent::undo(&mut db, &there, turns)?)
}

/// Puts a branch back. A session that the gateway has open is asked there.
pub(super) fn redo(
    run: &CliContext,
    mut db: Db,
    session: &Session,
    branch: Option<i64>,
) -> Result<i32, Failure> {
    let tokens = match Lock::session(&run.places.home, session.id) {
        Ok(_lock) => agent::redo(&mut db, session, branch)?,
        Err(held) => match through::asked(run, held, session, Request::Redo { branch })? {
            Done::Redone { tokens } => tokens,
            other => return Err(through::strange(&other)),
        },
    };
    if run.json {
        return output::json::lines(&[json!({
            "type": "redo", "name": session.name, "tokens": tokens,
        })]);
    }
    if !run.quiet {
        output::say(&format!("Put back: {} tokens now.", count(tokens)));
    }
    Ok(0)
}

/// Starts a session with what another one has. The other one may be in use: what is committed of it
/// is taken.
pub(super) fn fork(
    run: &CliContext,
    db: &Db,
    session: &Session,
    name: Option<&str>,
    at: Option<usize>,
) -> Result<i32, Failure> {
    let child = agent::fork(db, session, name, at)?;
    if let Err(failure) = hold(run, db, session, &child) {
        notice(
            &format!(
                "what \"{}\" shares may be collected: {}",
                harmless::line(&child.name),
                failure.message
            ),
            Some("its first turn may read it again"),
        );
    }
    let tokens = child.forked.unwrap_or_default();
    if run.json {
        return output::json::lines(&[json!({
            "type": "fork", "id": child.id.0, "name": child.name, "parent": session.name,
            "tokens": tokens,
        })]);
    }
    if !run.quiet {
        output::say(&format!(
            "{} has {} tokens of {}.",
            harmless::line(&child.name),
            count(tokens),
            harmless::line(&session.name)
        ));
    }
    Ok(0)
}

/// What is stored of the common tokens is the child's too.
fn hold(run: &CliContext, db: &Db, session: &Session, child: &Session) -> Result<(), Failure> {
    if let Some(folder) = kv::open(&run.places.home, None)? {
        let decoded = child.forked.unwrap_or_default() - db.pending(child.id)?;
        folder.hold(&kv_owner(child.id), &db.ledger(session.id)?, decoded)?;
    }
    Ok(())
}

pub(super) fn as_json(branch: &Branch) -> Value {
    json!({
        "type": "branch", "branch": branch.id.0, "parent": branch.parent.map(|b| b.0),
        "at": branch.at, "tokens": branch.tokens, "why": branch.why.as_str(),
        "created_ms": branch.created_ms,
    })
}

/// The line above a branch's messages.
pub(super) fn title(branch: &Branch) -> String {
    let from = match branch.parent {
        Some(parent) => format!(" of branch {}", parent.0),
        None => String::new(),
    };
    format!(
        "\n── branch {}: left by {}, {} tokens after token {}{from}\n",
        branch.id.0,
        branch.why.as_str(),
        count(branch.tokens),
        count(branch.at),
    )
}

/// Where a session comes from, a line for each; nothing for one that was started as it is.
pub(super) fn lineage(db: &Db, session: &Session) -> Result<String, Failure> {
    let mut text = String::new();
    let mut here = session.clone();
    while let Some(id) = here.parent {
        let whole = |name: &str| match here.forked {
            Some(tokens) => format!("  from {name}, {} tokens of it\n", count(tokens)),
            None if here.made == Some(Continuation::Compressed) => {
                format!("  from {name}, compressed\n")
            }
            None => format!("  from {name}, rendered again\n"),
        };
        // Parents are older than their children, so this ends.
        if id >= here.id {
            text.push_str("  from a session that is not older than it, which cannot be\n");
            break;
        }
        match db.get(id) {
            Ok(parent) => {
                text.push_str(&whole(&parent.name));
                here = parent;
            }
            Err(DbError::NotFound(_)) => {
                text.push_str(&whole("a session that is gone"));
                break;
            }
            Err(DbError::Damaged { place, .. }) => {
                text.push_str(&whole(&format!("{place}, which is damaged")));
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(text)
}

/// Draws the chain of sessions that this one is in: what it continues, itself, what continues it.
pub(super) fn chain(run: &CliContext, db: &Db, session: &Session) -> Result<i32, Failure> {
    let chain = db.lineage(session.id)?;
    if run.json {
        let line = |one: &Session| {
            json!({
                "type": "lineage", "id": one.id.0, "name": one.name,
                "made": one.made.map(Continuation::as_str), "model": one.model,
                "asked": one.id == session.id, "successor": one.successor.map(|id| id.0),
            })
        };
        return output::json::lines(&chain.iter().map(line).collect::<Vec<_>>());
    }
    output::content(&chain_text(db, session, &chain)?)?;
    Ok(0)
}

/// A line for each session; the one that the user named is marked.
pub(super) fn chain_text(db: &Db, asked: &Session, chain: &[Session]) -> Result<String, Failure> {
    let mut text = String::new();
    for one in chain {
        let how = match one.made {
            _ if one.id == chain[0].id => "",
            Some(Continuation::Compressed) => "compressed to ",
            Some(Continuation::Rendered) => "rendered again as ",
            None => "",
        };
        let size = match (db.ledger(one.id), db.messages(one.id)) {
            (Ok(ledger), Ok(messages)) => format!(
                "{} messages, {} tokens",
                count(messages.len()),
                count(ledger.len())
            ),
            _ => "damaged".to_owned(),
        };
        let mark = if one.id == asked.id { "*" } else { " " };
        text.push_str(&format!(
            "{mark} {how}{} · {} · {size}\n",
            one.name, one.model
        ));
    }
    Ok(text)
}

#[cfg(test)]
#[path = "branch_tests.rs"]
mod tests;
