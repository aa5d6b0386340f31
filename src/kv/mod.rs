//! States on disk, as a graph over D(p): segments are edges D(p0)→D(p1), snapshots are nodes at
//! D(P). Equal prefixes are stored once, whoever decoded them. KV is a cache: losing any of it
//! changes cost and nothing else, and nothing unproven leaves this room.
//!
//! - [`Store`]: the handle. Lookup by tokens, proven reads (`questions`), puts to a writer thread, and
//!   what is taken out of use (`aside`).
//! - [`Folder`]: the same folder without a model: status, verify, collect, forget.
//! - [`Fingerprint`]: what must be equal for stored KV to be of use; [`Weights`]: which bytes a model
//!   file holds.
//! - [`storage`]: the few file operations all of it stands on.
//!
//! Payloads are opaque bytes here; their inner layout is the slot's to check. Bytes and the commit
//! protocol are in docs/kv-format.md.

mod check;
mod error;
mod find;
mod folder;
mod index;
mod model;
mod notice;
mod open;
mod queue;
mod record;
mod store;
mod write;

#[cfg(test)]
mod tests;

pub use check::deep::Sampled;
pub use check::inspect::inspect;
pub use error::{Damage, Error};
pub use find::lookup::Found;
pub use find::read_ahead::Chain;
pub use find::warm::{Warming, warm};
pub use folder::handle::{BadFile, Folder, ModelStatus, OwnerStatus, Verified};
pub use folder::share::{Shelf, Stored};
pub use index::connection::{Edge, EdgeId, Node, NodeId, Usage};
pub use model::fingerprint::Fingerprint;
pub use model::weights::{Tensors, Weights};
pub use notice::Notice;
pub use record::format::Limits;
pub use record::put::{Past, PutSegment, PutSnapshot, SnapshotRole};
pub use record::read::{Segment, Snapshot};
pub use record::runs::Run;
pub use record::storage;
pub use store::handle::{Changes, Store};
pub use write::evict::{Collected, quota};
pub use write::give_way::give_way;
pub use write::merge::{Join, Merged, Part};
