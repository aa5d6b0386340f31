//! What tools need of the agent, on one session: the search of the past, the memory, the plan.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::agent::compression::note::plan_in;
use crate::agent::notes::edit::Notes;
use crate::agent::values::error::AgentError;
use crate::chat::Message;
use crate::chat::message::ToolCall;
use crate::session::{self, Db, SessionId};
use crate::tools::{MemoryEdit, Secrets, SessionHit, TodoItem, ToolHost, plan_set_by};

/// The tool that sets the plan.
pub(in crate::agent) const PLANNER: &str = "todo";

/// A session's agent, as its tools see it. It has a connection of its own: calls that read run side
/// by side, away from the conversation.
pub(in crate::agent) struct Host {
    db: Mutex<Db>,
    session: SessionId,
    notes: Notes,
}

impl Host {
    pub fn of(home: &Path, session: SessionId, secret: &Secrets) -> Result<Host, AgentError> {
        Ok(Host {
            db: Mutex::new(Db::open(&home.join("npast.db"))?),
            session,
            notes: Notes::of(home, secret),
        })
    }

    // A tool that panicked holding it left nothing half done: changes are transactions.
    fn db(&self) -> MutexGuard<'_, Db> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ToolHost for Host {
    fn search_sessions(&self, query: &str, limit: usize) -> Result<Vec<SessionHit>, String> {
        if !query.chars().any(char::is_alphanumeric) {
            return Err("The query holds no word to search for.".to_owned());
        }
        let found = self.db().search(query, Some(self.session), limit);
        let hits = found.map_err(|e| format!("Past sessions cannot be searched: {e}."))?;
        Ok(hits
            .into_iter()
            .map(|hit| SessionHit {
                session: hit.name,
                day: hit.day,
                role: hit.role,
                snippet: hit.snippet,
            })
            .collect())
    }

    fn memory(&self, edits: &[MemoryEdit]) -> Result<String, String> {
        self.notes.edit(edits)
    }

    fn todo(&self) -> Vec<TodoItem> {
        plan(&self.db(), self.session).unwrap_or_else(|error| {
            tracing::warn!(%error, "the plan cannot be read");
            Vec::new()
        })
    }
}

/// The plan as the messages tell it: the last call that set it, or the hand-over of a compression that
/// stands behind it. Of a reply whose calls still run, their marks do.
pub(in crate::agent) fn plan(db: &Db, session: SessionId) -> Result<Vec<TodoItem>, session::Error> {
    let messages = db.messages(session)?;
    let read = |message: &session::Message| Message::from_json(&message.body).ok();
    for (at, row) in messages.iter().enumerate().rev() {
        let calls = match row.role.as_str() {
            "assistant" => read(row).map(|reply| reply.calls).unwrap_or_default(),
            _ => match plan_in(&row.body) {
                Some(plan) => return Ok(plan),
                None => continue,
            },
        };
        if !calls.iter().any(|call| call.name == PLANNER) {
            continue;
        }
        let after = messages[at + 1..].iter().take_while(|m| m.role == "tool");
        let mut results: Vec<String> = after.filter_map(read).map(|m| m.text).collect();
        if results.is_empty() {
            results.resize(calls.len(), String::new());
            for run in db.runs(row.id)? {
                if let (Some(result), Some((true, text))) = (results.get_mut(run.call), run.result)
                {
                    *result = text;
                }
            }
        }
        let set = |(call, result): (&ToolCall, &String)| match call.name == PLANNER {
            true => plan_set_by(&call.arguments, result),
            false => None,
        };
        if let Some(plan) = calls.iter().zip(&results).rev().find_map(set) {
            return Ok(plan);
        }
    }
    Ok(Vec::new())
}
