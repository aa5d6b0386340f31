//! A message that the model answers on a fork of the conversation. Sequence 0 is what it was afterwards,
//! whatever comes of it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::mpsc::unbounded_channel;

use crate::agent::conversation::handle::Conversation;
use crate::agent::engine::pass::{Rank, SlotPass};
use crate::agent::frozen::grammar::grammar;
use crate::agent::input::appended::Tokens;
use crate::agent::model_call::coming::Coming;
use crate::agent::model_call::watch::watch;
use crate::agent::values::error::AgentError;
use crate::agent::values::event::On;
use crate::agent::values::options::TurnOptions;
use crate::agent::values::refused::Refused;
use crate::chat::battery::RenderMode;
use crate::chat::script::ScriptLine;
use crate::chat::template::ReplyFormat;
use crate::chat::{Message, ReplyScript};
use crate::ledger::{Finish, Mark, Token};
use crate::llama::Sampling;
use crate::slot::{Base, Fork, Outcome, ReplyOptions, SlotError, TokenChoice};

/// What stands in the place of the result of a call that the instruction follows.
pub(in crate::agent) const RESULT_LATER: &str = "[npast: the result comes after the hand-over.]";

/// A message that is answered beside the conversation.
pub(in crate::agent) struct SideMessage<'a> {
    /// The name of the side job in scripts.
    pub job: &'static str,
    /// What is asked.
    pub message: &'a Message,
    /// How the reply is read.
    pub format: &'a ReplyFormat,
    /// Most tokens of the reply.
    pub most: usize,
    /// Whether the reply keeps to the format's grammar.
    pub grammar: bool,
}

/// What is done on the fork.
struct ForkWork<'a> {
    /// Of the ledger these first tokens stand before the instruction.
    from: usize,
    tokens: &'a [Token],
    line: Option<&'a ScriptLine>,
    format: &'a ReplyFormat,
    /// Most tokens of the reply.
    most: usize,
    grammar: bool,
    /// How the reply is sampled.
    options: &'a TurnOptions,
    /// Stops it.
    cancel: &'a Arc<AtomicBool>,
}

impl ForkWork<'_> {
    /// The texts that end the reply; a summary has none but the format's.
    fn stops(&self, shown: bool) -> &[String] {
        match shown {
            true => &self.options.stop,
            false => &[],
        }
    }
}

impl Conversation {
    /// Has the model answer a message on a fork of the conversation up to its last reply, and accounts
    /// for it. What is sampled goes to `coming`, which shows it as it comes.
    pub(in crate::agent) fn beside(
        &mut self,
        beside: &SideMessage<'_>,
        mut coming: Option<&mut Coming>,
        options: &TurnOptions,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Result<Outcome, Refused>, AgentError> {
        let Tokens { from, tokens, .. } = match self.instruction_tokens(beside.message) {
            Ok(tokens) => tokens,
            Err(why) => return Ok(Err(why)),
        };
        let line = script.and_then(|script| script.next_job(beside.job));
        let side = ForkWork {
            from,
            tokens: &tokens,
            line: line.as_ref(),
            format: beside.format,
            most: beside.most,
            grammar: beside.grammar,
            options,
            cancel,
        };
        let Some(pass) = self.pass(cancel, on) else {
            return Ok(Err(Refused::Interrupted));
        };
        // What the slot reported last that it holds. Another conversation may be resident now.
        let known = self.ledger.last_mark().filter(|mark| mark.len() <= from);
        let known = match known {
            Some(mark) => self.fork_at(&pass, mark, &side, coming.as_deref_mut(), on)?,
            None => Err(SlotError::Moved),
        };
        let answer = match known {
            // Idle work leaves what the slot holds as it is.
            Err(SlotError::Moved) if self.rank != Rank::Interactive => {
                return Ok(Err(Refused::Interrupted));
            }
            Err(SlotError::Moved) => match self.held_mark(&pass, from, cancel, on)? {
                Some(mark) => self.fork_at(&pass, mark, &side, coming, on)?,
                None => return Ok(Err(Refused::Interrupted)),
            },
            answer => answer,
        };
        drop(pass);
        let mut outcome = match answer {
            Ok(outcome) => outcome,
            Err(dead @ SlotError::Dead(_)) => return Err(dead.into()),
            Err(error) => return Ok(Err(Refused::Engine(error.to_string()))),
        };
        let error = outcome.error.take();
        if outcome.evaluated > 0 {
            self.account(&outcome, beside.job, on)?;
        }
        Ok(match error {
            Some(error) => Err(Refused::Engine(error.to_string())),
            None => Ok(outcome),
        })
    }

    /// The instruction behind the last reply, whose calls get stand-ins for their results.
    fn instruction_tokens(&mut self, instruction: &Message) -> Result<Tokens, Refused> {
        let failed = |error: AgentError| Refused::Template(error.to_string());
        if let RenderMode::Fallback { reason } = &self.shared.template.battery().mode {
            return Err(Refused::Template(reason.to_string()));
        }
        let Some((row, reply)) = self.last_reply() else {
            return Err(Refused::Nothing);
        };
        let row = row.clone();
        let mut new = Vec::new();
        if row.finish == Some(Finish::ToolCalls) {
            let later = |call: &crate::chat::message::ToolCall| {
                Message::tool_result(&call.id, &call.name, RESULT_LATER)
            };
            new.extend(reply.calls.iter().map(later));
        }
        new.push(instruction.clone());
        let kept = self.answered_end();
        self.tokens_behind(&row, &reply, &new, kept).map_err(failed)
    }

    /// Makes the slot hold the conversation up to its last reply; what it holds then. Nothing where the
    /// user interrupted it.
    fn held_mark(
        &mut self,
        pass: &SlotPass,
        from: usize,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Option<Mark>, AgentError> {
        // A reply's last token may take another form in the history.
        let len = from.min(self.answered_end().saturating_sub(1)).max(1);
        let outcome = self.evaluate_to(pass, len, "read", cancel, on)?;
        Ok((outcome.mark.len() == len).then_some(outcome.mark))
    }

    fn fork_at(
        &mut self,
        pass: &SlotPass,
        mark: Mark,
        side: &ForkWork<'_>,
        coming: Option<&mut Coming>,
        on: On<'_>,
    ) -> Result<Result<Outcome, SlotError>, AgentError> {
        let options = side.options;
        let vocab = self.shared.model.vocab().clone();
        let at = mark.len().min(side.from);
        let before = [&self.ledger[..side.from], side.tokens].concat();
        let choice = match side.line {
            Some(line) => {
                let (tokens, finish) = self.prepared_after(line, &before)?;
                TokenChoice::Script { tokens, finish }
            }
            None => TokenChoice::Sample {
                sampling: Sampling {
                    seed: self.seed_at(before.len()),
                    ..options.sampling.clone()
                },
                grammar: side.grammar.then(|| grammar(&vocab, side.format)).flatten(),
                recent: before[before.len().saturating_sub(options.sampling.penalty_window)..]
                    .to_vec(),
            },
        };
        let (events, mut inbox) = unbounded_channel();
        let answer = pass.slot().fork(Fork {
            base: Base::Main(mark),
            keep: false,
            store: false,
            tokens: before[at..].to_vec(),
            reply: ReplyOptions {
                choice,
                max_tokens: side.most,
                watch: watch(&vocab, side.format, side.stops(coming.is_some()), false)?,
                observe: None,
                odds: None,
            },
            cancel: side.cancel.clone(),
            events,
        })?;
        let Some(coming) = coming else {
            return Ok(answer.wait());
        };
        // Nothing of it is stored, so nothing of it waits for the store.
        while let Some(event) = inbox.blocking_recv() {
            if let crate::slot::SlotEvent::Sampled(token) = event {
                coming.push(&vocab, token);
                coming.take_unstored();
                coming.take_stored().into_iter().for_each(&mut *on);
            }
        }
        Ok(answer.wait())
    }
}
