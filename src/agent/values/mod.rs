//! What callers pass in and get back. Plain values: no file here opens, decodes or stores anything.
//!
//! In the order in which these files import each other:
//! - `error`: why a request could not be done: a sentence, a hint, an exit code.
//! - `notice`: one sentence to the user, and what to do.
//! - `refused`: why a compression or a question beside the conversation was not done.
//! - `options`: which model, which session, which input, how a turn runs.
//! - `outcome`: what a turn, an undo or a compression came to, and what a session is.
//! - `receipt`: what one model call cost, and the sums of a turn.
//! - `odds`: how likely tokens were.
//! - `event`: what a client is told while a request runs.

pub(in crate::agent) mod error;
pub(in crate::agent) mod event;
pub(in crate::agent) mod notice;
pub(in crate::agent) mod odds;
pub(in crate::agent) mod options;
pub(in crate::agent) mod outcome;
pub(in crate::agent) mod receipt;
pub(in crate::agent) mod refused;
