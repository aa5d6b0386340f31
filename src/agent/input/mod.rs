//! An input becomes durable messages and tokens (laws 1 and 5), or is withdrawn.

pub(in crate::agent) mod append;
