//! Why the slot could not do a command.

use crate::kv;
use crate::llama::state::StateError;
use crate::llama::{ContextError, DecodeError, SamplerError};

/// Why the slot could not do a command.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// The target does not fit.
    #[error("{tokens} tokens do not fit into a context of {limit}")]
    TooLong {
        /// The target's.
        tokens: usize,
        /// The conversation's limit.
        limit: usize,
    },
    /// Side work continues tokens that the slot does not hold, or holds no more.
    #[error("the slot does not hold what this side work continues")]
    Moved,
    /// An empty target cannot be sampled from.
    #[error("there is nothing to sample from")]
    Empty,
    /// The memory cannot be cut there.
    #[error("the memory cannot be cut to {len} tokens")]
    Cut {
        /// Asked for.
        len: usize,
    },
    /// A state is not as it should be.
    #[error("the slot's memory is not as expected: {0}")]
    Layout(String),
    /// llama.cpp refused a state in the middle of a change, and the memory was emptied.
    #[error(
        "the slot's memory was given up: llama.cpp refused a state that it had given out itself"
    )]
    Lost,
    /// A state was refused before it was used.
    #[error(transparent)]
    State(#[from] StateError),
    /// llama.cpp's context.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// A decode call.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The sampler.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    /// The KV store.
    #[error(transparent)]
    Kv(#[from] kv::Error),
    /// The engine thread ended; the slot is of no use any more.
    #[error("the engine stopped: {0}")]
    Dead(String),
}
