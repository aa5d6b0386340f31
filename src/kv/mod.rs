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

mod ahead;
mod aside;
mod chain;
mod collect;
mod commit;
mod deep;
mod error;
mod files;
mod fingerprint;
mod folder;
mod format;
mod give_way;
mod graph;
mod holdings;
mod index;
mod inspect;
mod joints;
mod keeper;
mod lookup;
mod merge;
mod notice;
mod place;
mod put;
mod questions;
mod queue;
mod read;
mod rebuild;
mod remake;
mod retain;
mod row;
mod runs;
mod sample;
mod schema;
mod share;
mod split;
mod states;
pub mod storage;
mod store;
mod warm;
mod ways;
mod weights;
mod writer;

#[cfg(test)]
mod tests;

pub use chain::Chain;
pub use collect::{Collected, quota};
pub use deep::Sampled;
pub use error::{Damage, Error};
pub use fingerprint::Fingerprint;
pub use folder::{BadFile, Folder, ModelStatus, OwnerStatus, Verified};
pub use format::Limits;
pub use give_way::give_way;
pub use index::{Edge, EdgeId, Node, NodeId, Usage};
pub use inspect::inspect;
pub use lookup::Found;
pub use merge::{Join, Merged, Part};
pub use notice::Notice;
pub use put::{Past, PutSegment, PutSnapshot, SnapshotRole};
pub use read::{Segment, Snapshot};
pub use runs::Run;
pub use share::{Shelf, Stored};
pub use store::{Changes, Store};
pub use warm::{Warming, warm};
pub use weights::{Tensors, Weights};
