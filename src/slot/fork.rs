//! Side work on scratch: sequence 0's tokens and next logits are bit-equal before and after (law 8).

use std::time::Instant;

use super::SlotError;
use super::call::{Event, Fork, Kind, Outcome};
use super::engine::{Engine, cancelled, ms};
use super::reply::{Chooser, Ending, Next};
use super::{Finish, Times};
use crate::llama::Seq;

impl Engine {
    /// Decodes side work on scratch and drops it.
    ///
    /// # Errors
    /// When it does not fit, or scratch cannot be made or dropped without harm to sequence 0.
    pub fn fork(&mut self, fork: Fork) -> Result<Outcome, SlotError> {
        let begun = Instant::now();
        let base = if fork.after_main {
            self.resident.len()
        } else {
            0
        };
        let room = self.memory.ctx().cells() - self.resident.len();
        if fork.tokens.len() > room {
            return Err(SlotError::TooLong {
                tokens: base + fork.tokens.len(),
                limit: base + room,
            });
        }
        if fork.tokens.is_empty() {
            return Err(SlotError::Empty);
        }
        self.canonical = None;
        match fork.after_main {
            true => self.memory.fork()?,
            false => {
                self.memory.relay(None)?;
            }
        }
        let mut outcome = Outcome {
            kind: Kind::Fork,
            kept: base,
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
            mark: (0, self.resident.digest(0)),
            error: None,
        };
        let end = base + room.min(fork.tokens.len() + fork.reply.max_tokens);
        let done = self.side(fork, base, end, begun, &mut outcome);
        // Whatever happened on scratch, sequence 0 comes back first.
        let back = self.memory.end_fork();
        let back = back.and_then(|()| self.memory.check(self.resident.len()));
        if let Err(error) = back {
            self.give_up();
            return Err(error);
        }
        match done {
            Ok(finish) => outcome.finish = finish,
            Err(error) => outcome.error = Some(error),
        }
        outcome.appended = outcome.evaluated;
        outcome.mark = self.resident.mark();
        Ok(outcome)
    }

    fn side(
        &mut self,
        fork: Fork,
        base: usize,
        end: usize,
        begun: Instant,
        outcome: &mut Outcome,
    ) -> Result<Finish, SlotError> {
        let model = self.model.clone();
        let vocab = model.vocab();
        let total = fork.tokens.len();
        let mut at = base;
        for batch in fork.tokens.chunks(self.ubatch) {
            if cancelled(&fork.cancel) {
                return Ok(Finish::Interrupted);
            }
            let last = at + batch.len() == base + total;
            self.memory.ctx().decode(Seq::Scratch, at, batch, last)?;
            at += batch.len();
            outcome.evaluated = at - base;
            let _ = fork.events.send(Event::Prefill {
                done: at - base,
                total,
            });
        }
        outcome.times.prefill = ms(begun);
        let decoding = Instant::now();
        let mut chooser = Chooser::new(vocab, fork.reply.choice)?;
        let mut ending = Ending {
            max_tokens: fork.reply.max_tokens,
            watch: fork.reply.watch,
            observe: fork.reply.observe,
        };
        if ending.max_tokens == 0 {
            return Ok(Finish::Length);
        }
        loop {
            if cancelled(&fork.cancel) {
                return Ok(Finish::Interrupted);
            }
            let row = self.memory.ctx().logits().ok_or(SlotError::Empty)?;
            if let Some(observe) = &mut ending.observe {
                observe(row);
            }
            let (token, last) = match chooser.next(row)? {
                Next::Token(token, last) => (token, last),
                Next::End(finish) => return Ok(finish),
            };
            if outcome.tokens.is_empty() {
                outcome.times.first_token = ms(begun);
            }
            outcome.tokens.push(token);
            outcome.pending = 1;
            let _ = fork.events.send(Event::Sampled(token));
            outcome.times.decode = ms(decoding);
            if let Some(finish) = ending.after(vocab, token, outcome.tokens.len()) {
                return Ok(finish);
            }
            if let Some(finish) = last {
                return Ok(finish);
            }
            if at >= end {
                return Ok(Finish::Context);
            }
            self.memory.ctx().decode(Seq::Scratch, at, &[token], true)?;
            outcome.pending = 0;
            at += 1;
        }
    }
}
