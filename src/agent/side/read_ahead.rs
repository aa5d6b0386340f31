//! The slot is made to hold tokens of the conversation before they are needed. It has a receipt of kind
//! idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;

use crate::agent::conversation::handle::Conversation;
use crate::agent::conversation::stored::{LONG_RESULT, text_of};
use crate::agent::engine::pass::SlotPass;
use crate::agent::values::error::AgentError;
use crate::agent::values::event::{Event, On};
use crate::ledger::Finish;
use crate::session::Span;
use crate::slot::{CallKind, Outcome, SlotCall, Target};

impl Conversation {
    /// Makes the slot hold the ledger's first `len` tokens, and accounts for it under the name `job`.
    pub(in crate::agent) fn evaluate_to(
        &mut self,
        pass: &SlotPass,
        len: usize,
        job: &str,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Outcome, AgentError> {
        let (events, mut inbox) = unbounded_channel();
        let answer = pass.slot().call(SlotCall {
            kind: CallKind::Idle,
            owner: self.owner(),
            target: Target::whole(self.ledger[..len].to_vec())
                .in_parts(self.before_long_results(0)),
            head: self.row.head,
            common: self.row.common.unwrap_or(0),
            decoded: self.ledger.decoded(),
            moved: self.moved.take(),
            reply: None,
            step: false,
            cancel: cancel.clone(),
            events,
        })?;
        while let Some(event) = inbox.blocking_recv() {
            match event {
                crate::slot::SlotEvent::Restoring { tokens } => on(Event::Restoring { tokens }),
                crate::slot::SlotEvent::Prefill { done, total } => {
                    on(Event::Prefill { done, total })
                }
                crate::slot::SlotEvent::Sampled(_) | crate::slot::SlotEvent::Odds(_) => {}
            }
        }
        let mut outcome = answer.wait()?;
        if let Some(error) = outcome.error.take() {
            self.notices.push((
                format!("the conversation could not be read ahead: {error}"),
                Some("its next message reads it".to_owned()),
            ));
        }
        self.say_unmoved(&outcome);
        if outcome.mark.len() == len {
            outcome.finish = Finish::Stop;
        }
        self.ledger.slot_lost(outcome.mark.len());
        self.ledger.slot_holds(outcome.mark);
        self.ledger.reached(outcome.context());
        if outcome.evaluated + outcome.restored > 0 {
            self.account(&outcome, job, on)?;
        }
        Ok(outcome)
    }

    /// Where the slot begins to read a long result, of those behind the ledger's first `read` tokens: behind the
    /// reply that asked for it, whose last token it reads with the result. A prune that begins there reads
    /// nothing before it again.
    pub(in crate::agent) fn before_long_results(&self, read: usize) -> Vec<usize> {
        let mut places = Vec::new();
        let mut long = false;
        for message in self.messages.iter().rev() {
            match message.role.as_str() {
                "tool" => long |= text_of(&message.body).len() >= LONG_RESULT,
                "assistant" => {
                    // One without tokens of its own has no place.
                    let own = |s: &Span| s.start > self.row.head && s.end > s.start;
                    let span = message.span.filter(own);
                    if span.is_some_and(|span| span.end <= read) {
                        break;
                    }
                    let span = span.filter(|span| long && span.end <= self.ledger.len());
                    places.extend(span.map(|span| span.end - 1));
                    long = false;
                }
                _ => {}
            }
        }
        places.reverse();
        places
    }

    /// Says once why the last turns were read though they were to be moved.
    pub(in crate::agent) fn say_unmoved(&mut self, outcome: &Outcome) {
        let Some(why) = &outcome.unmoved else {
            return;
        };
        if !std::mem::replace(&mut self.said_unmoved, true) {
            let text = format!("--shift moves nothing here, the last turns are read: {why}");
            let hint = "start a session without --shift, or with a dense model and an f16 cache";
            self.notices.push((text, Some(hint.to_owned())));
        }
    }

    /// The receipt of a call that is no turn: stored and shown.
    pub(in crate::agent) fn account(
        &mut self,
        outcome: &Outcome,
        job: &str,
        on: On<'_>,
    ) -> Result<(), AgentError> {
        self.calls += 1;
        // What was broken on purpose is named by the call that reads it.
        let kept = (outcome.kind == CallKind::Fork).then(|| self.next_receipt.take_causes());
        let mut receipt = self.receipt(outcome, outcome.finish);
        receipt.job = Some(job.to_owned());
        if let Some(causes) = kept {
            self.next_receipt.put_back(causes);
        }
        let kind = match outcome.kind {
            CallKind::Fork => "fork",
            _ => "idle",
        };
        let mut unit = self.db.begin(self.row.id)?;
        unit.set_decoded(self.ledger.decoded())?;
        unit.add_receipt(kind, Some(receipt.finish), &json!(receipt), &receipt.sums())?;
        unit.commit()?;
        on(Event::Receipt(Box::new(receipt)));
        Ok(())
    }

    /// Reads the new conversation, so that its next message finds it done; whether all of it is read. Cut
    /// short, what was read stays, and the next message reads the rest if nothing did before.
    pub(in crate::agent) fn read_ahead(
        &mut self,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<bool, AgentError> {
        let len = self.ledger.len().saturating_sub(1);
        // What the slot holds stays for the message that is more urgent.
        if cancel.load(Ordering::SeqCst) {
            return Ok(false);
        }
        let Some(pass) = self.pass(cancel, on) else {
            return Ok(false);
        };
        let job = match self.next_receipt.says_pruned() {
            true => "prune",
            false => "read",
        };
        let outcome = self.evaluate_to(&pass, len, job, cancel, on)?;
        let whole = outcome.mark.len() == len;
        self.unread &= !whole;
        Ok(whole)
    }
}
