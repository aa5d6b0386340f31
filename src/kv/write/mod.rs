//! Changing what is stored. Each store has a writer thread, which stores, merges, splits and evicts
//! records. It does one job after another, in the order in which callers asked, so a store never makes two
//! of these changes at the same time.
//!
//! A source file uses only files above it in this list:
//! - `failure`: why a job failed, and the notice about it.
//! - `join`: the trait by which the slot joins and cuts payloads, whose layout only the slot knows.
//! - `commit`: stores one record: its file and its index row.
//! - `supersede`: removes the older snapshots and logits rows that a new one replaces.
//! - `merge_plan` and `merge`: make one segment of several small ones; `split`: makes two segments of one.
//! - `in_use`: remembers what the conversation in the slot needs.
//! - `pins`: moves the pin of an owner.
//! - `evict`: chooses and removes records when the store is too large. `Folder` uses it too, without a
//!   writer thread.
//! - `oldest`: frees disk space by the age of files, without using the index. A process without an open
//!   store calls it directly; the writer thread uses only its function that empties the quarantine.
//! - `room`: keeps the store within its quota, and keeps disk space free for npast.db.
//! - `job` and `writer`: the list of jobs, and the thread's loop.

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
