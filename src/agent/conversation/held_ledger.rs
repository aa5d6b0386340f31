//! The ledger in memory, with what is known of its beginning: how much of it this session decoded before,
//! and which prefixes of it the slot named. All three change together, and only here.

use std::ops::Deref;
use std::sync::Arc;

use crate::ledger::{Mark, Token, common_prefix};
use crate::session::StoredPath;

use super::decoded::Decoded;

/// The tokens of a conversation.
///
/// At any time each mark is a prefix of these tokens, and the decoded length is at most their number.
pub(in crate::agent) struct HeldLedger {
    /// Shared with the slot while it compares: a call copies nothing of it.
    tokens: Arc<Vec<Token>>,
    decoded: Decoded,
    /// Prefixes that the slot said it held after a call, in the order of the calls.
    marks: Vec<Mark>,
}

impl HeldLedger {
    /// Of a conversation that was just opened: nothing of it is known to be decoded or held.
    pub fn new(tokens: Vec<Token>) -> HeldLedger {
        HeldLedger {
            tokens: Arc::new(tokens),
            decoded: Decoded::default(),
            marks: Vec::new(),
        }
    }

    /// The tokens, to be shared with the slot.
    pub fn shared(&self) -> Arc<Vec<Token>> {
        self.tokens.clone()
    }

    /// Tokens at the beginning that this session decoded before.
    pub fn decoded(&self) -> usize {
        self.decoded.len()
    }

    /// The last prefix that the slot said it held.
    pub fn last_mark(&self) -> Option<Mark> {
        self.marks.last().copied()
    }

    /// `known` first tokens were decoded on the way that the ledger is on; `ways` were left and may turn
    /// out to be the same. Replaces what was counted before.
    pub fn count_decoded(&mut self, known: usize, ways: Vec<StoredPath>) {
        self.decoded = Decoded::of(known, ways, &self.tokens);
    }

    /// The first `len` tokens were decoded now; of a number greater than the ledger's length, all were.
    pub fn reached(&mut self, len: usize) {
        self.decoded.reached(len.min(self.tokens.len()));
    }

    /// The slot says that it holds this prefix. A mark that is longer than the ledger is not kept.
    pub fn slot_holds(&mut self, mark: Mark) {
        if mark.len() <= self.tokens.len() {
            self.marks.push(mark);
        }
    }

    /// The slot holds nothing behind the first `len` tokens any more.
    pub fn slot_lost(&mut self, len: usize) {
        self.marks.retain(|mark| mark.len() <= len);
    }

    /// The length that stays the same when the first `from` tokens are followed by `tokens`.
    pub fn stays(&self, from: usize, tokens: &[Token]) -> usize {
        from + common_prefix(&self.tokens[from.min(self.tokens.len())..], tokens)
    }

    /// The first `from` tokens are followed by `tokens` now. Gives in words why more of the new ledger was
    /// decoded than what stays, if it was. Costs O(what is new or gone).
    pub fn replace_tail(&mut self, from: usize, tokens: &[Token]) -> Option<&'static str> {
        let stays = self.stays(from, tokens);
        let gone = self.tokens[stays.min(self.tokens.len())..].to_vec();
        let ledger = Arc::make_mut(&mut self.tokens);
        ledger.truncate(from);
        ledger.extend_from_slice(tokens);
        self.slot_lost(stays);
        self.decoded.changed(stays, &gone, &self.tokens)
    }

    /// An input is withdrawn: the first `from` tokens are followed by `tail`, as before it came, and the
    /// first `decoded` of all were decoded.
    pub fn withdraw(&mut self, from: usize, tail: &[Token], decoded: usize) {
        let ledger = Arc::make_mut(&mut self.tokens);
        let withdrawn = ledger.split_off(from);
        ledger.extend_from_slice(tail);
        self.slot_lost(from);
        self.decoded.changed(from, &withdrawn, &self.tokens);
        self.reached(decoded);
    }

    /// The ledger grew. Gives in words why more of it was decoded than was known, if it was.
    pub fn grow(&mut self, tokens: &[Token]) -> Option<&'static str> {
        Arc::make_mut(&mut self.tokens).extend_from_slice(tokens);
        self.decoded.follow(&self.tokens)
    }

    /// The stored ledger was read again; gives the length that both begin with. What of it was decoded has
    /// to be counted anew ([`HeldLedger::count_decoded`]).
    pub fn read_again(&mut self, stored: Vec<Token>) -> usize {
        let same = common_prefix(&self.tokens, &stored);
        self.slot_lost(same);
        self.tokens = Arc::new(stored);
        same
    }
}

impl Deref for HeldLedger {
    type Target = [Token];

    fn deref(&self) -> &[Token] {
        &self.tokens
    }
}
