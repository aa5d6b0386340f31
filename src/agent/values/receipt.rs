//! What one model call cost, in the form of the command line's contract: fields may be added,
//! never renamed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::kv::Merged;
use crate::ledger::Finish;
use crate::session::ReceiptSums;
use crate::slot::{CallKind, IdleWork};

use super::outcome::{Pruned, TurnStop};

/// Whole milliseconds of one call.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Milliseconds {
    /// Reading, proving and putting back stored KV.
    pub restore: u64,
    /// Evaluating what was new.
    pub prefill: u64,
    /// From the call's start to its first sampled token.
    pub first_token: u64,
    /// Decoding the reply.
    pub decode: u64,
    /// How long saving held the engine thread.
    pub save: u64,
}

/// Why tokens were evaluated again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MissNote {
    /// The first such token's place in the ledger.
    pub at: usize,
    /// The message it belongs to, counted from 0; nothing when it is outside all of them.
    pub message: Option<usize>,
    /// One sentence.
    pub reason: String,
}

/// What one model call cost. `kept + restored + evaluated` is the prompt, and `context = prompt +
/// generated - pending` is what the slot holds afterwards. All counts are tokens.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// Turn, fork or idle.
    pub kind: CallKind,
    /// The name of side work or idle work; nothing for a turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The session's calls, counted from 1; 0 for work that the slot and the store do by themselves.
    pub call: u64,
    /// Held by the slot after the call.
    pub context: usize,
    /// Were in the slot.
    pub kept: usize,
    /// Of these, moved from other positions (`--shift`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shifted: usize,
    /// The slot's state has tokens that were moved from other positions, by this call or an earlier one: what
    /// stood before them there is still in them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approximate: bool,
    /// Put back from disk.
    pub restored: usize,
    /// Evaluated before the first sampled token.
    pub evaluated: usize,
    /// Never decoded by this session before.
    pub appended: usize,
    /// Sampled, the end-of-turn token included.
    pub generated: usize,
    /// 1 when the last sampled token waits for the next call to be decoded.
    pub pending: usize,
    /// Why the reply ended.
    pub finish: Finish,
    /// Set when more was evaluated than appended.
    pub miss: Option<MissNote>,
    /// Long results that became lines before this was read, and what that saves and costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<Pruned>,
    /// Bytes of KV put back.
    pub restored_bytes: u64,
    /// Bytes of KV by position handed to the writer.
    pub saved_bytes: u64,
    /// Bytes of snapshots handed to the writer.
    pub snapshot_bytes: u64,
    /// Milliseconds.
    pub ms: Milliseconds,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Receipt {
    /// Of work that the slot did when nobody used it. What it evaluated was on scratch.
    pub fn of_idle(work: &IdleWork) -> Receipt {
        let ms = work.ms.max(0.0).round() as u64;
        Receipt {
            context: work.held + work.evaluated,
            kept: work.held,
            evaluated: work.evaluated,
            appended: work.evaluated,
            saved_bytes: work.saved_bytes,
            snapshot_bytes: work.snapshot_bytes,
            ms: match work.evaluated {
                0 => Milliseconds {
                    save: ms,
                    ..Milliseconds::default()
                },
                _ => Milliseconds {
                    prefill: ms,
                    ..Milliseconds::default()
                },
            },
            ..Receipt::of_job(work.job)
        }
    }

    /// Of one merge of stored KV, which took so long. No token is evaluated for it.
    pub fn of_merge(merged: &Merged, took: Duration) -> Receipt {
        Receipt {
            saved_bytes: merged.bytes,
            ms: Milliseconds {
                save: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                ..Milliseconds::default()
            },
            ..Receipt::of_job("merge")
        }
    }

    fn of_job(job: &str) -> Receipt {
        Receipt {
            kind: CallKind::Idle,
            job: Some(job.to_owned()),
            call: 0,
            context: 0,
            kept: 0,
            shifted: 0,
            approximate: false,
            restored: 0,
            evaluated: 0,
            appended: 0,
            generated: 0,
            pending: 0,
            finish: Finish::Stop,
            miss: None,
            pruned: None,
            restored_bytes: 0,
            saved_bytes: 0,
            snapshot_bytes: 0,
            ms: Milliseconds::default(),
        }
    }

    /// What it adds to its session's sums.
    pub(in crate::agent) fn sums(&self) -> ReceiptSums {
        ReceiptSums {
            calls: u64::from(self.call > 0),
            evaluated: self.evaluated as u64,
            restored: self.restored as u64,
            kept: self.kept as u64,
            generated: self.generated as u64,
        }
    }

    /// Tokens that the reply was sampled after.
    pub fn prompt(&self) -> usize {
        self.kept + self.restored + self.evaluated
    }
}

/// The sums of a turn's receipts.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TurnSum {
    /// Model calls.
    pub calls: u64,
    /// After the last call.
    pub context: usize,
    /// Sum over the calls (here and below).
    pub kept: usize,
    /// Put back from disk.
    pub restored: usize,
    /// Evaluated.
    pub evaluated: usize,
    /// New.
    pub appended: usize,
    /// Sampled.
    pub generated: usize,
    /// Why the last reply ended.
    pub finish: Finish,
    /// The state of the slot was approximate after a call ([`Receipt::approximate`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approximate: bool,
    /// Why npast ended the turn, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<TurnStop>,
    /// Wall-clock seconds, without those in which a person was asked.
    pub seconds: f64,
}
