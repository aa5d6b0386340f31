//! KV on disk. The slot stores here the KV that it has evaluated, and a later process restores it instead
//! of evaluating the same tokens again. The slot, the agent and the commands `npast kv` and `npast
//! sessions` use this module. Stored KV is a cache: when a file is lost, some tokens are evaluated again,
//! and no message is lost. Invariant: no payload is returned to a caller before its record is proven.
//!
//! # Words
//!
//! All files of this module use these words in these meanings. docs/glossary.md has them too, except those
//! that only this module needs.
//! - *Token*: one entry of the model's vocabulary, stored as an i32; a conversation is a list of tokens.
//! - *Position*: the index of a token in its conversation, counted from 0; [p0, p1) means the positions
//!   from p0 to p1 - 1.
//! - *Prefix*: the first p tokens of a conversation, for some p.
//! - *KV*: the keys and values that the model's attention has computed for tokens, as llama.cpp keeps them
//!   in its KV cache; a *KV row* is the part for one token.
//! - *Evaluate*: to run the model over tokens (`llama_decode`), which computes their KV.
//! - *Digest D(p)*: a blake3 hash of the hard fingerprint and the first p tokens, so two prefixes of the
//!   same model with the same D(p) are the same tokens.
//! - *Slot*: the one llama.cpp context of this process (`src/slot`); the slot *exports* KV as bytes to
//!   store it, and *restores* KV by importing stored bytes.
//! - *Target*: the tokens that the slot must have before the next token is sampled.
//! - *Model call*: one request to the slot: the slot evaluates the new tokens of a target (an *append*),
//!   and samples a reply.
//! - *Turn*: a message of the user with everything up to the end of the answer. A turn has one model call,
//!   or several if the model calls tools.
//! - *Frozen head*: the prefix with the system prompt and the tools.
//! - *State*: llama.cpp's word for everything that a context keeps for a sequence of tokens: the KV, and
//!   in some models a part that cannot be cut by position. (Only the table `state` uses the word
//!   differently: it lists which snapshots belong to which owner.)
//! - *Segment*: the KV of positions [p0, p1) together with these tokens. Stored segments form a graph of
//!   digests, in which this segment is the *edge* D(p0)→D(p1).
//! - *Snapshot*: the part of the state after P tokens that cannot be cut by position: a recurrent state,
//!   or the window of an SWA model. In models of the memory class *whole* it is the whole state. The
//!   snapshot at the end of a frozen head is *the frozen head's snapshot*.
//! - *Logits row*: the logits after one token. It is stored together with a snapshot, or alone.
//! - *Node*: a digest for which a snapshot or a logits row is stored. An edge may begin or end at a digest
//!   that is no node.
//! - *Role*: the reason why a node is kept: `Head` (it is at the end of a frozen head), `Turn` (at the end
//!   of a turn), `Step` (inside a long append or turn), or `Row` (a logits row alone, at the end of a
//!   prompt).
//! - *Snapshot point*: a position inside an append at which the slot hands a segment to the store, and a
//!   snapshot if the model needs snapshots: the end of the frozen head, and, if the model needs snapshots,
//!   every 2,048 tokens after that or after the start of the append.
//! - *Record*: one file with one segment, one snapshot or one logits row: a header, tokens, a payload and
//!   checksums. (The type `Record` in `record/put.rs` is the same in memory, before the file is written.)
//! - *Payload*: the bytes of a segment's KV or of a snapshot in a record, whose layout only the slot
//!   knows. The payload of a logits row that is stored alone is empty.
//! - *Proven*: a record is proven when every check in docs/kv-format.md (Proof) has passed: checksums,
//!   lengths, positions, fingerprint and digests. The last check needs the target.
//! - *Checked alone*: a record is checked alone when it has passed the checks that need no target. Merges,
//!   splits and `npast kv verify` have none.
//! - *Boundary*: a position at which a stored segment begins or ends; a *joint* is the digest at a
//!   boundary between two segments.
//! - *Need a joint*: every segment that begins or ends at a joint needs it. So does a node, a pin or a
//!   turn node with this digest. A merge removes a joint only if nothing but the two merged segments needs
//!   it.
//! - *Chain*: segments that follow each other without a gap, the first one from position 0 unless the text
//!   says otherwise.
//! - *Owner*: the opaque name for which KV is stored; in practice it stands for one session.
//! - *Pin*: the one digest per owner and model up to which the owner wants its segments kept. The slot
//!   sets the pin at the end of each turn, and if the model needs no snapshots at the end of each model
//!   call. Where a comment says that something is done at the end of a turn, it is done when the pin is
//!   set.
//! - *Turn node*: the one node per owner and model from which the owner's conversation goes on: the
//!   snapshot at the end of its last turn, or, if the model needs no snapshots, the logits row at the end
//!   of its last prompt. The table `turn` has its digest.
//! - *Hold*: an owner holds a digest when the digest is its pin or that of its turn node, or when one of
//!   its snapshots in the table `state` has this digest. An owner holds digests, never records.
//! - *Reach*: an owner reaches a record that lies on the way from position 0 to a digest that the owner
//!   holds.
//! - *Fork*: a new session that begins with a copy of another session's conversation.
//! - *Fingerprint*: the facts of model and context; its *hard* part must be equal before stored KV is
//!   used, and its *soft* part (build, device, threads) may differ if a sample of logits agrees.
//! - *KV folder*: `$NPAST_HOME/kv`, with the index, the quarantine and the model folders.
//! - *Model folder*: the folder in the KV folder that has all records of one hard fingerprint; in this
//!   module "model" means one hard fingerprint.
//! - *Index*: the SQLite database `index.db` in the KV folder; it lists the records, and what each owner
//!   holds. It can be rebuilt from the records, but not completely: pins and samples are lost
//!   (`index/mod.rs` has the list).
//! - *Index row*: a row of a table in the index; the source files in `index/` say only *row*.
//! - *Eviction*: the removal of records when the store is larger than its quota or when disk space is
//!   missing. Records that no owner reaches go first, and then those that save the fewest tokens per byte
//!   (`write/evict.rs` has the whole order). *Garbage collection* is an eviction that also removes every
//!   record that no owner reaches.
//! - *Quarantine*: the folder in the KV folder to which a record is moved when its proof fails or its KV
//!   is wrong on this machine, and from which nothing is read.
//!
//! Two conversations with a common prefix have the same digests, so the prefix is stored once.
//!
//! # What other modules use
//!
//! - [`Store`]: the KV folder opened for one model: lookup by tokens, proven reads, and writes by a writer
//!   thread.
//! - [`KvFolder`]: the KV folder opened without loading a model: status, verify, garbage collection, and
//!   removing an owner.
//! - [`Fingerprint`]: see above; [`Weights`]: which tensor data a model file has.
//! - [`storage`]: the file operations on record files, as a trait that tests replace.
//!
//! # The parts
//!
//! A part uses only parts with a smaller number:
//! 1. `error`, `notice`, `limits`, `queue`: small types for all other parts.
//! 2. `record`: the format of a record file; writing one record and proving one record.
//! 3. `model`: which model a model folder belongs to.
//! 4. `index`: the tables of the index, one source file per table, and how the index is rebuilt.
//! 5. `open`: an open KV folder: the index in use, the lock, the quarantine, and counts of segments that
//!    were lost or merged.
//! 6. `find`: looking up what is stored, and reading it ahead of the caller.
//! 7. `write`: storing, merging, splitting and evicting, and the writer thread that does this.
//! 8. `check`: checking records alone, for `npast kv verify`.
//! 9. `store` and `folder`: the types [`Store`] and [`KvFolder`].
//!
//! docs/kv-format.md has the layout of all bytes, and the order of steps in which a record is stored.

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

pub use check::deep::SampledSegment;
pub use check::inspect::inspect;
pub use error::{Damage, Error};
pub use find::lookup::StoredPrefix;
pub use find::read_ahead::Chain;
pub use find::warm::{Warming, warm};
pub use folder::handle::KvFolder;
pub use folder::share::{Shelf, StoredShare};
pub use folder::status::{ModelStatus, OwnerStatus};
pub use folder::verify::{BadFile, Verified};
pub use index::connection::StoreUsage;
pub use limits::{StoreLimits, quota};
pub use model::fingerprint::Fingerprint;
pub use model::weights::{Tensors, Weights};
pub use notice::KvNotice;
pub use open::changes::Changes;
pub use record::item::{Edge, EdgeId, Node, NodeId};
pub use record::put::{Past, PutSegment, PutSnapshot};
pub use record::read::{ProvenSegment, ProvenSnapshot};
pub use record::role::SnapshotRole;
pub use record::runs::TokenRun;
pub use record::storage;
pub use store::handle::Store;
pub use write::evict::Collected;
pub use write::join::{JoinPayloads, PayloadPart};
pub use write::merge::{Merged, MergedChain};
pub use write::oldest::give_way;
