//! How likely the tokens of an answer were.

use serde::{Deserialize, Serialize};

use crate::ledger::Token;
use crate::llama::Vocab;
use crate::slot::Odds;

/// A token and how likely it was.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Likely {
    /// The token.
    pub token: Token,
    /// What it is in a text; it may be a part of a character.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability, before temperature and cuts; nothing where that is 0.
    pub logprob: Option<f32>,
}

/// A token of an answer, and the most likely ones in its place.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Weighed {
    /// The token.
    #[serde(flatten)]
    pub chosen: Likely,
    /// The likeliest first; the token itself may be among them.
    pub top: Vec<Likely>,
}

impl Weighed {
    /// With what the tokens are in a text; control tokens have a text only where `special`.
    pub(in crate::agent) fn of(odds: &Odds, vocab: &Vocab, special: bool) -> Weighed {
        let likely = |token: Token, logprob: f32| Likely {
            token,
            bytes: vocab.piece(token, special),
            logprob: logprob.is_finite().then_some(logprob),
        };
        Weighed {
            chosen: likely(odds.token, odds.logprob),
            top: odds.top.iter().map(|(t, l)| likely(*t, *l)).collect(),
        }
    }
}
