//! Going back: undo, redo, edit, retry and fork. Each is a cut of the stored conversation (law 1: a
//! prefix break that has a name), durable before anything is decoded; what is cut off stays in npast.db as
//! a branch, and its KV until it is collected; only a session that is removed is gone. Only `retry` needs a model.
//!
//! In the order in which these files import each other:
//! - `turns`: where the turns of a conversation begin, and the cut before each (pure).
//! - `undo`: takes turns back, and puts them back.
//! - `fork`: another session with the first turns of this one.
//! - `retry`: another reply in the place of one.
//! - `remove`: a session goes for good.

pub(in crate::agent) mod fork;
pub(in crate::agent) mod remove;
pub(in crate::agent) mod retry;
pub(in crate::agent) mod turns;
pub(in crate::agent) mod undo;
