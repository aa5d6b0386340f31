//! What a session fixes at its start (law 7): system prompt, tools, preface, thinking. And how messages become
//! tokens under it.
//!
//! In the order in which these files import each other:
//! - `grammar`: the grammar of a reply format, as the sampler takes it.
//! - `time_limit`: work that cannot be interrupted, waited for within a time limit.
//! - `tool_forms`: simpler forms of a tool, for templates that cannot write it as it is.
//! - `maker`: which form of each tool a model is offered, and the formats of replies.
//! - `head`: the tokens of a frozen head, and where a preface ends.
//! - `frame`: [`frame::FrozenFrame`]: messages to tokens under the frozen head.
//! - `count`: counting tokens without a session.
//! - `cost`: what a prompt costs, without loading weights.

pub(in crate::agent) mod cost;
pub(in crate::agent) mod count;
pub(in crate::agent) mod frame;
pub(in crate::agent) mod grammar;
pub(in crate::agent) mod head;
pub(in crate::agent) mod maker;
pub(in crate::agent) mod time_limit;
pub(in crate::agent) mod tool_forms;
