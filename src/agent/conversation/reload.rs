//! The mirror in memory after npast.db changed: it follows a known change, or is read again. Marks of what
//! the slot holds stay as far as the ledger does.

use crate::agent::frozen::frame::FrozenFrame;
use crate::agent::values::error::AgentError;
use crate::ledger::Token;
use crate::session::{Lock, Session};

use super::handle::Conversation;

impl Conversation {
    /// Counts what was decoded, as npast.db says: on the way that the ledger is on, and on those that were
    /// left.
    pub(in crate::agent) fn count_decoded(&mut self) -> Result<(), AgentError> {
        let known = match self.db.decoded(self.row.id)? {
            Some(known) => known,
            None => self.surely_decoded()?,
        };
        let ways = self.db.ways(self.row.id, &self.ledger)?;
        self.ledger.count_decoded(known, ways);
        Ok(())
    }

    /// The number of decoded tokens where npast.db has no count: in sessions of older versions, and in
    /// sessions that decoded nothing yet. It is the whole ledger without a pending token; where a crash
    /// left a message open, the ledger before that message.
    fn surely_decoded(&self) -> Result<usize, AgentError> {
        let pending = self.db.pending(self.row.id)?;
        let end = match self.open_messages().next().and_then(|m| m.span) {
            Some(open) => {
                let reply = self.messages.iter().rfind(|m| m.role == "assistant");
                let reply_end = reply.and_then(|m| m.span.as_ref()).map_or(0, |s| s.end);
                return Ok(reply_end.min(open.start).saturating_sub(1));
            }
            None => self.ledger.len(),
        };
        let any = self.messages.iter().any(|m| m.role == "assistant");
        Ok(if any { end - pending.min(end) } else { 0 })
    }

    /// Whether the last call of this session left moved tokens in the slot, as its receipts say. Only the words
    /// of a miss depend on it, so a receipt that cannot be read keeps no session from being opened.
    pub(in crate::agent) fn look_for_moved(&mut self) {
        // Other sessions never have any.
        let said = self.row.shift.then(|| self.db.was_approximate(self.row.id));
        self.approximate = match said {
            Some(Ok(approximate)) => approximate,
            Some(Err(error)) => {
                tracing::warn!(%error, "the last receipt was not read");
                false
            }
            None => false,
        };
    }

    /// Reads messages, ledger and session from npast.db again. Of the marks and of the decoded length stays
    /// what belongs to the part of the ledger that did not change.
    pub(in crate::agent) fn read_stored(&mut self) -> Result<(), AgentError> {
        let id = self.row.id;
        let (row, ledger) = (self.db.get(id)?, self.db.ledger(id)?);
        self.messages = self.db.messages(id)?;
        let decoded = self.ledger.decoded();
        let same = self.ledger.read_again(ledger);
        self.calls = row.usage.calls;
        self.row = row;
        self.count_decoded()?;
        self.ledger.reached(decoded.min(same));
        Ok(())
    }

    /// Reads messages and ledger again after an operation changed them in npast.db.
    pub(in crate::agent) fn read_again(&mut self) -> Result<(), AgentError> {
        let stored = self.db.ledger(self.row.id)?;
        self.ledger.read_again(stored);
        self.messages = self.db.messages(self.row.id)?;
        self.count_decoded()?;
        self.next_receipt.forget_break();
        Ok(())
    }

    /// The messages again from the database, where only those from `from` on can have changed.
    pub(in crate::agent) fn refresh(
        &mut self,
        from: usize,
    ) -> Result<Vec<crate::session::StoredMessage>, AgentError> {
        let mut kept = std::mem::take(&mut self.messages);
        kept.truncate(from);
        let stored = self
            .db
            .messages_after(self.row.id, kept.last().map(|m| m.id))?;
        kept.extend(stored);
        Ok(kept)
    }

    /// Mirrors a change of the stored ledger: its first `from` tokens, then these.
    pub(in crate::agent) fn hold(&mut self, from: usize, tokens: &[Token]) {
        let words = self.ledger.replace_tail(from, tokens);
        self.next_receipt.left_unless_known(words);
    }

    /// Goes on in another session of the same lineage, which no other process has open. What the slot holds of
    /// it stays known.
    pub(in crate::agent) fn enter(&mut self, row: Session) -> Result<(), AgentError> {
        let lock = Lock::session(&self.shared.options.home, row.id)?;
        let before = self.owner();
        let ledger = self.db.ledger(row.id)?;
        self.messages = self.db.messages(row.id)?;
        self.ledger.read_again(ledger);
        self.calls = row.usage.calls;
        self.row = row;
        // All that says whose conversation this is changes together: what can fail comes behind it.
        self.passes.renamed(&before, &self.owner());
        self.keep_lock(lock);
        self.frozen = FrozenFrame::of(&self.shared, &self.row);
        self.unread = false;
        self.moved = None;
        self.look_for_moved();
        self.titled = self.db.title(self.row.id)?.map(|title| title.made);
        self.count_decoded()?;
        self.next_receipt.forget_break();
        Ok(())
    }
}
