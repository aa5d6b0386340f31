//! History policy `template`: with the next message the template leaves the thinking of this reply out, and
//! what follows the cut is another text. It is read ahead in idle time, so that the message reads itself
//! alone. The ledger stays as it is until the message comes; the slot alone is ahead of it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::mpsc::unbounded_channel;

use crate::agent::conversation::handle::Conversation;
use crate::agent::values::error::AgentError;
use crate::agent::values::event::{Event, On};
use crate::agent::values::options::Policy;
use crate::ledger::common_prefix;
use crate::session::SessionId;
use crate::slot::{self, CallKind, SlotCall, Target};

/// The name of this idle work in receipts.
const JOB: &str = "rewrite";
/// What the next receipt says where the old text is wanted after all.
const WHY: &str = "history policy template: what the next message leaves of this was read ahead";

impl Conversation {
    /// Whether the next message rewrites what stands in the ledger, and that was not read ahead yet.
    pub(in crate::agent) fn rewrite_due(&self) -> bool {
        let rewrites = Policy::parse(&self.row.policy) == Some(Policy::Template)
            && self.shared.template.battery().thinking.dropped;
        let thought = self
            .last_reply()
            .is_some_and(|(_, reply)| reply.reasoning.is_some());
        rewrites && thought && self.rewritten != Some(self.ledger_end())
    }

    fn ledger_end(&self) -> (SessionId, usize) {
        (self.row.id, self.ledger.len())
    }

    /// Has the slot hold the conversation as the template writes it before a next message.
    pub(in crate::agent) fn read_rewritten(
        &mut self,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<(), AgentError> {
        let messages = self.canonical()?;
        let mut tokens = self.frozen.closed_tokens(&self.shared, &messages)?;
        // The end of turn waits, as if it had been sampled.
        tokens.pop();
        let same = common_prefix(&self.ledger, &tokens);
        if same == tokens.len() || tokens.len() >= self.shared.limit {
            self.rewritten = Some(self.ledger_end());
            return Ok(());
        }
        let Some(pass) = self.pass(cancel, on) else {
            return Ok(());
        };
        let (events, mut inbox) = unbounded_channel();
        let len = tokens.len();
        let answer = pass.slot().call(SlotCall {
            kind: CallKind::Idle,
            owner: self.owner(),
            target: Target::whole(tokens),
            head: self.row.head,
            common: self.row.common.unwrap_or(0),
            decoded: same.min(self.ledger.decoded()),
            moved: None,
            reply: None,
            step: false,
            cancel: cancel.clone(),
            events,
        })?;
        while let Some(event) = inbox.blocking_recv() {
            match event {
                slot::SlotEvent::Restoring { tokens } => on(Event::Restoring { tokens }),
                slot::SlotEvent::Prefill { done, total } => on(Event::Prefill { done, total }),
                slot::SlotEvent::Sampled(_) | slot::SlotEvent::Odds(_) => {}
            }
        }
        let mut outcome = answer.wait()?;
        drop(pass);
        if let Some(error) = outcome.error.take() {
            tracing::warn!(%error, "what the template rewrites could not be read ahead");
        }
        if outcome.mark.len() == len {
            outcome.finish = crate::ledger::Finish::Stop;
            self.rewritten = Some(self.ledger_end());
        }
        // What the slot holds behind the cut is no beginning of the ledger.
        self.ledger.slot_lost(same);
        self.next_receipt.left(WHY);
        if outcome.evaluated + outcome.restored > 0 {
            self.account(&outcome, JOB, on)?;
            self.next_receipt.left(WHY);
        }
        Ok(())
    }
}
