//! One call on the conversation, from its target to its outcome.

use std::time::Instant;

use super::call::{Outcome, SlotCall, Target};
use super::engine::{SlotEngine, ms};
use super::evaluate::Boundaries;
use super::saved::{Ended, Saved};
use super::shift::MovedEnd;
use super::{SlotError, Times};
use crate::ledger::{Digest, Finish, Mark};

impl SlotEngine {
    /// Holds the call's target, samples, and stores what is new.
    ///
    /// # Errors
    /// When the target cannot be held at all; nothing is evaluated then. A later failure is in the outcome.
    pub fn call(&mut self, call: SlotCall) -> Result<Outcome, SlotError> {
        let begun = Instant::now();
        self.drop_side()?;
        self.unsampled = false;
        // This call may belong to another conversation: what the last turn left in RAM alone is stored first.
        if self
            .unsettled
            .as_ref()
            .is_some_and(|u| u.owner != call.owner)
        {
            self.settle();
        }
        let mut saved = Saved::default();
        self.store_again(&mut saved);
        let moved = match call.moved {
            Some(by) => self.move_end(&call, by, &mut saved),
            None => {
                self.leave_moved(&call.owner, &call.target);
                MovedEnd::default()
            }
        };
        let goal = self.resolve(&call.target);
        let heads = call.heads();
        // The caller may change its ledger while the reply is sampled, without a copy.
        let Target { parts, .. } = call.target;
        let len = goal.len();
        if len > self.limit {
            return Err(SlotError::TooLong {
                tokens: len,
                limit: self.limit,
            });
        }
        if len == 0 && call.reply.is_some() {
            return Err(SlotError::Empty);
        }
        let same_owner = self.resident.owner == call.owner && call.moved.is_none();
        let decoded = match same_owner {
            true => call.decoded.max(goal.common),
            false => call.decoded,
        }
        .min(len);

        let sample = call.reply.is_some();
        let started = self.prepare(&goal, &call.owner, decoded, sample, &call.events);
        self.resident.owner = call.owner.clone();
        let mut times = Times {
            restore: started.ms,
            ..Times::default()
        };

        let lost = std::mem::take(&mut self.resident.lost);
        let tokens = &started.rest;
        let (prefill, before) = (Instant::now(), saved.ms);
        let evaluated = match started.aside {
            false => {
                let parts = &parts;
                let boundaries = Boundaries { heads, parts };
                self.evaluate(tokens, boundaries, &call.cancel, &call.events, &mut saved)
            }
            true => self.evaluate_aside(&call.events),
        };
        times.prefill = moved.ms + ms(prefill) - (saved.ms - before);

        // A prefill that was cut short counts only what it reached.
        let reached = started.start + evaluated.tokens;
        let known = decoded.min(reached);
        let mut outcome = Outcome {
            kind: call.kind,
            kept: started.kept - moved.evaluated.min(started.kept),
            // A restore that failed may have emptied the slot since.
            shifted: match self.resident.is_approximate() {
                true => moved.tokens,
                false => 0,
            },
            approximate: false,
            unmoved: moved.refused,
            restored: started.start - started.kept,
            evaluated: evaluated.tokens + moved.evaluated.min(started.kept),
            appended: reached - known,
            tokens: Vec::new(),
            pending: 0,
            finish: Finish::Interrupted,
            miss: (started.start < known).then(|| started.miss(&goal, lost)),
            restored_bytes: started.bytes,
            saved_bytes: 0,
            snapshot_bytes: 0,
            times,
            mark: Mark::new(0, Digest([0; 32])),
            error: evaluated.error,
        };
        let complete = outcome.error.is_none() && reached == len;
        // A prompt that was held already is sampled from in the layout a restart would give it.
        if complete && sample {
            if tokens.is_empty() {
                outcome.error = self.begin_append().err();
            }
            if evaluated.tokens > 0 && outcome.error.is_none() {
                self.hold_prompt(&mut saved);
            }
            if self.resident.len() < len && outcome.error.is_none() {
                outcome.error = Some(SlotError::Lost);
            }
        }
        if complete
            && outcome.error.is_none()
            && let Some(reply) = call.reply
        {
            self.reply(reply, &call.cancel, &call.events, begun, &mut outcome);
        }
        let whole = complete && (!sample || !outcome.tokens.is_empty());
        let prompt = whole && !outcome.tokens.is_empty();
        let ended = Ended {
            owner: &call.owner,
            whole,
            step: call.step,
            prompt: prompt.then_some(reached),
        };
        self.save_turn(&ended, &mut saved);
        outcome.times.save = saved.ms;
        outcome.saved_bytes = saved.bytes;
        outcome.snapshot_bytes = saved.snapshot_bytes + std::mem::take(&mut self.settled);
        outcome.mark = self.resident.mark();
        outcome.approximate = self.resident.is_approximate();
        Ok(outcome)
    }
}
