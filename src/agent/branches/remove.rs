//! Removing a session for good: its messages, its tokens, its KV, the long results of its tools.

use std::path::Path;

use crate::agent::conversation::names::kv_owner;
use crate::agent::tool_calls::temp;
use crate::agent::values::error::AgentError;
use crate::agent::values::notice::Notice;
use crate::harmless;
use crate::kv::{KvFolder, StoreLimits};
use crate::ledger::Token;
use crate::session::{Db, Lock, SessionId};

/// Removes a session, in whatever state it is. What is left of it on disk is said, with what to do.
///
/// # Errors
/// When somebody works in it, or npast.db fails; nothing was removed then but its KV.
pub fn remove(home: &Path, db: &Db, id: SessionId) -> Result<Vec<Notice>, AgentError> {
    let left = db.salvage(id)?;
    let name = harmless::line(&left.name);
    // Whoever talks in it now would write into nothing.
    let _lock = Lock::session(home, id)?;
    // KV first: it is only a cache if the rest fails, and nobody's if it came second.
    let forgotten = forget(home, id, &left.tokens);
    let results = temp::remove(home, id.0);
    db.remove(id)?;
    let mut notices = Vec::new();
    if let Err(error) = results {
        notices.push((
            format!("long results of \"{name}\" are still on disk: {error}"),
            Some("the next session with tools removes them".to_owned()),
        ));
    }
    if let Err(error) = forgotten {
        notices.push((
            format!("the KV of \"{name}\" is still on disk: {error}"),
            Some("`npast kv gc` removes it".to_owned()),
        ));
    }
    Ok(notices)
}

/// Removes the KV that no other session shares.
fn forget(home: &Path, id: SessionId, ledger: &[Token]) -> Result<(), crate::kv::Error> {
    if let Some(folder) = KvFolder::open(&home.join("kv"), StoreLimits::default())? {
        folder.forget(&kv_owner(id), ledger)?;
    }
    Ok(())
}
