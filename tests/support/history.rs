//! The plain model that a slot is held against: a list of tokens, and where the batches ended that
//! evaluated them. The same list can be evaluated again in another process with the same boundaries.

use npast::ledger::{Token, common_prefix};
use npast::slot::Outcome;

use crate::rig::{Rig, Rows};

/// One call's share of the list.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Piece {
    start: usize,
    /// [start, prompt) was evaluated in batches counted from `start`.
    prompt: usize,
    /// [prompt, end) was decoded token by token.
    end: usize,
}

/// What a conversation's slot holds.
#[derive(Clone, Default, Debug)]
pub struct History {
    pub list: Vec<Token>,
    pieces: Vec<Piece>,
    /// From here on a batch was cut in its middle: no fresh evaluation has these boundaries.
    uneven: Option<usize>,
}

impl History {
    /// Whether a fresh evaluation can have the same boundaries.
    pub fn is_even(&self) -> bool {
        self.uneven.is_none()
    }

    /// The longest prefix of at most `len` tokens that ends where a batch ended.
    pub fn boundary(&self, len: usize, ubatch: usize) -> usize {
        match self.pieces.iter().rfind(|p| p.start < len) {
            Some(p) if len < p.prompt => p.start + (len - p.start) / ubatch * ubatch,
            _ => len.min(self.list.len()),
        }
    }

    /// Forgets what the list's boundaries were.
    pub fn forget_boundaries(&mut self) {
        self.uneven = Some(0);
    }

    fn cut(&mut self, len: usize, ubatch: usize) {
        self.list.truncate(len);
        self.pieces.retain(|p| p.start < len);
        if self.uneven.is_some_and(|at| at >= len) {
            self.uneven = None;
        }
        if let Some(last) = self.pieces.last_mut() {
            let odd = (len - last.start) % ubatch;
            if len < last.prompt && odd != 0 {
                self.uneven = Some(self.uneven.unwrap_or(usize::MAX).min(len - odd));
            }
            last.prompt = last.prompt.min(len);
            last.end = last.end.min(len);
        }
    }

    /// Takes over what a call did, by its receipt.
    pub fn follow(&mut self, target: &[Token], outcome: &Outcome, ubatch: usize) {
        let start = outcome.kept + outcome.restored;
        let prompt = start + outcome.evaluated;
        assert!(
            start <= common_prefix(&self.list, target),
            "it took over tokens that were never evaluated: {outcome:?}"
        );
        self.cut(start, ubatch);
        self.list.extend_from_slice(&target[start..prompt]);
        let said = &outcome.tokens[..outcome.tokens.len() - outcome.pending];
        self.list.extend_from_slice(said);
        let end = self.list.len();
        if end > start {
            self.pieces.push(Piece { start, prompt, end });
        }
    }

    /// Takes the last call back, wherever it started.
    pub fn drop_last(&mut self) {
        if let Some(last) = self.pieces.pop() {
            self.list.truncate(last.start);
        }
    }

    /// Evaluates the list in `rig`, which holds nothing yet, with the same boundaries.
    pub fn replay(&self, rig: &mut Rig) {
        for p in &self.pieces {
            let prompt = &self.list[..p.prompt];
            let outcome = match p.end == p.prompt {
                true => rig.rewind(prompt),
                false => {
                    let reply = [&self.list[p.prompt..p.end], &[Token(0)]].concat();
                    rig.say(prompt, &reply).0
                }
            };
            assert_eq!(outcome.evaluated, p.prompt - p.start, "{p:?}: {outcome:?}");
        }
        assert_eq!(rig.held(), self.list);
    }
}

/// The largest difference between two calls' logits.
pub fn distance(a: &Rows, b: &Rows) -> f32 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    let float = |bits: &u32| f32::from_bits(*bits);
    pairs.fold(0.0, |far, (a, b)| {
        let apart = (float(a) - float(b)).abs();
        // `max` would swallow a NaN.
        if apart > far || apart.is_nan() {
            apart
        } else {
            far
        }
    })
}
