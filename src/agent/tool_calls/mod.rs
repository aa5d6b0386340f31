//! The tools of a session, and running the calls of a reply.

pub(in crate::agent) mod host;
pub(in crate::agent) mod rounds;
pub(in crate::agent) mod run;
pub(in crate::agent) mod steering;
pub mod temp;
pub(in crate::agent) mod toolset;
