//! One model call for an input that is stored: format, call, end of the reply, receipt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::agent::conversation::handle::Conversation;
use crate::agent::conversation::names::call_handle;
use crate::agent::frozen::grammar::grammar;
use crate::agent::input::appended::Appended;
use crate::agent::values::error::AgentError;
use crate::agent::values::event::{Event, On};
use crate::agent::values::notice::Notice;
use crate::agent::values::options::TurnOptions;
use crate::agent::values::outcome::TurnEnd;
use crate::agent::values::receipt::Receipt;
use crate::chat::reply::RepeatWatch;
use crate::chat::template::ReplyFormat;
use crate::chat::{Message, ReplyScript};
use crate::ledger::{Finish, Token};
use crate::llama::{Grammar, Sampling};
use crate::session::{self, MessageId, now_ms};
use crate::slot::{Outcome, ReplyOptions, TokenChoice};

use super::coming::Coming;
use super::sum::RunningSum;
use super::watch::watch;

/// Most characters of a phrase in a notice.
const MOST_SHOWN: usize = 60;

impl Conversation {
    /// The model call for an input that is stored: reply, receipt.
    pub(in crate::agent) fn answer(
        &mut self,
        appended: &Appended,
        options: &TurnOptions,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        sum: &mut RunningSum,
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
            Some((tokens, finish)) => TokenChoice::Script { tokens, finish },
            None => TokenChoice::Sample {
                sampling: Sampling {
                    seed: self.seed_at(self.ledger.len()),
                    ..options.sampling.clone()
                },
                grammar: grammar(&vocab, &format).map(|grammar| Grammar { begun, ..grammar }),
                recent: self.recent(options.sampling.penalty_window),
            },
        };
        let reply = ReplyOptions {
            choice,
            max_tokens: options.max_tokens.unwrap_or(usize::MAX),
            watch: watch(&vocab, &format, &options.stop, options.repeats)?,
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
        sum: &mut RunningSum,
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
            self.ledger.slot_holds(outcome.mark);
        }
        self.ledger.reached(outcome.context());

        let mut finish = outcome.finish;
        let mut message = None;
        self.unread = false;
        if said {
            self.replacing = false;
            let (id, seed) = (coming.id, self.seed_at(coming.start));
            finish = coming.why(finish);
            if finish == Finish::Repeats {
                self.notices.push(repeated(coming.raw()));
            }
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
        outcome.snapshot_bytes += self.next_receipt.take_settled();
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
                unit.add_handle(&call_handle(&call.id))?;
            }
        }
        unit.set_decoded(self.ledger.decoded())?;
        unit.add_receipt(
            "turn",
            Some(receipt.finish),
            &json!(receipt),
            &receipt.sums(),
        )?;
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

    pub(in crate::agent) fn recent(&self, window: usize) -> Vec<Token> {
        self.ledger[self.ledger.len().saturating_sub(window)..].to_vec()
    }

    /// After a failed write in a model call: says what became of its reply. `whole` is the length of
    /// the ledger with all of it, `sampled` the number of its tokens.
    pub(in crate::agent) fn say_what_is_lost(&mut self, whole: usize, sampled: usize) {
        if sampled == 0 {
            return;
        }
        if let Err(error) = self.read_stored() {
            tracing::warn!(%error, "what is stored of the reply is not known");
        }
        let text = match whole.saturating_sub(self.ledger.len()).min(sampled) {
            0 => "the reply is stored, and its receipt could not be".to_owned(),
            lost if lost == sampled => format!(
                "the reply could not be stored: the conversation goes on without its {lost} tokens"
            ),
            lost => format!(
                "the end of the reply could not be stored: the conversation goes on without its \
                 last {lost} tokens, which are not shown"
            ),
        };
        self.notices.push((text, None));
        self.next_receipt
            .left("what stood here could not be stored");
    }
}

/// What to say of a reply that was stopped since it repeated itself.
fn repeated(raw: &str) -> Notice {
    let what = match RepeatWatch::find(raw) {
        Some((phrase, times)) => {
            let short: String = phrase.chars().take(MOST_SHOWN).collect();
            let more = if short.len() < phrase.len() {
                "…"
            } else {
                ""
            };
            format!("the reply was stopped: it said \"{short}{more}\" {times} times")
        }
        None => "the reply was stopped: it repeated itself".to_owned(),
    };
    let hint =
        "ask in other words, or with --repeat-penalty 1.1; --repeats off lets such replies go on";
    (what, Some(hint.to_owned()))
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
        Finish::Length | Finish::Context | Finish::Repeats => Some((
            "the reply is only thinking: it was cut before an answer began".to_owned(),
            Some("go on with it (--continue), or let replies be longer".to_owned()),
        )),
        _ => None,
    }
}
