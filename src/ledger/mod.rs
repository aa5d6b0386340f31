//! The exact tokens of a conversation. A ledger is the truth; text is a projection of it and KV a
//! cache of it. This room is pure: no I/O, no llama.cpp, no clock.

mod digest;
mod finish;
mod mark;
pub mod plan;
mod token;

pub use digest::{Digest, RunningDigest};
pub use finish::Finish;
pub use mark::Mark;
pub use token::{Token, common_prefix};
