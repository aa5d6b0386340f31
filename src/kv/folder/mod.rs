//! [`handle::Folder`]: the handle of a KV folder without a loaded model, for commands.
//!
//! - `handle`: opening a folder, and garbage collection.
//! - `status`, `verify`, `forget`, `share`: one source file for each use: `npast kv status`, `npast kv
//!   verify`, `npast sessions rm`, and the list of sessions together with forks.

pub(in crate::kv) mod forget;
pub(in crate::kv) mod handle;
pub(in crate::kv) mod share;
pub(in crate::kv) mod status;
pub(in crate::kv) mod verify;
