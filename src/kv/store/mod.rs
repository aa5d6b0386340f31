//! The handle that other rooms use: [`handle::Store`].
//!
//! - `handle`: opening and closing, and the writer thread.
//! - `query`: lookups and proven reads.
//! - `put`: what callers store. `pins`: what owners want kept.
//! - `upkeep`: eviction, merging, quarantine.

pub(in crate::kv) mod handle;
mod pins;
mod put;
mod query;
mod upkeep;
