//! The summary, written by the model on a fork of the live sequence. Sequence 0 is what it was
//! afterwards, whatever comes of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;

use super::super::append::Tokens;
use super::super::conversation::Conversation;
use super::super::reply::{Coming, watch};
use super::super::turn::On;
use super::super::{AgentError, Event, Pass, TurnOptions};
use super::note::RESULT_LATER;
use super::refused::Refused;
use crate::chat::battery::Mode;
use crate::chat::script::Line;
use crate::chat::template::{After, ReplyFormat};
use crate::chat::{Message, Script};
use crate::ledger::{Finish, Mark, Token};
use crate::llama::Sampling;
use crate::session::Usage;
use crate::slot::{Base, Call, Choice, Fork, Kind, Outcome, Reply, SlotError, Target};

/// The name of this side job in scripts.
const JOB: &str = "compress";

impl Conversation {
    /// Asks the model for a summary of all up to the last reply, of at most so many tokens.
    pub(super) fn ask(
        &mut self,
        instruction: &Message,
        most: usize,
        options: &TurnOptions,
        script: Option<&mut Script>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Result<String, Refused>, AgentError> {
        let Some(format) = self.format_unless(After::User, cancel)?.cloned() else {
            return Ok(Err(Refused::Interrupted));
        };
        let side = Beside {
            job: JOB,
            message: instruction,
            format: &format,
            most,
        };
        let outcome = self.beside(&side, None, options, script, cancel, on)?;
        match outcome {
            Ok(_) if cancel.load(Ordering::Relaxed) => Ok(Err(Refused::Interrupted)),
            Ok(outcome) => Ok(self.summary_in(&outcome, &format)),
            Err(why) => Ok(Err(why)),
        }
    }

    /// Has the model answer a message on a fork of the conversation up to its last reply, and accounts
    /// for it. What is sampled goes to `coming`, which shows it as it comes.
    pub(in super::super) fn beside(
        &mut self,
        beside: &Beside<'_>,
        mut coming: Option<&mut Coming>,
        options: &TurnOptions,
        script: Option<&mut Script>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Result<Outcome, Refused>, AgentError> {
        let Tokens { from, tokens, .. } = match self.instruction_tokens(beside.message) {
            Ok(tokens) => tokens,
            Err(why) => return Ok(Err(why)),
        };
        let line = script.and_then(|script| script.next_job(beside.job));
        let side = Side {
            from,
            tokens: &tokens,
            line: line.as_ref(),
            format: beside.format,
            most: beside.most,
            options,
            cancel,
        };
        let Some(pass) = self.pass(cancel, on) else {
            return Ok(Err(Refused::Interrupted));
        };
        // What the slot said last that it holds. Another conversation may have taken its place.
        let known = self.marks.last().copied().filter(|mark| mark.len() <= from);
        let known = match known {
            Some(mark) => self.fork_at(&pass, mark, &side, coming.as_deref_mut(), on)?,
            None => Err(SlotError::Moved),
        };
        let answer = match known {
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
            self.account(&outcome, on)?;
        }
        Ok(match error {
            Some(error) => Err(Refused::Engine(error.to_string())),
            None => Ok(outcome),
        })
    }

    /// The instruction behind the last reply, whose calls get stand-ins for their results.
    fn instruction_tokens(&mut self, instruction: &Message) -> Result<Tokens, Refused> {
        let failed = |error: AgentError| Refused::Template(error.to_string());
        if let Mode::Fallback { reason } = &self.shared.template.battery().mode {
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
        pass: &Pass,
        from: usize,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Option<Mark>, AgentError> {
        // A reply's last token may take another form in the history.
        let len = from.min(self.answered_end().saturating_sub(1)).max(1);
        let outcome = self.evaluate_to(pass, len, cancel, on)?;
        Ok((outcome.mark.len() == len).then_some(outcome.mark))
    }

    /// Makes the slot hold the ledger's first `len` tokens, and accounts for it.
    pub(super) fn evaluate_to(
        &mut self,
        pass: &Pass,
        len: usize,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Outcome, AgentError> {
        let (events, mut inbox) = unbounded_channel();
        let answer = pass.slot().call(Call {
            kind: Kind::Idle,
            owner: self.owner(),
            target: Target::whole(self.ledger[..len].to_vec()),
            head: self.row.head,
            decoded: self.decoded.len(),
            reply: None,
            step: false,
            cancel: cancel.clone(),
            events,
        })?;
        while let Some(event) = inbox.blocking_recv() {
            match event {
                crate::slot::Event::Restoring { tokens } => on(Event::Restoring { tokens }),
                crate::slot::Event::Prefill { done, total } => on(Event::Prefill { done, total }),
                crate::slot::Event::Sampled(_) | crate::slot::Event::Odds(_) => {}
            }
        }
        let mut outcome = answer.wait()?;
        if let Some(error) = outcome.error.take() {
            self.notices.push((
                format!("the conversation could not be read ahead: {error}"),
                Some("its next message reads it".to_owned()),
            ));
        }
        if outcome.mark.len() == len {
            outcome.finish = Finish::Stop;
        }
        self.marks.retain(|mark| mark.len() <= outcome.mark.len());
        if outcome.mark.len() <= self.ledger.len() {
            self.marks.push(outcome.mark);
        }
        self.decoded
            .reached(outcome.context().min(self.ledger.len()));
        if outcome.evaluated + outcome.restored > 0 {
            self.account(&outcome, on)?;
        }
        Ok(outcome)
    }

    fn fork_at(
        &mut self,
        pass: &Pass,
        mark: Mark,
        side: &Side<'_>,
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
                Choice::Script { tokens, finish }
            }
            None => Choice::Sample {
                sampling: Sampling {
                    seed: self.seed_at(before.len()),
                    ..options.sampling.clone()
                },
                grammar: None,
                recent: before[before.len().saturating_sub(options.sampling.penalty_window)..]
                    .to_vec(),
            },
        };
        let (events, mut inbox) = unbounded_channel();
        let answer = pass.slot().fork(Fork {
            base: Base::Main(mark),
            keep: false,
            tokens: before[at..].to_vec(),
            reply: Reply {
                choice,
                max_tokens: side.most,
                watch: watch(&vocab, side.format, side.stops(coming.is_some()))?,
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
            if let crate::slot::Event::Sampled(token) = event {
                coming.push(&vocab, token);
                coming.take_unstored();
                coming.take_stored().into_iter().for_each(&mut *on);
            }
        }
        Ok(answer.wait())
    }

    /// The receipt of a call that is no turn: stored and shown.
    fn account(&mut self, outcome: &Outcome, on: On<'_>) -> Result<(), AgentError> {
        self.calls += 1;
        // What was broken on purpose is named by the call that reads it.
        let kept = (outcome.kind == Kind::Fork).then(|| (self.broken.take(), self.left.take()));
        let receipt = self.receipt(outcome, outcome.finish);
        if let Some((broken, left)) = kept {
            (self.broken, self.left) = (broken, left);
        }
        let kind = match outcome.kind {
            Kind::Fork => "fork",
            _ => "idle",
        };
        let mut unit = self.db.begin(self.row.id)?;
        unit.set_decoded(self.decoded.len())?;
        unit.add_receipt(kind, Some(receipt.finish), &json!(receipt))?;
        unit.add_usage(&Usage {
            calls: 1,
            evaluated: outcome.evaluated as u64,
            restored: outcome.restored as u64,
            kept: outcome.kept as u64,
            generated: outcome.tokens.len() as u64,
        })?;
        unit.commit()?;
        on(Event::Receipt(Box::new(receipt)));
        Ok(())
    }

    /// The summary that a reply on the fork is, if it is one.
    fn summary_in(&mut self, outcome: &Outcome, format: &ReplyFormat) -> Result<String, Refused> {
        let vocab = self.shared.model.vocab();
        let ended = outcome.tokens.last().is_some_and(|t| vocab.is_end(*t));
        // Where the template begins the next message a reply is whole.
        let ended = ended || (outcome.finish == Finish::StopString && !format.ends.is_empty());
        let reply = self
            .read_reply(&outcome.tokens, After::User, !ended)
            .map_err(|e| Refused::Template(e.to_string()))?;
        if !reply.calls.is_empty() {
            return Err(Refused::Calls);
        }
        if !ended {
            return Err(Refused::Cut(outcome.finish));
        }
        let text = reply.text.trim();
        if text.is_empty() {
            return Err(Refused::Empty);
        }
        match repeats(text) {
            true => Err(Refused::Loop),
            false => Ok(text.to_owned()),
        }
    }
}

/// A message that is answered beside the conversation.
pub(in super::super) struct Beside<'a> {
    /// The name of the side job in scripts.
    pub job: &'static str,
    /// What is asked.
    pub message: &'a Message,
    /// How the reply is read.
    pub format: &'a ReplyFormat,
    /// Most tokens of the reply.
    pub most: usize,
}

/// What is done on the fork.
struct Side<'a> {
    /// Of the ledger these first tokens stand before the instruction.
    from: usize,
    tokens: &'a [Token],
    line: Option<&'a Line>,
    format: &'a ReplyFormat,
    /// Most tokens of the summary.
    most: usize,
    /// How the reply is sampled.
    options: &'a TurnOptions,
    /// Stops it.
    cancel: &'a Arc<AtomicBool>,
}

impl Side<'_> {
    /// The texts that end the reply; a summary has none but the format's.
    fn stops(&self, shown: bool) -> &[String] {
        match shown {
            true => &self.options.stop,
            false => &[],
        }
    }
}

/// Whether a text says the same again and again: of its rows of four words fewer than a third differ.
fn repeats(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    let rows = words.windows(4);
    let all = rows.len();
    let different: HashSet<&[&str]> = rows.collect();
    all >= 24 && different.len() * 3 < all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_goes_round_in_a_circle_is_told_from_one_that_repeats_its_headings() {
        assert!(repeats(&"and then the parser ".repeat(20)));
        assert!(repeats(&format!("Goal: a parser. {}", "no no ".repeat(40))));
        let whole = "Goal\nnone\nDone\nnone\nDecisions\nnone\nErrors and fixes\nnone\nOpen questions\n\
                     none\nFiles that matter\nnone\nNext step\nwrite the parser of the second part";
        assert!(!repeats(whole));
        assert!(!repeats("no no no no no no"));
        assert!(!repeats(""));
    }
}
