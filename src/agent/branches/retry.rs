//! Another reply in the place of one. Until a token of the new reply is stored the old one can be put
//! back.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::agent::conversation::handle::Conversation;
use crate::agent::conversation::stored::is_handover;
use crate::agent::tool_calls::toolset::Toolset;
use crate::agent::values::error::AgentError;
use crate::agent::values::event::Event;
use crate::agent::values::options::{Input, TurnOptions};
use crate::agent::values::outcome::TurnEnd;
use crate::chat::ReplyScript;
use crate::session::{BranchId, CutPoint, MessageId, MessageState, Unit, Why};

use super::turns::refused;

/// A reply that was taken off to be sampled again.
struct TakenOff {
    branch: BranchId,
    /// Where it began: the length of its prompt in tokens.
    at: usize,
    /// The reply before it.
    before: Option<MessageId>,
}

impl Conversation {
    /// Takes the last reply off and samples another one after the same prompt, from another seed.
    /// The new reply begins a turn as any other does: with `tools`, the calls in it are run, and the
    /// turn goes on until the model answers without one. Where no token was sampled (Ctrl-C before
    /// the first token, a failure) the reply before is put back.
    ///
    /// # Errors
    /// Wrong usage when the last message is no reply; as [`Conversation::work`].
    pub fn retry(
        &mut self,
        options: &TurnOptions,
        tools: Option<&mut Toolset<'_>>,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: &mut dyn FnMut(Event),
    ) -> Result<TurnEnd, AgentError> {
        let (mut script, mut tools) = (script, tools);
        let ended = self.operation(|talk| {
            let (tools, script) = (tools.as_deref_mut(), script.as_deref_mut());
            talk.another_reply(options, tools, script, cancel, &mut *on)
        });
        self.say(on);
        if ended.is_ok() {
            self.after_turn(options, tools, script, cancel, on);
        }
        ended
    }

    fn another_reply(
        &mut self,
        options: &TurnOptions,
        tools: Option<&mut Toolset<'_>>,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: &mut dyn FnMut(Event),
    ) -> Result<TurnEnd, AgentError> {
        let reply = self.reply_to_take_off()?;
        self.reply_instead_of(reply, options, tools, script, cancel, on)
    }

    /// Samples another reply in the place of the one at `reply` among the messages, and of all that
    /// follows it. It comes after a message that was answered, and its tokens are known.
    pub(in crate::agent) fn reply_instead_of(
        &mut self,
        reply: usize,
        options: &TurnOptions,
        tools: Option<&mut Toolset<'_>>,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: &mut dyn FnMut(Event),
    ) -> Result<TurnEnd, AgentError> {
        let off = self.take_reply_off(reply)?;
        self.replacing = true;
        let ended = self
            .hold_prompt(off.at)
            .and_then(|()| self.whole_turn(Input::Open, options, tools, script, cancel, on));
        self.replacing = false;
        if ended.is_err() && self.read_stored().is_err() {
            // What is stored is not known now; the next operation reads it.
            return ended;
        }
        if self.last_reply_id() != off.before {
            return ended;
        }
        // No token was sampled, or none could be stored.
        match (self.put_back(&off), ended) {
            (Ok(()), ended) => {
                let text = "the reply before was put back".to_owned();
                self.notices.push((text, None));
                ended
            }
            (Err(error), ended) => {
                let text =
                    "the reply before could not be put back; it is kept as a branch".to_owned();
                let hint = "when npast.db can be written again, redo puts it back".to_owned();
                self.notices.push((text, Some(hint)));
                ended.and(Err(error))
            }
        }
    }

    /// After the cut of a retry. All of the prompt was decoded, or there would have been no reply.
    fn hold_prompt(&mut self, prompt: usize) -> Result<(), AgentError> {
        self.next_receipt
            .left("another reply is sampled here by retry");
        self.read_again()?;
        self.ledger.reached(prompt);
        Ok(())
    }

    fn put_back(&mut self, off: &TakenOff) -> Result<(), AgentError> {
        let mut unit = self.db.begin(self.row.id)?;
        unit.reattach(off.branch)?;
        unit.commit()?;
        self.read_again()?;
        self.ledger.reached(off.at);
        Ok(())
    }

    fn last_reply_id(&self) -> Option<MessageId> {
        let reply = self.messages.iter().rfind(|m| m.role == "assistant");
        reply.map(|m| m.id)
    }

    /// The last message, where it is a reply.
    fn reply_to_take_off(&self) -> Result<usize, AgentError> {
        let place = self.messages.iter().rposition(|m| m.role != "assistant");
        let reply = self.messages.last().filter(|m| m.role == "assistant");
        let (Some(_), Some(last)) = (reply, place) else {
            return Err(match self.open_messages().next() {
                Some(_) => refused(
                    "the last message has no reply yet",
                    "an empty line answers it",
                ),
                None => refused("there is no reply to sample again", "say something first"),
            });
        };
        if reply.is_some_and(is_handover) {
            return Err(refused(
                "the last reply was written before the conversation was compressed",
                "undo goes back to the session before the compression",
            ));
        }
        Ok(last + 1)
    }

    fn take_reply_off(&mut self, place: usize) -> Result<TakenOff, AgentError> {
        let (reply, last) = (&self.messages[place], place - 1);
        let Some(span) = reply.span.filter(|s| s.start > self.row.head) else {
            return Err(refused(
                "this reply was taken over from another vocabulary and cannot be sampled again",
                "say something, then retry that",
            ));
        };
        let cut = CutPoint {
            after: Some(self.messages[last].id),
            at: span.start,
            pending: 0,
        };
        let from = self.messages[..last]
            .iter()
            .rposition(|m| m.role == "assistant");
        let before = from.map(|i| self.messages[i].id);
        let inputs: Vec<_> = self.messages[from.map_or(0, |i| i + 1)..=last]
            .iter()
            .map(|m| m.id)
            .collect();
        let mut unit: Unit<'_> = self.db.begin(self.row.id)?;
        let branch = unit.abandon(cut, Why::Retry)?;
        for input in inputs {
            unit.set_state(input, MessageState::Open)?;
        }
        let tries = unit.add_try()?;
        unit.commit()?;
        self.row.tries = tries;
        Ok(TakenOff {
            branch,
            at: cut.at,
            before,
        })
    }
}
