//! Writing: what the writer thread does, in the order of the callers' requests.
//!
//! In the order in which these files import each other:
//! - `failure`: why a job failed, and what the user is told.
//! - `join`: how payloads are joined and cut, which the slot knows.
//! - `commit`: gives a record its file and its row.
//! - `supersede`: removes what a new snapshot of an owner makes unnecessary.
//! - `merge_plan` and `merge`: small segments become one; `split`: one segment becomes two.
//! - `in_use`: what the conversation in the slot needs.
//! - `pins`: moves an owner's pin at the end of a turn.
//! - `evict`: which files go when there are too many, and in which order.
//! - `oldest`: frees disk without an index.
//! - `room`: keeps to the quota, and leaves room on the disk for messages.
//! - `job` and `writer`: what the thread is asked to do, and its loop.

pub(in crate::kv) mod commit;
pub(in crate::kv) mod evict;
pub(in crate::kv) mod failure;
pub(in crate::kv) mod in_use;
pub(in crate::kv) mod job;
pub(in crate::kv) mod join;
pub(in crate::kv) mod merge;
pub(in crate::kv) mod merge_plan;
pub(in crate::kv) mod oldest;
pub(in crate::kv) mod pins;
pub(in crate::kv) mod room;
pub(in crate::kv) mod split;
pub(in crate::kv) mod supersede;
pub(in crate::kv) mod writer;
