//! [`handle::KvFolder`]: the handle of a KV folder without a loaded model, for commands.
//!
//! - `handle`: opening a folder, and garbage collection.
//! - `status`: for `npast kv status`.
//! - `verify`: for `npast kv verify`.
//! - `forget`: for `npast sessions rm`.
//! - `share`: for the list of sessions, and for forks.

pub(in crate::kv) mod forget;
pub(in crate::kv) mod handle;
pub(in crate::kv) mod share;
pub(in crate::kv) mod status;
pub(in crate::kv) mod verify;
