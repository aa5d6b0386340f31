//! A client that sends all of its conversation with each request.

pub(in crate::agent) mod beside;
pub(in crate::agent) mod follow;
pub(in crate::agent) mod foreign;
pub(in crate::agent) mod goes_on;
pub(in crate::agent) mod matching;
pub(in crate::agent) mod whose;
