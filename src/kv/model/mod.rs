//! Which model stored KV belongs to.
//!
//! - `fingerprint`: the facts that must be equal before stored KV may be used.
//! - `weights`: a name for the bytes of a model's tensors, one of these facts.
//! - `facts`: a model's folder, and the files in it that say what its name means.

pub(in crate::kv) mod facts;
pub(in crate::kv) mod fingerprint;
pub(in crate::kv) mod weights;
