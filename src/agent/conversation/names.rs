//! The names by which others know a session: the KV store by an owner, clients by handles.

use crate::session::SessionId;

/// The name under which a session's KV is held.
pub fn kv_owner(id: SessionId) -> String {
    format!("session-{}", id.0)
}

/// The name under which a session is found by the id of a call in it.
pub fn call_handle(id: &str) -> String {
    format!("call:{id}")
}

/// The name under which a session is found by a client's own key.
pub fn key_handle(key: &str) -> String {
    format!("key:{key}")
}
