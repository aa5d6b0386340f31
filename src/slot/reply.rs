//! Sampling and decoding a reply, one token at a time. The last sampled token stays pending: it is
//! in the ledger, and decoded only when something follows it.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use super::call::{Flow, Observe, Outcome, ReplyOptions, SlotEvent, TokenChoice};
use super::engine::{SlotEngine, cancelled, ms};
use super::{Odds, SlotError};
use crate::ledger::{Finish, Token};
use crate::llama::{Sampler, Vocab};

/// Chooses tokens for a reply.
pub(super) enum Chooser {
    Sampler(Box<Sampler>),
    Script {
        tokens: std::vec::IntoIter<Token>,
        finish: Finish,
    },
}

impl Chooser {
    pub fn new(vocab: &Vocab, choice: TokenChoice) -> Result<Chooser, SlotError> {
        Ok(match choice {
            TokenChoice::Sample {
                sampling,
                grammar,
                recent,
            } => {
                let sampler = Sampler::new(vocab, &sampling, grammar.as_ref(), &recent)?;
                Chooser::Sampler(Box::new(sampler))
            }
            TokenChoice::Script { tokens, finish } => Chooser::Script {
                tokens: tokens.into_iter(),
                finish,
            },
        })
    }

    /// The next token, and how the reply ends after it if the chooser has no more; nothing at all
    /// from a script without tokens.
    pub fn next(&mut self, row: &[f32]) -> Result<NextToken, SlotError> {
        match self {
            Chooser::Sampler(sampler) => Ok(NextToken::Token(sampler.sample(row)?, None)),
            Chooser::Script { tokens, finish } => Ok(match tokens.next() {
                Some(token) => NextToken::Token(token, (tokens.len() == 0).then_some(*finish)),
                None => NextToken::End(*finish),
            }),
        }
    }
}

/// What a chooser says.
pub(super) enum NextToken {
    /// A token, and how the reply ends after it if nothing else ends it.
    Token(Token, Option<Finish>),
    /// Nothing to say.
    End(Finish),
}

/// What ends a reply, apart from errors; the same for the conversation and for forks.
pub(super) struct Ending {
    pub max_tokens: usize,
    pub watch: super::TokenWatch,
    pub observe: Option<Observe>,
    pub odds: Option<usize>,
}

impl Ending {
    /// Tells how likely the token was that was chosen from this row, where it is asked for.
    pub fn weigh(&self, row: &[f32], token: Token, events: &UnboundedSender<SlotEvent>) {
        if let Some(most) = self.odds {
            let _ = events.send(SlotEvent::Odds(Box::new(Odds::of(row, token, most))));
        }
    }

    /// How the reply ends with this token, if it does.
    pub fn after(&mut self, vocab: &Vocab, token: Token, sampled: usize) -> Option<Finish> {
        let watched = (self.watch)(token);
        if vocab.is_end(token) {
            return Some(Finish::Stop);
        }
        if let Flow::Stop(finish) = watched {
            return Some(finish);
        }
        (sampled >= self.max_tokens).then_some(Finish::Length)
    }
}

impl SlotEngine {
    /// Samples and decodes until something ends the reply; fills in the outcome.
    pub fn reply(
        &mut self,
        reply: ReplyOptions,
        cancel: &AtomicBool,
        events: &UnboundedSender<SlotEvent>,
        begun: Instant,
        outcome: &mut Outcome,
    ) {
        let start = Instant::now();
        match self.reply_tokens(reply, cancel, events, begun, outcome) {
            Ok(finish) => outcome.finish = finish,
            Err(error) => {
                outcome.finish = Finish::Interrupted;
                outcome.error = Some(error);
            }
        }
        outcome.times.decode = ms(start);
    }

    fn reply_tokens(
        &mut self,
        reply: ReplyOptions,
        cancel: &AtomicBool,
        events: &UnboundedSender<SlotEvent>,
        begun: Instant,
        outcome: &mut Outcome,
    ) -> Result<Finish, SlotError> {
        let model = self.model.clone();
        let mut chooser = Chooser::new(model.vocab(), reply.choice)?;
        let mut ending = Ending {
            max_tokens: reply.max_tokens,
            watch: reply.watch,
            observe: reply.observe,
            odds: reply.odds,
        };
        if ending.max_tokens == 0 {
            return Ok(Finish::Length);
        }
        // The prompt's last row stays held while nothing was sampled after it: the same prompt
        // again is free. Later rows are read where llama.cpp left them.
        let prompt = self.resident.row.take().ok_or(SlotError::Empty)?;
        loop {
            let first = outcome.tokens.is_empty();
            if first && cancelled(cancel) {
                self.resident.row = Some(prompt);
                return Ok(Finish::Interrupted);
            }
            let row = match first {
                true => &prompt[..],
                false => self.memory.ctx().logits().ok_or(SlotError::Empty)?,
            };
            if let Some(observe) = &mut ending.observe {
                observe(row);
            }
            let (token, last) = match chooser.next(row)? {
                NextToken::Token(token, last) => (token, last),
                NextToken::End(finish) => {
                    self.resident.row = first.then_some(prompt);
                    return Ok(finish);
                }
            };
            ending.weigh(row, token, events);
            if first {
                outcome.times.first_token = ms(begun);
            }
            outcome.tokens.push(token);
            outcome.pending = 1;
            let _ = events.send(SlotEvent::Sampled(token));
            if let Some(finish) = ending.after(model.vocab(), token, outcome.tokens.len()) {
                return Ok(finish);
            }
            if let Some(finish) = last {
                return Ok(finish);
            }
            // Only here, so that a reply that is cut leaves a pending token: a memory that cannot be
            // cut goes on from it.
            if cancelled(cancel) {
                return Ok(Finish::Interrupted);
            }
            if self.resident.len() >= self.limit {
                return Ok(Finish::Context);
            }
            self.decode(&[token], true)?;
            outcome.pending = 0;
        }
    }
}
