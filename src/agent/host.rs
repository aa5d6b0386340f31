//! What tools need of the agent, on one session: the search of the past, the memory, the plan.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::AgentError;
use super::notes::Notes;
use crate::session::{Db, SessionId};
use crate::tools::{MemoryEdit, SessionHit, TodoItem, TodoState, ToolHost};

/// A session's agent, as its tools see it. It has a connection of its own: calls that read run side
/// by side, away from the conversation.
pub(super) struct Host {
    db: Mutex<Db>,
    session: SessionId,
    notes: Notes,
}

impl Host {
    pub fn of(home: &Path, session: SessionId) -> Result<Host, AgentError> {
        Ok(Host {
            db: Mutex::new(Db::open(&home.join("npast.db"))?),
            session,
            notes: Notes::of(home),
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
        match self.db().plan(self.session) {
            Ok(items) => read(&items),
            Err(error) => {
                tracing::warn!(%error, "the stored plan cannot be read");
                Vec::new()
            }
        }
    }

    fn set_todo(&self, plan: Vec<TodoItem>) -> Result<(), String> {
        let items: Value = plan
            .iter()
            .map(|item| json!({"text": item.text, "state": item.state.as_str()}))
            .collect();
        let stored = self.db().set_plan(self.session, &items);
        stored.map_err(|e| format!("The plan could not be stored: {e}."))
    }
}

fn read(items: &Value) -> Vec<TodoItem> {
    let item = |value: &Value| {
        Some(TodoItem {
            text: value["text"].as_str()?.to_owned(),
            state: TodoState::parse(value["state"].as_str()?)?,
        })
    };
    items
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(item)
        .collect()
}
