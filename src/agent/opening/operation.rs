//! Recovery after a failure. An open conversation mirrors npast.db in memory. When an operation ends with
//! an error, it is not known which of its writes are on disk, so the conversation is read again from
//! npast.db before anything else uses it.

use crate::agent::conversation::handle::Conversation;
use crate::agent::values::error::AgentError;

impl Conversation {
    /// Runs one operation on the conversation: all that changes it goes through here. After an
    /// error the conversation is read again, at once if that is possible, and in any case before
    /// the next operation.
    pub(in crate::agent) fn operation<T>(
        &mut self,
        change: impl FnOnce(&mut Conversation) -> Result<T, AgentError>,
    ) -> Result<T, AgentError> {
        self.fresh()?;
        // Taken back only where the operation ends well: no error in it can be forgotten.
        self.stale = true;
        let done = change(self);
        match &done {
            Ok(_) => self.stale = false,
            Err(_) => {
                if let Err(error) = self.read_stored() {
                    tracing::warn!(%error, "the conversation is read again by the next operation");
                }
            }
        }
        done
    }

    /// After a failed operation: reads the conversation from npast.db as a process that opens it
    /// would. A reply that was cut gets its text from its tokens, and calls without results get them.
    /// Otherwise this does nothing and costs nothing. Every operation begins with it.
    ///
    /// # Errors
    /// When npast.db still fails.
    pub fn fresh(&mut self) -> Result<(), AgentError> {
        if !self.stale {
            return Ok(());
        }
        self.read_stored()?;
        self.mend()?;
        self.close_calls()?;
        self.stale = false;
        Ok(())
    }
}
