//! Letting a conversation go.

use crate::agent::conversation::handle::Conversation;
use crate::agent::values::error::{AgentError, ErrorKind};

impl Conversation {
    /// Waits until everything is on disk, and lets the session go. A session that was started for
    /// an input that was refused leaves nothing behind.
    ///
    /// # Errors
    /// When the store's writer has died, or npast.db fails; the session itself is whole.
    pub fn close(mut self) -> Result<(), AgentError> {
        let left = self.leave_nothing();
        self.settle();
        self.shared
            .store
            .flush()
            .map_err(|e| AgentError::new(ErrorKind::Session, e.to_string()))?;
        left
    }

    /// Removes a session that was started here and has nothing in it.
    fn leave_nothing(&mut self) -> Result<(), AgentError> {
        if self.resumed {
            return Ok(());
        }
        if self.stale {
            // A message may be stored that memory does not know.
            self.read_stored()?;
        }
        if self.calls == 0 && self.messages.is_empty() {
            self.db.remove(self.row.id)?;
        }
        Ok(())
    }
}
