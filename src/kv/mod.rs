//! Stored KV. A segment is an edge D(p0)→D(p1) of a graph, a snapshot is a node D(P); equal prefixes are
//! stored once, whichever conversation decoded them. KV is a cache: losing any of it changes cost and
//! nothing else. Nothing unproven leaves this room.
//!
//! What other rooms use:
//! - [`Store`]: stored KV of one model. Lookup by tokens, proven reads, puts to a writer thread.
//! - [`Folder`]: the same folder without a model: status, verify, garbage collection, forgetting an owner.
//! - [`Fingerprint`]: what must be equal before stored KV is used; [`Weights`]: which bytes a model file
//!   holds.
//! - [`storage`]: the file operations that all of it uses.
//!
//! The parts, in the order in which they import each other; nothing imports upwards:
//! 1. `error`, `notice`, `limits`, `queue`: what every part uses.
//! 2. `record`: the format of a file, writing one and proving one.
//! 3. `model`: which model a folder belongs to.
//! 4. `index`: kv/index.db, a cache of the files: one type a table, rebuild.
//! 5. `open`: an open folder: index in use, changes, lock, quarantine.
//! 6. `find`: lookup, reading ahead.
//! 7. `write`: the writer thread: commit, merge, split, eviction.
//! 8. `check`: proofs apart from a restore.
//! 9. `store` and `folder`: the two handles.
//!
//! Payloads are opaque bytes here; the slot checks their layout. Bytes and the commit protocol are in
//! docs/kv-format.md.

mod check;
mod error;
mod find;
mod folder;
mod index;
mod limits;
mod model;
mod notice;
mod open;
mod queue;
mod record;
mod store;
mod write;

#[cfg(test)]
mod tests;

// A name with `as` is long inside this room, because another room has a type of the short name. Other
// rooms use these types as `kv::Run`, `kv::Part`, ….
pub use check::deep::SampledSegment as Sampled;
pub use check::inspect::inspect;
pub use error::{Damage, Error};
pub use find::lookup::StoredPrefix as Found;
pub use find::read_ahead::Chain;
pub use find::warm::{Warming, warm};
pub use folder::handle::Folder;
pub use folder::share::{Shelf, StoredShare as Stored};
pub use folder::status::{ModelStatus, OwnerStatus};
pub use folder::verify::{BadFile, Verified};
pub use index::connection::StoreUsage as Usage;
pub use limits::{Limits, quota};
pub use model::fingerprint::Fingerprint;
pub use model::weights::{Tensors, Weights};
pub use notice::Notice;
pub use open::changes::Changes;
pub use record::item::{Edge, EdgeId, Node, NodeId};
pub use record::put::{Past, PutSegment, PutSnapshot};
pub use record::read::{ProvenSegment as Segment, ProvenSnapshot as Snapshot};
pub use record::role::SnapshotRole;
pub use record::runs::TokenRun as Run;
pub use record::storage;
pub use store::handle::Store;
pub use write::evict::Collected;
pub use write::join::{Join, PayloadPart as Part};
pub use write::merge::{Merged, MergedChain};
pub use write::oldest::give_way;
