//! A KV folder without a model: what commands do with it.
//!
//! - `handle`: [`handle::Folder`], and its garbage collection.
//! - `status`, `verify`, `forget`, `share`: its other methods, one file for each command.

pub(in crate::kv) mod forget;
pub(in crate::kv) mod handle;
pub(in crate::kv) mod share;
pub(in crate::kv) mod status;
pub(in crate::kv) mod verify;
