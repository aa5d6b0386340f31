//! [`handle::Store`]: the handle by which the slot and the agent use stored KV of one model.
//!
//! - `handle`: opening and closing a store, and the writer thread.
//! - `query`: lookups and proven reads.
//! - `put`: handing over segments, snapshots and samples of logits to be stored.
//! - `pins`: what an owner wants kept.
//! - `upkeep`: garbage collection, merging, disk space, quarantine.

pub(in crate::kv) mod handle;
mod pins;
mod put;
mod query;
mod upkeep;
