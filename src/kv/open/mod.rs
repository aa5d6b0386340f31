//! An open KV folder: what its handles, the writer thread and the readers share.
//!
//! In the order in which these files import each other:
//! - `changes`: what became of segments after they were handed over.
//! - `lock`: the folder's lock, by which processes know of each other.
//! - `index`: an index in use, which is rebuilt when it is found damaged.
//! - `store`: all of it for one model, [`store::OpenStore`].
//! - `quarantine`: takes stored files out of use.

pub(in crate::kv) mod changes;
pub(in crate::kv) mod index;
pub(in crate::kv) mod lock;
pub(in crate::kv) mod quarantine;
pub(in crate::kv) mod store;
