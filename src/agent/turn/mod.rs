//! A turn: reply, calls, results, reply, until a reply has no call.

pub(in crate::agent) mod steps;
