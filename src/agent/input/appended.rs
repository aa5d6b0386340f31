//! What an input became, and what it replaced: with this it can be withdrawn.

use crate::chat::template::After;
use crate::ledger::Token;
use crate::session::{MessageId, Span};

/// What an input became.
pub(in crate::agent) struct Appended {
    /// Messages that the reply answers.
    pub inputs: Vec<MessageId>,
    /// The ledger and the decoded length before, to go back to when the input is withdrawn.
    pub before: LedgerBefore,
    /// The user's text, handed back when it is withdrawn.
    pub text: Option<String>,
    /// What the reply comes after.
    pub after: After,
    /// Goes on with the last reply.
    pub continued: bool,
}

/// What a withdrawn input leaves: the ledger as it was.
pub(in crate::agent) struct LedgerBefore {
    /// The input changed the ledger from here on.
    pub from: usize,
    /// What stood there: an exchanged end of turn, or a history that was rendered again.
    pub tail: Vec<Token>,
    /// Messages whose tokens those are.
    pub spans: Vec<(MessageId, Span)>,
    /// Length of the ledger that was known to be decoded.
    pub decoded: usize,
    /// Whether its last token was not.
    pub pending: usize,
    pub messages: usize,
}

/// Tokens of new messages, and where they go.
pub(in crate::agent) struct Tokens {
    /// The place of the first of them in the ledger.
    pub from: usize,
    pub tokens: Vec<Token>,
    /// A prefix break that they are: the first token that differs, and why.
    pub broken: Option<(usize, String)>,
}

impl Tokens {
    pub fn at(from: usize, tokens: Vec<Token>) -> Tokens {
        Tokens {
            from,
            tokens,
            broken: None,
        }
    }
}
