//! A conversation is started, opened, mended and closed; and every operation on it runs here.
//!
//! In the order in which these files import each other:
//! - `rendered`: the messages of one session as another session takes them over.
//! - `start`: a new session's frozen head.
//! - `kept`: what a stored session keeps whatever this process was asked for.
//! - `mend`: what a crash left: a cut reply, calls without results.
//! - `successor`: a session that continues this one with another head or vocabulary.
//! - `open`: opening a session by name, by folder or anew.
//! - `close`: letting a session go.
//! - `operation`: one operation, and reading the conversation again after it failed.

pub(in crate::agent) mod close;
pub(in crate::agent) mod kept;
pub(in crate::agent) mod mend;
pub(in crate::agent) mod open;
pub(in crate::agent) mod operation;
pub(in crate::agent) mod rendered;
pub(in crate::agent) mod start;
pub(in crate::agent) mod successor;
