//! Proofs of stored files apart from a restore.
//!
//! - `inspect`: one record by itself.
//! - `verify`: all files of a model.
//! - `deep`: segments that the slot evaluates again and compares.

pub(in crate::kv) mod deep;
pub(in crate::kv) mod inspect;
pub(in crate::kv) mod verify;
