//! The system prompt of a session with tools.

pub(in crate::agent) mod build;
pub(in crate::agent) mod project;
pub(in crate::agent) mod skills;
