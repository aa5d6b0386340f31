//! The tools of a session, and running the calls of a reply.
//!
//! In the order in which these files import each other:
//! - `temp`: temporary folders of sessions.
//! - `plan`: the plan, as the stored messages tell it.
//! - `host`: what tools need of the agent: search, notes, plan.
//! - `rounds`: budgets of a turn, and whether it still gets anywhere.
//! - `steering`: what the user says while a turn runs.
//! - `toolset`: the tools of an open session and all that a call of one needs.
//! - `shortened`: results that became lines, each in a file with a short path.
//! - `run`: the calls of one reply: checked, approved, run, answered in order.

pub(in crate::agent) mod host;
pub(in crate::agent) mod plan;
pub(in crate::agent) mod rounds;
pub(in crate::agent) mod run;
pub(in crate::agent) mod shortened;
pub(in crate::agent) mod steering;
pub mod temp;
pub(in crate::agent) mod toolset;
