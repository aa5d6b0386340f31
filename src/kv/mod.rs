//! KV on disk. The slot stores here the KV that it has evaluated, and a later process restores it instead
//! of evaluating the same tokens again. The slot, the agent and the commands `npast kv` and `npast
//! sessions` use this module. Stored KV is a cache: when a file is lost, some tokens are evaluated again,
//! and no message is lost. Invariant: no payload is returned to a caller before its record is proven.
//!
//! # Words
//!
//! All files of this module use these words in these meanings. docs/glossary.md has them too.
//! - *Token*: one entry of the model's vocabulary, stored as an i32; a conversation is a list of tokens.
//! - *Position*: the index of a token in its conversation, counted from 0; [p0, p1) means the positions
//!   from p0 to p1 - 1.
//! - *Prefix*: the first p tokens of a conversation, for some p.
//! - *KV*: the keys and values that the model's attention has computed for tokens, as llama.cpp keeps
//!   them in its KV cache; a *KV row* is the part for one token.
//! - *Evaluate*: to run the model over tokens (`llama_decode`), which computes their KV.
//! - *Digest D(p)*: a blake3 hash of the hard fingerprint and the first p tokens, so two prefixes of the
//!   same model with the same D(p) are the same tokens.
//! - *Slot*: the one llama.cpp context of this process (`src/slot`); the slot *exports* KV as bytes to
//!   store it, and *restores* KV by importing stored bytes.
//! - *Target*: the tokens that the slot must have before the next token is sampled.
//! - *Segment*: the KV of positions [p0, p1) together with these tokens; it is the edge D(p0)→D(p1) of a
//!   graph.
//! - *State*: llama.cpp's word for everything that a context keeps for a sequence of tokens: its KV, and
//!   in some models a part that cannot be cut by position.
//! - *Snapshot*: that part of the state after P tokens (a recurrent state, or the window of an SWA
//!   model); it is the node D(P) of the graph.
//! - *Logits row*: the logits after one token; it is stored in the record of a snapshot, or alone in a
//!   node whose payload is empty.
//! - *Record*: one file with one segment or one node: a header, tokens, a payload and checksums.
//! - *Payload*: the bytes of KV or state in a record, whose layout only the slot knows.
//! - *Proven*: a record is proven when every check in docs/kv-format.md (Proof) has passed: checksums,
//!   lengths, positions, fingerprint and digests.
//! - *Boundary*: a position at which a stored segment begins or ends; a *joint* is the digest at a
//!   boundary between two segments.
//! - *Chain*: segments that follow each other without a gap, the first one from position 0 unless the
//!   text says otherwise.
//! - *Owner*: the opaque name for which KV is stored; in practice it stands for one session.
//! - *Pin*: the one digest per owner and model up to which the owner wants its conversation kept.
//! - *Turn*: the one digest per owner and model of the snapshot (or logits row) at the end of the owner's
//!   last turn.
//! - *Hold*: an owner holds a digest when the digest is its pin, its turn, or one of its snapshots in the
//!   table `state`.
//! - *Reach*: an owner reaches a record that lies on the way from position 0 to a digest that the owner
//!   holds.
//! - *Fingerprint*: the facts of model and context; its *hard* part must be equal before stored KV is
//!   used, and its *soft* part (build, device, threads) may differ if a sample of logits agrees.
//! - *KV folder*: `$NPAST_HOME/kv`, with the index, the quarantine and the model folders.
//! - *Model folder*: the folder in the KV folder that has all records of one hard fingerprint; in this
//!   module "model" means one hard fingerprint.
//! - *Index*: the SQLite database `index.db` in the KV folder; it lists the records and the owners, and
//!   can be rebuilt from the records.
//! - *Index row*: a row of a table in the index; the source files in `index/` say only *row*.
//! - *Eviction*: the removal of records by use and age; *garbage collection* is an eviction that also
//!   removes every record that no owner reaches.
//! - *Quarantine*: the folder in the KV folder to which a record is moved when its proof fails or its KV
//!   is wrong on this machine, and from which nothing is read.
//!
//! Two conversations with a common prefix have the same digests, so the prefix is stored once.
//!
//! # What other modules use
//!
//! - [`Store`]: the KV folder opened for one model: lookup by tokens, proven reads, and writes by a
//!   writer thread.
//! - [`Folder`]: the KV folder opened without loading a model: status, verify, garbage collection, and
//!   removing an owner.
//! - [`Fingerprint`]: see above; [`Weights`]: which tensor data a model file has.
//! - [`storage`]: the file operations on record files, as a trait that tests replace.
//!
//! # The parts
//!
//! A part uses only parts with a smaller number:
//! 1. `error`, `notice`, `limits`, `activity`, `queue`: small types for all other parts.
//! 2. `record`: the format of a record file; writing one record and proving one record.
//! 3. `model`: which model a model folder belongs to.
//! 4. `index`: the tables of the index, one source file per table, and how the index is rebuilt.
//! 5. `open`: an open KV folder: the index in use, the lock, the quarantine, and counts of segments that
//!    were lost or merged.
//! 6. `find`: looking up what is stored, and reading it ahead of the caller.
//! 7. `write`: the writer thread: storing, merging, splitting and evicting.
//! 8. `check`: proving files when nothing is restored, for `npast kv verify`.
//! 9. `store` and `folder`: the types [`Store`] and [`Folder`].
//!
//! docs/kv-format.md has the layout of all bytes, and the order of steps in which a record is stored.

mod activity;
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

// A type that is exported with `as` has a longer name inside this module, because another module has a
// type of the short name. Other modules write `kv::Run`, `kv::Part` and so on.
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
pub use write::merge::Merged;
pub use write::oldest::give_way;
