//! Side work on scratch: sequence 0's tokens and next logits are bit-equal before and after (law 8).
//! Scratch may keep what it holds, so that an instruction, a tool result and more follow each other
//! without being evaluated twice. The conversation comes first: its next call drops what is kept.

use std::time::Instant;

use super::SlotError;
use super::call::{Base, CallKind, Fork, Outcome, SlotEvent};
use super::engine::{SlotEngine, cancelled, ms};
use super::memory::MemoryClass;
use super::reply::{Chooser, Ending, NextToken};
use super::side::ScratchWork;
use super::{Finish, Times};
use crate::ledger::{Token, common_prefix};
use crate::llama::Seq;

impl SlotEngine {
    /// Decodes side work on scratch, and drops it or keeps it.
    ///
    /// # Errors
    /// When it does not fit, continues what is not there, or scratch cannot be made or dropped
    /// without harm to sequence 0.
    pub fn fork(&mut self, mut fork: Fork) -> Result<Outcome, SlotError> {
        let begun = Instant::now();
        if fork.tokens.is_empty() {
            return Err(SlotError::Empty);
        }
        let shared = match fork.base {
            Base::Beside { .. } => self.shared_with(&fork.tokens),
            _ => 0,
        };
        let mut side = self.side_of(fork.base, shared)?;
        fork.tokens.drain(..shared);
        let start = side.len();
        let room = self.memory.ctx().cells() - self.resident.len() - side.own();
        let reply = match fork.base {
            Base::Beside { room } => room,
            _ => 0,
        };
        if fork.tokens.len() + reply > room {
            self.side = matches!(fork.base, Base::Side(_)).then_some(side);
            return Err(SlotError::TooLong {
                tokens: start + fork.tokens.len(),
                limit: start + room,
            });
        }
        self.canonical = None;
        match fork.base {
            Base::Nothing | Base::Beside { .. } => self.memory.fork_at(shared)?,
            Base::Main(mark) => self.memory.fork_at(mark.len())?,
            Base::Side(_) => {}
        }
        let mut outcome = Outcome {
            kind: CallKind::Fork,
            kept: start,
            shifted: 0,
            approximate: side.base > self.resident.exact(),
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
            mark: side.mark(),
            error: None,
        };
        let end = start + room.min(fork.tokens.len() + fork.reply.max_tokens);
        let (tokens, keep) = (fork.tokens.clone(), fork.keep);
        let store = fork.store && matches!(fork.base, Base::Beside { .. });
        let all = store.then(|| [&self.resident.tokens()[..shared], &tokens[..]].concat());
        let done = self.decode_side(fork, start, end, begun, &mut outcome);
        side.running.extend(&tokens[..outcome.evaluated]);
        side.running
            .extend(&outcome.tokens[..outcome.tokens.len() - outcome.pending]);
        outcome.mark = side.mark();
        self.side = Some(side);
        match done {
            Ok(finish) => outcome.finish = finish,
            Err(error) => outcome.error = Some(error),
        }
        if let Some(all) = all.filter(|all| outcome.mark.len() == all.len()) {
            let saving = Instant::now();
            match self.store_side(&all) {
                Ok((rows, state)) => (outcome.saved_bytes, outcome.snapshot_bytes) = (rows, state),
                Err(error) => outcome.error = Some(error),
            }
            outcome.times.save = ms(saving);
        }
        if !keep || outcome.error.is_some() {
            self.drop_side()?;
            outcome.mark = self.resident.mark();
        }
        outcome.appended = outcome.evaluated;
        Ok(outcome)
    }

    /// How many of these tokens scratch can share with sequence 0: at least one is evaluated, for its
    /// logits.
    fn shared_with(&self, tokens: &[Token]) -> usize {
        let held = self.resident.len();
        // What was moved here is this conversation's alone.
        let exact = &self.resident.tokens()[..self.resident.exact()];
        let common = common_prefix(exact, tokens).min(tokens.len() - 1);
        match self.memory.class() {
            MemoryClass::Dense => common,
            MemoryClass::Swa if common >= self.memory.floor() => common,
            MemoryClass::Hybrid | MemoryClass::Recurrent if common == held => common,
            MemoryClass::Swa
            | MemoryClass::Hybrid
            | MemoryClass::Recurrent
            | MemoryClass::Whole => 0,
        }
    }

    /// What side work is to continue, where it shares its first `shared` tokens with sequence 0; what
    /// was kept and is not continued is dropped.
    fn side_of(&mut self, base: Base, shared: usize) -> Result<ScratchWork, SlotError> {
        match base {
            Base::Side(mark) => {
                let side = self.side.take_if(|side| side.mark() == mark);
                return side.ok_or(SlotError::Moved);
            }
            Base::Main(mark) => {
                if mark != self.resident.mark() {
                    return Err(SlotError::Moved);
                }
            }
            Base::Nothing | Base::Beside { .. } => {}
        }
        self.drop_side()?;
        let base = match base {
            Base::Main(mark) => mark.len(),
            _ => shared,
        };
        Ok(ScratchWork {
            base,
            running: self.resident.running(base),
        })
    }

    /// Frees scratch, if side work was kept there. Sequence 0 comes back as it was.
    ///
    /// # Errors
    /// When it does not; then it is given up, and the next call evaluates.
    pub fn drop_side(&mut self) -> Result<(), SlotError> {
        if self.side.take().is_none() {
            return Ok(());
        }
        self.canonical = None;
        let back = self.memory.end_fork();
        let back = back.and_then(|()| self.memory.check(self.resident.len()));
        back.inspect_err(|_| self.give_up())
    }

    fn decode_side(
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
            let _ = fork.events.send(SlotEvent::Prefill {
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
            odds: fork.reply.odds,
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
                NextToken::Token(token, last) => (token, last),
                NextToken::End(finish) => return Ok(finish),
            };
            ending.weigh(row, token, &fork.events);
            if outcome.tokens.is_empty() {
                outcome.times.first_token = ms(begun);
            }
            outcome.tokens.push(token);
            outcome.pending = 1;
            let _ = fork.events.send(SlotEvent::Sampled(token));
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
