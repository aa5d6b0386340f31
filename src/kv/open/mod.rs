//! An open KV folder: the values that the handles (`Store`, `Folder`), the writer thread and the readers
//! share.
//!
//! A source file uses only files above it in this list:
//! - `changes`: counts of segments that were lost or merged after the slot had put them.
//! - `lock`: the lock file of the KV folder, by which a process knows whether other processes use the
//!   folder.
//! - `index`: an index in use, which is rebuilt when damage is met.
//! - `store`: [`store::OpenStore`], everything that belongs to a KV folder opened for one model.
//! - `quarantine`: takes damaged record files out of use.

pub(in crate::kv) mod changes;
pub(in crate::kv) mod index;
pub(in crate::kv) mod lock;
pub(in crate::kv) mod quarantine;
pub(in crate::kv) mod store;
