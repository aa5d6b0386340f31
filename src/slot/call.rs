//! The calls that the slot takes, and what it answers.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;

use super::{Odds, SlotError};
use crate::ledger::{Digest, Finish, Mark, Token};
use crate::llama::{Grammar, Sampling};

/// The tokens that the slot is to hold before it samples. They are shared with the caller, so that a
/// call copies what is new and not the ledger.
#[derive(Clone, Debug)]
pub struct Target {
    pub(super) tokens: Arc<Vec<Token>>,
    pub(super) after: Option<Mark>,
    pub(super) parts: Vec<usize>,
}

impl Target {
    /// These tokens, which the slot compares with all that it holds.
    pub fn whole(tokens: impl Into<Arc<Vec<Token>>>) -> Target {
        Target {
            tokens: tokens.into(),
            after: None,
            parts: Vec::new(),
        }
    }

    /// Where the state cannot be cut, what is evaluated is read in parts that begin at these places, in tokens,
    /// ascending: each is an append of its own. A state is kept in RAM at each, so that a later call can go
    /// back to it.
    #[must_use]
    pub fn in_parts(mut self, parts: Vec<usize>) -> Target {
        self.parts = parts;
        self
    }

    /// These tokens, which begin with a prefix that the slot named at an earlier call
    /// ([`Outcome::mark`]). While the slot holds that prefix, only what follows it is compared;
    /// afterwards, all is.
    pub fn after(mark: Mark, tokens: impl Into<Arc<Vec<Token>>>) -> Target {
        Target {
            tokens: tokens.into(),
            after: Some(mark),
            parts: Vec::new(),
        }
    }
}

/// How reply tokens are chosen.
#[derive(Clone, Debug)]
pub enum TokenChoice {
    /// By the model.
    Sample {
        /// Settings; the seed is mixed with the position by the caller.
        sampling: Sampling,
        /// What the reply must follow.
        grammar: Option<Grammar>,
        /// The ledger's last tokens, for penalties.
        recent: Vec<Token>,
    },
    /// A prepared reply; every token is decoded as if it had been sampled.
    Script {
        /// The reply.
        tokens: Vec<Token>,
        /// How it ends when its tokens run out before an end-of-turn token.
        finish: Finish,
    },
}

/// What a watcher of sampled tokens says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Stop here; the token stays.
    Stop(Finish),
}

/// Sees each sampled token on the engine thread, before the next one is decoded. Must be quick.
pub type TokenWatch = Box<dyn FnMut(Token) -> Flow + Send>;

/// Sees each row of logits before a token is chosen from it; for verification.
pub type Observe = Box<dyn FnMut(&[f32]) + Send>;

/// How a call samples its reply.
pub struct ReplyOptions {
    /// How tokens are chosen.
    pub choice: TokenChoice,
    /// Most tokens to sample.
    pub max_tokens: usize,
    /// Sees each token; stop strings end a reply here.
    pub watch: TokenWatch,
    /// Sees each row of logits.
    pub observe: Option<Observe>,
    /// How likely each token was is an event before it, with so many of the likeliest tokens in its
    /// place; with nothing here it is not computed.
    pub odds: Option<usize>,
}

/// What a call is, in receipts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallKind {
    /// The conversation goes on.
    Turn,
    /// Side work on scratch.
    Fork,
    /// Work of the slot's own, between turns.
    Idle,
}

/// One model call on the conversation.
pub struct SlotCall {
    /// In receipts.
    pub kind: CallKind,
    /// Whose KV this is; an opaque id, for pins.
    pub owner: String,
    /// What the slot is to hold.
    pub target: Target,
    /// Length in tokens of the frozen head, a forced snapshot point; 0 for none.
    pub head: usize,
    /// How many of the head's first tokens sessions of other folders and days have too: a forced snapshot
    /// point, so that they start there; 0 for none.
    pub common: usize,
    /// How many of the target's first tokens the session had decoded before.
    pub decoded: usize,
    /// The end of what the slot holds is wanted so many positions nearer to the start. Where the memory can
    /// do that, it is moved there, and only what stands before it is evaluated; the state is approximate
    /// from there on ([`Outcome::approximate`]), and is not stored.
    pub moved: Option<usize>,
    /// What to sample; nothing only evaluates (a rewind, a warm-up).
    pub reply: Option<ReplyOptions>,
    /// More calls of the same turn may follow: a snapshot of this one's end stays in RAM until
    /// [`super::SlotHandle::settle`], or until the slot has rested for a second.
    pub step: bool,
    /// Set it to stop between decode calls.
    pub cancel: Arc<AtomicBool>,
    /// Progress and sampled tokens.
    pub events: UnboundedSender<SlotEvent>,
}

impl SlotCall {
    /// Where the beginning is a snapshot point: behind what is common, and behind the head.
    pub(super) fn heads(&self) -> [usize; 2] {
        [self.common.min(self.head), self.head]
    }
}

/// What side work continues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Base {
    /// Nothing: its tokens are all there is.
    Nothing,
    /// Nothing that it names: its tokens are all there is, and those that sequence 0 begins with are
    /// shared where the memory can be cut there. Refused with [`SlotError::TooLong`] when fewer than
    /// `room` cells would be left for the reply.
    Beside {
        /// Tokens.
        room: usize,
    },
    /// The conversation, which the slot must hold to exactly this mark.
    Main(Mark),
    /// Side work that was kept ([`Fork::keep`]), of which this mark is the end ([`Outcome::mark`]).
    Side(Mark),
}

/// Side work: tokens after the conversation, after other side work, or on their own; decoded on
/// scratch.
pub struct Fork {
    /// What it continues. Refused with [`SlotError::Moved`] when the slot holds something else.
    pub base: Base,
    /// Whether scratch keeps what it holds, so that more side work can continue it. It is dropped at
    /// the next call on the conversation, when side work is not kept or fails, and by
    /// [`super::SlotHandle::drop_side`].
    pub keep: bool,
    /// Whether the state after `tokens` is stored, as a beginning that other conversations may have. Only
    /// where the work begins at position 0 ([`Base::Beside`]).
    pub store: bool,
    /// What is evaluated first.
    pub tokens: Vec<Token>,
    /// What to sample.
    pub reply: ReplyOptions,
    /// Set it to stop between decode calls.
    pub cancel: Arc<AtomicBool>,
    /// Progress and sampled tokens.
    pub events: UnboundedSender<SlotEvent>,
}

/// What happens during a call.
#[derive(Clone, PartialEq, Debug)]
pub enum SlotEvent {
    /// Stored KV is being read and put back.
    Restoring {
        /// Tokens.
        tokens: usize,
    },
    /// Tokens evaluated, of those to be evaluated.
    Prefill {
        /// Evaluated.
        done: usize,
        /// In all.
        total: usize,
    },
    /// How likely the token was that is sampled next.
    Odds(Box<Odds>),
    /// A token of the reply.
    Sampled(Token),
}

/// Why tokens were evaluated that had been decoded before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The target differs from what is held.
    Differs {
        /// The token held there.
        had: Token,
        /// The target's.
        got: Token,
    },
    /// The memory could not be cut where it differs, and the nearest state is before it.
    NoState {
        /// Where the nearest state is, in tokens.
        nearest: usize,
        /// The token held where they differ.
        had: Token,
        /// The target's.
        got: Token,
    },
    /// KV of these tokens is stored, and the state that a model needs besides is not kept at every
    /// token.
    Between {
        /// Where the nearest stored state before them is, in tokens.
        nearest: usize,
    },
    /// All of it is held, but the logits to sample from are not: the last token is read again.
    Row,
    /// Nothing was found on disk, in words where it is known why.
    NotStored(Option<String>),
    /// Stored KV was refused.
    Refused(String),
    /// Decoding failed earlier and the memory was given up.
    Lost,
}

/// A miss: more was evaluated than was new.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Miss {
    /// The first token (its place in the ledger) that had to be evaluated again.
    pub at: usize,
    /// Why.
    pub cause: Cause,
}

/// Milliseconds of a call.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Times {
    /// Reading, proving and putting back stored KV.
    pub restore: f64,
    /// Evaluating what was new.
    pub prefill: f64,
    /// From the call's start to its first sampled token.
    pub first_token: f64,
    /// Decoding the reply.
    pub decode: f64,
    /// How long saving held the engine thread.
    pub save: f64,
}

/// What a call did. `kept + restored + evaluated` is the prompt when it was evaluated in whole.
#[derive(Debug)]
pub struct Outcome {
    /// In receipts.
    pub kind: CallKind,
    /// Tokens that were in the slot.
    pub kept: usize,
    /// Of these, tokens that were moved from other positions ([`SlotCall::moved`]).
    pub shifted: usize,
    /// The state has tokens that were moved from other positions, by this call or an earlier one.
    pub approximate: bool,
    /// Why nothing was moved although the call wanted it.
    pub unmoved: Option<String>,
    /// Tokens whose state was put back from disk.
    pub restored: usize,
    /// Tokens evaluated before the first one was sampled.
    pub evaluated: usize,
    /// Tokens of the target that this session had never decoded.
    pub appended: usize,
    /// The reply.
    pub tokens: Vec<Token>,
    /// 1 when the last sampled token was not decoded.
    pub pending: usize,
    /// Why it ended.
    pub finish: Finish,
    /// Set when more was evaluated than appended.
    pub miss: Option<Miss>,
    /// Bytes put back from disk.
    pub restored_bytes: u64,
    /// Bytes of segments handed to the writer.
    pub saved_bytes: u64,
    /// Bytes of snapshots handed to the writer, with their logits rows.
    pub snapshot_bytes: u64,
    /// Milliseconds.
    pub times: Times,
    /// What the slot holds now, to be continued with [`Target::after`] or [`Base::Main`]; of side
    /// work that is kept, what scratch holds, to be continued with [`Base::Side`].
    pub mark: Mark,
    /// What went wrong, if it did; the rest says how far it came.
    pub error: Option<SlotError>,
}

impl Outcome {
    /// Of a call that was stopped before the slot saw it.
    pub fn none(kind: CallKind) -> Outcome {
        Outcome {
            kind,
            kept: 0,
            shifted: 0,
            approximate: false,
            unmoved: None,
            restored: 0,
            evaluated: 0,
            appended: 0,
            tokens: Vec::new(),
            pending: 0,
            finish: Finish::Interrupted,
            miss: None,
            restored_bytes: 0,
            saved_bytes: 0,
            snapshot_bytes: 0,
            times: Times::default(),
            mark: Mark::new(0, Digest([0; 32])),
            error: None,
        }
    }

    /// Tokens that the slot holds after the call.
    pub fn context(&self) -> usize {
        self.kept + self.restored + self.evaluated + self.tokens.len() - self.pending
    }
}
