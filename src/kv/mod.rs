//! States on disk, as a graph over D(p): segments are edges D(p0)→D(p1), snapshots are nodes at
//! D(P). Equal prefixes are stored once, whoever decoded them. KV is a cache: losing any of it
//! changes cost and nothing else, and nothing unproven leaves this room.
//!
//! - [`Store`]: the handle. Lookup by tokens, proven reads, puts to a writer thread.
//! - [`Folder`]: the same folder without a model: status, verify, collect, forget.
//! - [`Fingerprint`]: what must be equal for stored KV to be of use.
//! - [`storage`]: the few file operations all of it stands on.
//!
//! Payloads are opaque bytes here; their inner layout is the slot's to check. Bytes and the commit
//! protocol are in docs/kv-format.md.

mod collect;
mod error;
mod files;
mod fingerprint;
mod folder;
mod format;
mod graph;
mod holdings;
mod index;
mod inspect;
mod keeper;
mod lookup;
mod notice;
mod put;
mod queue;
mod read;
mod rebuild;
mod row;
mod share;
pub mod storage;
mod store;
mod writer;

#[cfg(test)]
mod tests;

pub use collect::Collected;
pub use error::{Damage, Error};
pub use fingerprint::Fingerprint;
pub use folder::{BadFile, Folder, ModelStatus, OwnerStatus, Verified};
pub use format::Limits;
pub use index::{Edge, EdgeId, Node, NodeId, Usage};
pub use inspect::inspect;
pub use lookup::Found;
pub use notice::Notice;
pub use put::{PutSegment, PutSnapshot, SnapshotRole};
pub use read::{Segment, Snapshot};
pub use share::{Shelf, Stored};
pub use store::Store;
