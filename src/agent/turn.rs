//! One turn: input, model call, reply, receipt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::append::Appended;
use super::conversation::Conversation;
use super::engine::Notice;
use super::error::ErrorKind;
use super::frame::Frozen;
use super::reason;
use super::receipt::{Milliseconds, MissNote, Receipt, TurnSum};
use super::reply::{Coming, grammar, watch};
use super::{AgentError, Event, Input, TurnOptions};
use crate::chat::script::{Line, ScriptError};
use crate::chat::template::ReplyFormat;
use crate::chat::{Message, Script};
use crate::ledger::{Finish, Token};
use crate::llama::{Grammar, Sampling, Vocab};
use crate::session::{self, MessageId, Usage, now_ms};
use crate::slot::{Choice, Outcome, Reply};

/// How a turn ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TurnEnd {
    /// Of the last reply.
    pub finish: Finish,
    /// Ctrl-C came before the first token: the user's text, handed back.
    pub withdrawn: Option<String>,
    /// npast ended the turn, and not the model or the user.
    pub stopped: Option<Stopped>,
}

/// Why npast ended a turn in which the model went on calling tools.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// The budget of steps is used up.
    Steps,
    /// The budget of tokens is used up.
    Tokens,
    /// The same call gave the same result again and again.
    Loop,
    /// One call after another named no tool or had wrong arguments.
    Chances,
}

/// How a script is written.
const LINES: &str = "one JSON object a line: {\"text\": …} or {\"content\": …}, one line a call";

pub(super) type On<'a> = &'a mut dyn FnMut(Event);

/// The sums of a turn while it runs.
pub(super) struct Sum {
    begun: Instant,
    pub so_far: Option<TurnSum>,
}

impl Sum {
    pub fn begin() -> Sum {
        Sum {
            begun: Instant::now(),
            so_far: None,
        }
    }

    pub fn add(&mut self, receipt: &Receipt) {
        let before = self.so_far.as_ref();
        let sum = |of: fn(&TurnSum) -> usize, more| before.map_or(0, of) + more;
        self.so_far = Some(TurnSum {
            calls: before.map_or(0, |s| s.calls) + 1,
            context: receipt.context,
            kept: sum(|s| s.kept, receipt.kept),
            restored: sum(|s| s.restored, receipt.restored),
            evaluated: sum(|s| s.evaluated, receipt.evaluated),
            appended: sum(|s| s.appended, receipt.appended),
            generated: sum(|s| s.generated, receipt.generated),
            finish: receipt.finish,
            stopped: None,
            seconds: 0.0,
        });
    }

    /// Tokens sampled so far.
    pub fn generated(&self) -> usize {
        self.so_far.as_ref().map_or(0, |s| s.generated)
    }

    /// The `turn` event; a turn without a call has none.
    pub fn show(self, stopped: Option<Stopped>, on: On<'_>) {
        if let Some(sum) = self.so_far {
            on(Event::Turn(TurnSum {
                stopped,
                seconds: self.begun.elapsed().as_secs_f64(),
                ..sum
            }));
        }
    }
}

impl Conversation {
    /// Runs a turn of one model call on this thread. `cancel` stops it between decode calls; what
    /// was decoded stays. Calls in the reply are shown and nobody runs them: see
    /// [`Conversation::work`].
    ///
    /// # Errors
    /// When the input is not usable (nothing was stored then) or decoding fails (the message stays
    /// open, to be answered later).
    pub fn turn(
        &mut self,
        input: Input,
        options: &TurnOptions,
        script: Option<&mut Script>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<TurnEnd, AgentError> {
        self.work(input, options, None, script, cancel, on)
    }

    /// The model call for an input that is stored: reply, receipt.
    pub(super) fn answer(
        &mut self,
        appended: &Appended,
        options: &TurnOptions,
        script: Option<&mut Script>,
        cancel: &Arc<AtomicBool>,
        sum: &mut Sum,
        on: On<'_>,
    ) -> Result<TurnEnd, AgentError> {
        self.say(on);
        let prepared = script.map(|s| self.prepared(s)).transpose()?;
        let format = match options.wish.is_none() {
            true => self.format_unless(appended.after, cancel)?.cloned(),
            false => self.wished(appended.after, &options.wish, cancel)?,
        };
        // Nothing will be sampled.
        let format = format.unwrap_or_else(ReplyFormat::plain);
        let vocab = self.shared.model.vocab().clone();

        let mut coming = Coming::new(
            &format,
            self.row.runs_tools,
            &options.stop,
            self.ledger.len(),
        )?;
        let mut begun = Vec::new();
        if appended.continued
            && let Some(last) = self.messages.last()
        {
            let span = last.span.unwrap_or(session::Span { start: 0, end: 0 });
            coming.id = Some(last.id);
            coming.start = span.start;
            begun = self.ledger[span.start..span.end].to_vec();
            coming.replay(&vocab.bytes(&begun, true));
        }
        let choice = match prepared {
            Some((tokens, finish)) => Choice::Script { tokens, finish },
            None => Choice::Sample {
                sampling: Sampling {
                    seed: self.seed_at(self.ledger.len()),
                    ..options.sampling.clone()
                },
                grammar: grammar(&vocab, &format).map(|grammar| Grammar { begun, ..grammar }),
                recent: self.recent(options.sampling.penalty_window),
            },
        };
        let reply = Reply {
            choice,
            max_tokens: options.max_tokens.unwrap_or(usize::MAX),
            watch: watch(&vocab, &format, &options.stop)?,
            observe: None,
            odds: options.odds,
        };
        let prompt = self.ledger.len();
        let called = self.call(reply, cancel, &mut coming, appended, on)?;
        let stopped = cancel.load(Ordering::Relaxed);
        self.end_call(called, coming, appended, prompt, stopped, sum, on)
    }

    /// Stores the reply and its receipt, and shows both. The receipt is shown whatever the disk did,
    /// of the reply what is stored.
    #[allow(clippy::too_many_arguments)]
    fn end_call(
        &mut self,
        (mut outcome, mut stored): (Outcome, Result<(), AgentError>),
        mut coming: Coming,
        appended: &Appended,
        prompt: usize,
        stopped: bool,
        sum: &mut Sum,
        on: On<'_>,
    ) -> Result<TurnEnd, AgentError> {
        let error = outcome.error.take();
        let said = !outcome.tokens.is_empty();
        self.calls += 1;
        if stored.is_ok() && said {
            stored = self.record(&mut coming, &appended.inputs, on);
        }
        // What the slot holds can be continued as long as the ledger begins with it.
        let whole = prompt + outcome.tokens.len();
        if stored.is_ok() && (1..=whole).contains(&outcome.mark.len()) {
            self.marks.push(outcome.mark);
        }
        let reached = outcome.context().min(self.ledger.len());
        self.decoded.reached(reached);

        let mut finish = outcome.finish;
        let mut message = None;
        if said {
            let (id, seed) = (coming.id, self.seed_at(coming.start));
            finish = coming.why(finish);
            let (events, reply) = coming.finish(finish, seed);
            if finish == Finish::Stop && !reply.calls.is_empty() {
                finish = Finish::ToolCalls;
            }
            if stored.is_ok() {
                events.into_iter().for_each(&mut *on);
                for call in &reply.calls {
                    on(Event::ToolCall {
                        id: call.id.clone(),
                        name: call.name.clone(),
                        arguments: json!(call.arguments),
                    });
                }
            }
            self.notices.extend(only_thinking(&reply, finish));
            message = id.map(|id| (id, reply.to_json()));
        }
        // A turn goes on after calls that npast runs.
        if self.row.runs_tools && finish != Finish::ToolCalls {
            self.settle();
        }
        outcome.snapshot_bytes += std::mem::take(&mut self.settled);
        let receipt = self.receipt(&outcome, finish);
        let mut end = TurnEnd {
            finish,
            withdrawn: None,
            stopped: None,
        };
        let stored = stored
            .and_then(|()| self.store_end(&outcome, &receipt, message.as_ref(), appended.continued))
            .and_then(|()| match said {
                true => self.reload_last(appended),
                false => Ok(()),
            })
            .and_then(|()| {
                let withdrawn = !said && error.is_none() && stopped && !appended.continued;
                if withdrawn && let Some(text) = &appended.text {
                    self.withdraw(appended)?;
                    end.withdrawn = Some(text.clone());
                }
                Ok(())
            });
        // A call that decoded nothing has nothing to account for.
        if outcome.evaluated + outcome.tokens.len() > 0 || end.withdrawn.is_none() {
            on(Event::Receipt(Box::new(receipt.clone())));
        }
        sum.add(&receipt);
        if stored.is_err() {
            self.say_what_is_lost(whole, outcome.tokens.len());
        }
        stored?;
        match error {
            Some(error) => Err(error.into()),
            None => Ok(end),
        }
    }

    /// The end of a call in npast.db: the reply as it is, its receipt, the sums.
    fn store_end(
        &mut self,
        outcome: &Outcome,
        receipt: &Receipt,
        message: Option<&(MessageId, serde_json::Value)>,
        continued: bool,
    ) -> Result<(), AgentError> {
        let reply = message
            .map(|(_, body)| Message::from_json(body))
            .transpose()?;
        let before = self.messages.len() - usize::from(continued && reply.is_some());
        let trail = self.trails(before, reply.as_slice())?.pop().flatten();
        let mut unit = self.db.begin(self.row.id)?;
        if let Some((id, body)) = message {
            unit.set_body(*id, body)?;
            unit.set_finish(*id, receipt.finish)?;
            unit.set_pending(outcome.pending)?;
            if let Some(trail) = trail {
                unit.set_trail(*id, trail)?;
            }
        }
        if !self.row.runs_tools {
            // A client that sends the calls back says by their ids whose they are.
            for call in reply.iter().flat_map(|reply| &reply.calls) {
                unit.add_handle(&super::whose::call_handle(&call.id))?;
            }
        }
        unit.set_decoded(self.decoded.len())?;
        unit.add_receipt("turn", Some(receipt.finish), &json!(receipt))?;
        unit.add_usage(&Usage {
            calls: 1,
            evaluated: outcome.evaluated as u64,
            restored: outcome.restored as u64,
            kept: outcome.kept as u64,
            generated: outcome.tokens.len() as u64,
        })?;
        unit.touch(now_ms())?;
        Ok(unit.commit()?)
    }

    /// The messages that a finished call changed, again from the database.
    fn reload_last(&mut self, appended: &Appended) -> Result<(), AgentError> {
        let keep = match appended.continued {
            true => self.messages.len().saturating_sub(1),
            false => appended.before.messages,
        };
        self.messages.truncate(keep);
        let after = self.messages.last().map(|m| m.id);
        self.messages
            .extend(self.db.messages_after(self.row.id, after)?);
        Ok(())
    }

    pub(super) fn receipt(&mut self, outcome: &Outcome, finish: Finish) -> Receipt {
        let miss = self.miss(outcome);
        Receipt {
            pruned: self.pruned.take(),
            ..receipt_of(outcome, self.calls, finish, miss)
        }
    }

    /// What was evaluated again and why; also a break made on purpose that cost nothing twice.
    fn miss(&mut self, outcome: &Outcome) -> Option<MissNote> {
        let broken = self.broken.take();
        let left = self.left.take();
        let (messages, head) = (&self.messages, self.row.head);
        match (&outcome.miss, broken) {
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

    /// The next prepared reply, as tokens.
    fn prepared(&self, script: &mut Script) -> Result<(Vec<Token>, Finish), AgentError> {
        let scripted =
            |e: ScriptError| AgentError::new(ErrorKind::Script, e.to_string()).hinted(LINES);
        let line = script.next_main().map_err(scripted)?;
        self.prepared_after(&line, &self.ledger)
    }

    /// A prepared reply after other tokens, and how it ends.
    pub(super) fn prepared_after(
        &self,
        line: &Line,
        before: &[Token],
    ) -> Result<(Vec<Token>, Finish), AgentError> {
        let scripted =
            |e: ScriptError| AgentError::new(ErrorKind::Script, e.to_string()).hinted(LINES);
        let sampled = self.frozen.sampled(&self.shared, line).map_err(scripted)?;
        let vocab = self.shared.model.vocab();
        let mut tokens = Frozen::continuation(&self.shared, before, "", sampled.pieces)?;
        if let Some(finish) = line.finish {
            return Ok((tokens, finish));
        }
        match sampled.end_of_turn.as_deref() {
            Some("") | None => tokens.extend(vocab.eos()),
            Some(end) => tokens.extend(tokenized(vocab, end)?),
        }
        Ok((tokens, Finish::Stop))
    }

    /// The seed of a call whose reply begins at `position`. A reply that is sampled anew has another.
    pub(super) fn seed_at(&self, position: usize) -> u64 {
        match self.row.tries {
            0 => mixed(self.row.seed, position),
            tries => mixed(!mixed(self.row.seed, tries as usize), position),
        }
    }

    pub(super) fn recent(&self, window: usize) -> Vec<Token> {
        self.ledger[self.ledger.len().saturating_sub(window)..].to_vec()
    }

    pub(super) fn say(&mut self, on: On<'_>) {
        for (text, hint) in self.take_notices() {
            on(Event::Notice { text, hint });
        }
    }
}

/// The receipt of the process's or session's call number `call`.
pub(super) fn receipt_of(
    outcome: &Outcome,
    call: u64,
    finish: Finish,
    miss: Option<MissNote>,
) -> Receipt {
    let ms = |x: f64| x.max(0.0).round() as u64;
    let times = outcome.times;
    Receipt {
        kind: outcome.kind,
        call,
        context: outcome.context(),
        kept: outcome.kept,
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

/// What to say of a reply in which the model did nothing but think.
fn only_thinking(reply: &Message, finish: Finish) -> Option<Notice> {
    let thinks = reply
        .reasoning
        .as_ref()
        .is_some_and(|text| !text.trim().is_empty());
    if !thinks || !reply.calls.is_empty() || !reply.text.trim().is_empty() {
        return None;
    }
    match finish {
        Finish::Stop => Some((
            "the reply is only thinking: the model ended it without an answer".to_owned(),
            Some("ask again, or tell it to answer".to_owned()),
        )),
        Finish::Length | Finish::Context => Some((
            "the reply is only thinking: it was cut before an answer began".to_owned(),
            Some("go on with it (--continue), or let replies be longer".to_owned()),
        )),
        _ => None,
    }
}

pub(super) fn tokenized(vocab: &Vocab, text: &str) -> Result<Vec<Token>, AgentError> {
    vocab
        .tokenize(text, true)
        .map_err(|e| AgentError::new(ErrorKind::Script, e.to_string()))
}

/// A seed for one call: the session's, mixed with the position (splitmix64's finalizer).
fn mixed(seed: u64, position: usize) -> u64 {
    let mut z = seed.wrapping_add((position as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
