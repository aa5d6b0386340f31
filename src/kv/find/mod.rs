//! Finding and reading what is stored for a conversation.
//!
//! - `lookup`: finds the segments and snapshots that are stored for some tokens; used at a restore.
//! - `ahead`: before a new segment is stored, finds a stored segment that begins with the same tokens;
//!   used at a put.
//! - `read_ahead`: a thread that reads and proves the segments of a chain before its caller needs them;
//!   used at a restore. (It has nothing to do with `ahead`; `Limits::ahead_bytes` is the limit of
//!   `read_ahead`.)
//! - `warm`: makes the kernel read an owner's files into the page cache while the model is loaded.

pub(in crate::kv) mod ahead;
pub(in crate::kv) mod lookup;
pub(in crate::kv) mod read_ahead;
pub(in crate::kv) mod warm;
