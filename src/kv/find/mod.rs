//! Finding and reading what is stored for a conversation.
//!
//! - `lookup`: from tokens to the segments and snapshots stored for them.
//! - `ahead`: what is stored of the tokens that a new segment will have.
//! - `read_ahead`: a thread that reads and proves a chain of segments ahead of its caller.
//! - `warm`: an owner's files into the page cache, while the model is loaded.

pub(in crate::kv) mod ahead;
pub(in crate::kv) mod lookup;
pub(in crate::kv) mod read_ahead;
pub(in crate::kv) mod warm;
