//! What callers pass in and get back. Plain values: no file here opens, decodes or stores anything.

pub(in crate::agent) mod error;
pub(in crate::agent) mod event;
pub(in crate::agent) mod options;
pub(in crate::agent) mod receipt;
pub(in crate::agent) mod refused;
