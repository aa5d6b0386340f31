//! A turn: reply, calls, results, reply, until a reply has no call.
//!
//! In the order in which these files import each other:
//! - `step_input`: makes the input of a step durable, where it may need room first.
//! - `steps`: the loop, and what is done after it.

pub(in crate::agent) mod step_input;
pub(in crate::agent) mod steps;
