//! What tools need of the agent, on one session: the search of the past, the memory, the plan.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::agent::notes::edit::Notes;
use crate::agent::values::error::AgentError;
use crate::session::{Db, SessionId};
use crate::tools::{MemoryEdit, Secrets, SessionHit, TodoItem, ToolHost};

use super::plan::plan;

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
