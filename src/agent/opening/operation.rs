//! The truth after a failure. An open conversation mirrors npast.db in memory. When an operation
//! ends with an error, nobody can say which of its writes are on disk, so the conversation is read
//! again from npast.db before anything else is done with it.

use std::sync::Arc;

use crate::agent::conversation::handle::{Conversation, text_of};
use crate::agent::tool_calls::steering::Steering;
use crate::agent::values::error::AgentError;
use crate::ledger::{Token, common_prefix};
use crate::session;

/// What an open conversation holds in memory. For verification.
#[derive(Clone, PartialEq, Debug)]
pub struct Mirror {
    /// The session's name.
    pub name: String,
    /// How often a reply of it was sampled anew.
    pub tries: u64,
    /// Its messages, without withdrawn ones.
    pub messages: Vec<session::Message>,
    /// Its ledger.
    pub ledger: Vec<Token>,
}

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

    /// Makes memory what npast.db says. Marks of what the slot holds stay as far as the ledger does;
    /// so does what is known to be decoded.
    pub(in crate::agent) fn read_stored(&mut self) -> Result<(), AgentError> {
        let id = self.row.id;
        let (row, ledger) = (self.db.get(id)?, self.db.ledger(id)?);
        self.messages = self.db.messages(id)?;
        let same = common_prefix(&self.ledger, &ledger);
        self.marks.retain(|mark| mark.len() <= same);
        let decoded = self.decoded.len().min(same);
        self.ledger = Arc::new(ledger);
        self.calls = row.usage.calls;
        self.row = row;
        self.decoded = self.known_decoded()?;
        self.decoded.reached(decoded);
        Ok(())
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
        self.left = Some("what stood here could not be stored".into());
    }

    /// After a failed write: a line that the user said meanwhile waits again, unless it is stored.
    pub(in crate::agent) fn hand_back(&mut self, text: String, steering: &Steering) {
        let said = |m: &session::Message| m.role == "user" && text_of(&m.body).ends_with(&text);
        let stored = self.read_stored().is_ok() && self.open_messages().any(said);
        if !stored {
            steering.steer_again(text);
        }
    }

    /// The logits after the last token that the slot holds, where they are held. For verification.
    ///
    /// # Errors
    /// When the engine is dead.
    pub fn next_logits(&self) -> Result<Option<Vec<f32>>, AgentError> {
        let pass = self.pass(&Arc::default(), &mut |_| {});
        Ok(pass.map(|pass| pass.slot().row()).transpose()?.flatten())
    }

    /// What is held in memory. For verification.
    pub fn mirror(&self) -> Mirror {
        Mirror {
            name: self.row.name.clone(),
            tries: self.row.tries,
            messages: self.messages.clone(),
            ledger: self.ledger.to_vec(),
        }
    }
}
