//! What a session fixes at its start (law 7): system prompt, tools, thinking. And how messages become
//! tokens under it.

pub(in crate::agent) mod cost;
pub(in crate::agent) mod count;
pub(in crate::agent) mod frame;
pub(in crate::agent) mod maker;
