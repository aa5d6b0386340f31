//! The receipt of a call: what the slot reports, with the reason of a miss in words.

use crate::agent::conversation::handle::Conversation;
use crate::agent::conversation::next_receipt::Causes;
use crate::agent::values::receipt::{Milliseconds, MissNote, Receipt};
use crate::ledger::Finish;
use crate::slot::{CallKind, Cause, Outcome};

use super::reason;

impl Conversation {
    pub(in crate::agent) fn receipt(&mut self, outcome: &Outcome, finish: Finish) -> Receipt {
        let miss = self.miss(outcome);
        if outcome.kind != CallKind::Fork && outcome.context() > 0 {
            self.approximate = outcome.approximate;
        }
        Receipt {
            pruned: self.next_receipt.take_pruned(),
            ..receipt_of(outcome, self.calls, finish, miss)
        }
    }

    /// What was evaluated again and why; also a break made on purpose that cost nothing twice.
    fn miss(&mut self, outcome: &Outcome) -> Option<MissNote> {
        let Causes { broken, left } = self.next_receipt.take_causes();
        let (messages, head) = (&self.messages, self.row.head);
        match (&outcome.miss, broken) {
            // What was moved is not stored. It stands behind the head: a head that is read again was lost.
            (Some(miss), _)
                if self.approximate
                    && miss.at > head
                    && matches!(miss.cause, Cause::NotStored(_)) =>
            {
                Some(reason::was_moved(miss.at, messages, head))
            }
            (Some(miss), broken) => {
                let why = broken.as_ref().map(|(_, why)| why.as_str());
                let why = why.or(left.as_deref());
                let vocab = self.shared.model.vocab();
                Some(reason::note(miss, messages, head, vocab, why))
            }
            (None, Some((at, why))) => Some(reason::broken(at, &why, messages, head)),
            (None, None) => None,
        }
    }
}

/// The receipt of the call number `call` of a session or a process.
pub(in crate::agent) fn receipt_of(
    outcome: &Outcome,
    call: u64,
    finish: Finish,
    miss: Option<MissNote>,
) -> Receipt {
    let ms = |x: f64| x.max(0.0).round() as u64;
    let times = outcome.times;
    Receipt {
        kind: outcome.kind,
        job: None,
        call,
        context: outcome.context(),
        kept: outcome.kept,
        shifted: outcome.shifted,
        approximate: outcome.approximate,
        restored: outcome.restored,
        evaluated: outcome.evaluated,
        appended: outcome.appended,
        generated: outcome.tokens.len(),
        pending: outcome.pending,
        finish,
        miss,
        pruned: None,
        restored_bytes: outcome.restored_bytes,
        saved_bytes: outcome.saved_bytes,
        snapshot_bytes: outcome.snapshot_bytes,
        ms: Milliseconds {
            restore: ms(times.restore),
            prefill: ms(times.prefill),
            first_token: ms(times.first_token),
            decode: ms(times.decode),
            save: ms(times.save),
        },
    }
}
