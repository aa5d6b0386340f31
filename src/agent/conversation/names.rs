//! The names by which others know a session: the KV store by an owner, clients by handles.

use crate::ledger::Digest;
use crate::session::SessionId;

/// The name under which a session's KV is held.
pub fn kv_owner(id: SessionId) -> String {
    format!("session-{}", id.0)
}

/// What [`base_owner`]'s names begin with.
pub const BASE: &str = "base-";

/// The name under which the KV of the next session's head is held, for a folder.
pub fn base_owner(folder: &str) -> String {
    format!("{BASE}{}", &Digest::of(folder.as_bytes()).hex()[..16])
}

/// The name under which a session is found by the id of a call in it.
pub fn call_handle(id: &str) -> String {
    format!("call:{id}")
}

/// The name under which a session is found by a client's own key.
pub fn key_handle(key: &str) -> String {
    format!("key:{key}")
}
