//! One process's model, slot and stores.

pub(in crate::agent) mod fingerprint;
pub(in crate::agent) mod fit;
pub(in crate::agent) mod handle;
pub(in crate::agent) mod memory;
pub(in crate::agent) mod pass;
pub mod probe;
