//! Which model stored KV belongs to.
//!
//! - `fingerprint`: the facts of model and context, of which the hard ones must be equal before stored KV
//!   is used.
//! - `weights`: an identity for the tensor data of a model file, which is one of the hard facts.
//! - `facts`: the name of a model folder, and the JSON files in it that say in readable form which
//!   fingerprints it is for.

pub(in crate::kv) mod facts;
pub(in crate::kv) mod fingerprint;
pub(in crate::kv) mod weights;
