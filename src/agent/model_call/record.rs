//! Sends a model call and takes what comes: sampled tokens are stored first, and shown then (law 5). So
//! all that was shown is on disk, and a slow client delays only its own display.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::unbounded_channel;

use crate::agent::conversation::handle::Conversation;
use crate::agent::input::appended::Appended;
use crate::agent::values::error::AgentError;
use crate::agent::values::event::{Event, On};
use crate::chat::Message;
use crate::ledger::Finish;
use crate::session::{MessageId, MessageState, Span};
use crate::slot::{self, CallKind, Outcome, ReplyOptions, SlotCall, Target};

use super::coming::Coming;
use super::inbox::{Inbox, NextEvent};

impl Conversation {
    /// Sends the call, stores what comes and shows it. A reply that could not be stored as it came
    /// is an error beside the outcome: the call has its receipt all the same.
    pub(in crate::agent) fn call(
        &mut self,
        reply: ReplyOptions,
        cancel: &Arc<AtomicBool>,
        coming: &mut Coming,
        appended: &Appended,
        on: On<'_>,
    ) -> Result<(Outcome, Result<(), AgentError>), AgentError> {
        let vocab = self.shared.model.vocab().clone();
        let target = match self.ledger.last_mark() {
            Some(mark) => Target::after(mark, self.ledger.shared())
                .in_parts(self.before_long_results(mark.len())),
            None => Target::whole(self.ledger.shared()).in_parts(self.before_long_results(0)),
        };
        let Some(pass) = self.pass(cancel, on) else {
            return Ok((Outcome::none(CallKind::Turn), Ok(())));
        };
        let mut inbox = Inbox::new()?;
        let answer = pass.slot().call(SlotCall {
            kind: CallKind::Turn,
            owner: self.owner(),
            target,
            head: self.row.head,
            common: self.row.common.unwrap_or(0),
            decoded: self.ledger.decoded(),
            moved: self.moved.take(),
            reply: Some(reply),
            step: self.row.runs_tools,
            cancel: cancel.clone(),
            events: inbox.sender.take().unwrap_or_else(|| unbounded_channel().0),
        })?;
        let mut stored = Ok(());
        loop {
            match inbox.next(coming, stored.is_ok()) {
                NextEvent::Event(slot::SlotEvent::Restoring { tokens }) => {
                    on(Event::Restoring { tokens })
                }
                NextEvent::Event(slot::SlotEvent::Prefill { done, total }) => {
                    on(Event::Prefill { done, total });
                }
                NextEvent::Event(slot::SlotEvent::Odds(odds)) => coming.weigh(&vocab, &odds),
                NextEvent::Event(slot::SlotEvent::Sampled(token)) => coming.push(&vocab, token),
                // Nothing comes, and what came must not wait any longer.
                NextEvent::Due => {}
                NextEvent::End => break,
            }
            if stored.is_ok() && coming.due() {
                stored = self.record(coming, &appended.inputs, on);
                if stored.is_err() {
                    // What cannot be stored is not sampled any further.
                    cancel.store(true, Ordering::Relaxed);
                }
            }
        }
        let outcome = answer.wait()?;
        self.say_unmoved(&outcome);
        Ok((outcome, stored))
    }

    /// Stores what was sampled since the last time, then shows it.
    pub(in crate::agent) fn record(
        &mut self,
        coming: &mut Coming,
        inputs: &[MessageId],
        on: On<'_>,
    ) -> Result<(), AgentError> {
        self.store_sampled(coming, inputs)?;
        coming.take_stored().into_iter().for_each(on);
        Ok(())
    }

    /// Stores what was sampled since the last time. The first time, the inputs become answered and
    /// the reply a message, marked interrupted until it ends.
    fn store_sampled(
        &mut self,
        coming: &mut Coming,
        inputs: &[MessageId],
    ) -> Result<(), AgentError> {
        let tokens = coming.take_unstored();
        if tokens.is_empty() {
            return Ok(());
        }
        let at = self.ledger.len();
        let end = at + tokens.len();
        let body = Message::assistant("").to_json();
        let mut unit = self.db.begin(self.row.id)?;
        unit.append_tokens(at, &tokens)?;
        let id = match coming.id {
            // A reply that goes on is no longer ended as it was: a crash from here on leaves an
            // interrupted one, whose text is read from its tokens again.
            Some(id) => {
                unit.set_finish(id, Finish::Interrupted)?;
                id
            }
            None => {
                for input in inputs {
                    unit.set_state(*input, MessageState::Answered)?;
                }
                let id = unit.add_message("assistant", &body, MessageState::Answered)?;
                unit.set_finish(id, Finish::Interrupted)?;
                id
            }
        };
        unit.set_span(
            id,
            Span {
                start: coming.start,
                end,
            },
        )?;
        unit.set_pending(1)?;
        unit.set_decoded(end - 1)?;
        unit.commit()?;
        coming.id = Some(id);
        // A reply that is sampled again may begin as the one before it.
        let words = self.ledger.grow(&tokens);
        self.next_receipt.left_unless_known(words);
        Ok(())
    }
}
