//! How much of the ledger this session decoded before: the one count that receipts, misses and the slot
//! use. A session has decoded a prefix when it did so on the path of the ledger, or on a path that it left:
//! a branch that undo, retry, edit or redo took off, or a message that was withdrawn.

use crate::ledger::{Token, common_prefix};
use crate::session::{self, Why};

/// The longest prefix of the ledger that this session decoded, and the ways by which it may turn out
/// to be longer when the ledger goes on.
#[derive(Default)]
pub(in crate::agent) struct Decoded {
    len: usize,
    ways: Vec<DecodedPath>,
}

struct DecodedPath {
    at: usize,
    tokens: Vec<Token>,
    /// So many of its tokens are the ledger's.
    same: usize,
    why: Option<Why>,
}

impl Decoded {
    /// Of a ledger of which `known` first tokens were decoded on its own way.
    pub fn of(known: usize, ways: Vec<session::StoredPath>, ledger: &[Token]) -> Decoded {
        let mut decoded = Decoded {
            len: known.min(ledger.len()),
            ways: ways
                .into_iter()
                .map(|way| DecodedPath {
                    at: way.at,
                    tokens: way.tokens,
                    same: 0,
                    why: way.why,
                })
                .collect(),
        };
        decoded.follow(ledger);
        decoded
    }

    /// In tokens.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The ledger was changed: of the one before, the first `stays` tokens are there still, and `gone`
    /// followed them. Gives in words why more of the new one was decoded than that, if it was. Costs
    /// O(what is new or gone) for each way.
    pub fn changed(
        &mut self,
        stays: usize,
        gone: &[Token],
        ledger: &[Token],
    ) -> Option<&'static str> {
        for way in &mut self.ways {
            if let Some(before) = way.at.checked_sub(stays).filter(|n| *n > 0) {
                way.tokens.splice(0..0, gone.iter().take(before).copied());
                way.at = stays;
            }
            way.same = way.same.min(stays - way.at);
        }
        if let Some(decoded) = self.len.checked_sub(stays).filter(|n| *n > 0) {
            self.ways.push(DecodedPath {
                at: stays,
                tokens: gone.iter().take(decoded).copied().collect(),
                same: 0,
                why: None,
            });
            self.len = stays;
        }
        self.follow(ledger)
    }

    /// So many first tokens were decoded now.
    pub fn reached(&mut self, len: usize) {
        self.len = self.len.max(len);
    }

    /// The ledger grew: follows each way as far as the ledger does. Gives in words why more of the
    /// ledger was decoded than was known, if it was. Costs O(new tokens) for each way.
    pub fn follow(&mut self, ledger: &[Token]) -> Option<&'static str> {
        let mut words = None;
        for way in &mut self.ways {
            let Some(here) = ledger.get(way.at + way.same..) else {
                continue;
            };
            way.same += common_prefix(here, &way.tokens[way.same..]);
            let end = way.at + way.same;
            if end > self.len {
                self.len = end;
                words = Some(match way.why {
                    Some(Why::Undo) => "what stood here was taken back by undo",
                    Some(Why::Retry) => "another reply stood here before retry",
                    Some(Why::Edit) => "what stood here was replaced by edit",
                    Some(Why::Redo) => "another branch was put back here by redo",
                    Some(Why::History) => "the client sent another history here before",
                    None => "a message that stood here was withdrawn",
                });
            }
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn t(ids: &[i32]) -> Vec<Token> {
        ids.iter().map(|id| Token(*id)).collect()
    }

    #[test]
    fn a_message_that_was_taken_back_is_not_new_when_it_comes_again() {
        let way = session::StoredPath {
            at: 2,
            tokens: t(&[3, 4, 5]),
            why: Some(Why::Undo),
        };
        let mut decoded = Decoded::of(1, vec![way], &t(&[1, 2]));
        // All before the branch was decoded, or nothing of the branch would have been.
        assert_eq!(decoded.len(), 2);
        let words = decoded.changed(2, &[], &t(&[1, 2, 3, 4, 9]));
        assert_eq!(decoded.len(), 4);
        assert_eq!(words, Some("what stood here was taken back by undo"));
        let again = t(&[1, 2, 3, 4, 5, 6]);
        assert_eq!(decoded.changed(4, &t(&[9]), &again), words);
        assert_eq!(decoded.len(), 5);
        assert_eq!(decoded.changed(1, &again[1..], &t(&[1, 7])), None);
        assert_eq!(decoded.len(), 1);
        decoded.changed(1, &t(&[7]), &again);
        assert_eq!(decoded.len(), 5);
    }

    proptest! {
        #[test]
        fn it_is_the_longest_prefix_of_all_that_was_ever_decoded(
            steps in proptest::collection::vec((0usize..8, proptest::collection::vec(0i32..2, 0..6), 0usize..8), 1..20)
        ) {
            // What was decoded: whole prefixes.
            let mut all: Vec<Vec<Token>> = Vec::new();
            let mut ledger: Vec<Token> = Vec::new();
            let mut decoded = Decoded::default();
            for (keep, new, reach) in steps {
                // A ledger that only grows is followed, one that is cut was changed.
                let gone = ledger.split_off(keep.min(ledger.len()));
                let stays = ledger.len();
                ledger.extend(t(&new));
                match gone.is_empty() {
                    true => decoded.follow(&ledger),
                    false => decoded.changed(stays, &gone, &ledger),
                };
                let longest = all.iter().map(|way| common_prefix(way, &ledger)).max();
                prop_assert_eq!(decoded.len(), longest.unwrap_or(0));
                let reach = reach.min(ledger.len());
                decoded.reached(reach);
                all.push(ledger[..reach].to_vec());
            }
        }
    }
}
