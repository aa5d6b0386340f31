//! Token ids, as a type of their own so that a position or a count is never passed as one.

use serde::{Deserialize, Serialize};

/// One token id of a vocabulary.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
#[repr(transparent)]
pub struct Token(pub i32);

impl Token {
    /// The little-endian bytes of `tokens`, four each: the form that is hashed and stored.
    pub fn to_bytes(tokens: &[Token]) -> Vec<u8> {
        tokens.iter().flat_map(|t| t.0.to_le_bytes()).collect()
    }

    /// The inverse of [`Token::to_bytes`]; `None` when the length is not a multiple of four.
    pub fn from_bytes(bytes: &[u8]) -> Option<Vec<Token>> {
        let (words, rest) = bytes.as_chunks::<4>();
        rest.is_empty().then(|| {
            words
                .iter()
                .map(|w| Token(i32::from_le_bytes(*w)))
                .collect()
        })
    }
}

/// Length in tokens of the longest common prefix.
pub fn common_prefix(a: &[Token], b: &[Token]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}
