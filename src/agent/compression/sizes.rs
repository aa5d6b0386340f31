//! The numbers of tokens that a compression goes by. Pure.

use crate::agent::values::options::CompressOptions;

/// Why it is compressed now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::agent) enum CompressionCause {
    /// The user wants it.
    Asked,
    /// It is longer than it should be.
    Due,
    /// Nothing more fits: a summary without the model is better than none.
    Full,
}

/// Tokens that a compression goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::agent) struct Sizes {
    /// Length of a conversation at which it is due.
    pub due: usize,
    /// Of the first exchange.
    pub first: usize,
    /// Of the last turns.
    pub tail: usize,
    /// Of a summary.
    pub summary: usize,
}

impl Sizes {
    pub fn of(limit: usize, options: CompressOptions) -> Sizes {
        let usual = if limit < 16_384 { 85 } else { 75 };
        Sizes {
            due: limit * options.at.unwrap_or(usual) / 100,
            first: limit / 10,
            tail: options.tail.unwrap_or(limit / 5),
            summary: (limit / 10).clamp(64, 2048),
        }
    }
}

/// Whether a number of tokens is a fifth less than another.
pub(in crate::agent) fn much_less(to: usize, from: usize) -> bool {
    to * 5 <= from * 4
}
