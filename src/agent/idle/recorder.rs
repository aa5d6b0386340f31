//! Receipts of idle work that the slot and the store do by themselves. The session that the work is for
//! may be open on another thread, or closed.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde_json::json;

use crate::agent::engine::handle::Engine;
use crate::agent::values::error::AgentError;
use crate::agent::values::receipt::Receipt;
use crate::session::{self, Db, SessionId};

/// Stores receipts in npast.db.
pub struct IdleRecorder {
    path: PathBuf,
    db: Mutex<Option<Db>>,
}

impl Engine {
    /// What stores receipts of idle work for this engine's sessions.
    pub fn idle_recorder(&self) -> IdleRecorder {
        IdleRecorder {
            path: self.shared().options.home.join("npast.db"),
            db: Mutex::default(),
        }
    }
}

impl IdleRecorder {
    /// Stores a receipt with the session that owns the KV that the work was for. A session that is gone has
    /// none any more.
    ///
    /// # Errors
    /// When npast.db fails.
    pub fn store(&self, owner: &str, receipt: &Receipt) -> Result<(), AgentError> {
        let Some(id) = session_of(owner) else {
            return Ok(());
        };
        let mut held = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        let db = match &mut *held {
            Some(db) => db,
            none => none.insert(Db::open(&self.path)?),
        };
        match store(db, id, receipt) {
            Ok(()) | Err(session::DbError::NotFound(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn store(db: &mut Db, id: SessionId, receipt: &Receipt) -> Result<(), session::DbError> {
    let mut unit = db.begin(id)?;
    unit.add_receipt(
        "idle",
        Some(receipt.finish),
        &json!(receipt),
        &receipt.sums(),
    )?;
    unit.commit()
}

/// The session whose KV has this owner; the inverse of [`crate::agent::kv_owner`].
fn session_of(owner: &str) -> Option<SessionId> {
    let id = owner.strip_prefix("session-")?.parse().ok()?;
    Some(SessionId(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::kv_owner;

    #[test]
    fn an_owner_names_its_session_and_what_is_no_owner_names_none() {
        let id = SessionId(42);
        assert_eq!(session_of(&kv_owner(id)), Some(id));
        for other in ["side", "session-", "session-x", "", "other-1"] {
            assert_eq!(session_of(other), None, "{other}");
        }
    }
}
