//! Compression: a conversation that comes near the context's end goes on as another session that has a
//! summary in the place of its middle. The summary is written on a fork of the live sequence, so nothing
//! is read again for it and sequence 0 is untouched until the result is accepted (law 8). The new session
//! is the successor of the old one, made in one transaction: killed at any moment, there is the one or
//! the other, whole. What is read of the new one is the summary, the last turns and what the template
//! writes around them.
//!
//! In the order in which these files import each other:
//! - `cut`: what stays, word for word (pure).
//! - `sizes`: the numbers of tokens that a compression goes by (pure).
//! - `note`: what the model is asked for, and what the new conversation says of itself.
//! - `plain`: a summary without a model.
//! - `items`: the conversation as a cut sees it.
//! - `ask`: the summary, written on a fork.
//! - `child`: the new conversation's tokens, and going on in it.
//! - `prune`: long results as lines, before a summary is needed.
//! - `flush`: what the model remembers before a summary.
//! - `run`: one compression from beginning to end.
//! - `due`: when a conversation is compressed by itself.

pub(in crate::agent) mod ask;
pub(in crate::agent) mod child;
pub(in crate::agent) mod cut;
pub(in crate::agent) mod due;
pub(in crate::agent) mod flush;
pub(in crate::agent) mod items;
pub(in crate::agent) mod note;
pub(in crate::agent) mod plain;
pub(in crate::agent) mod prune;
pub(in crate::agent) mod run;
pub(in crate::agent) mod sizes;
