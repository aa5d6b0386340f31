//! Going back: undo, redo, edit, retry and fork. Each is a cut of the stored conversation (law 1: a
//! prefix break that has a name), durable before anything is decoded; what is cut off stays in npast.db as
//! a branch, and its KV until it is collected. Only `retry` needs a model.

pub(in crate::agent) mod undo;
