//! What there is to do for a conversation while nobody waits, and doing it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::agent::conversation::handle::Conversation;
use crate::agent::engine::pass::Rank;
use crate::agent::tool_calls::toolset::Toolset;
use crate::agent::values::error::AgentError;
use crate::agent::values::event::On;
use crate::agent::values::options::TurnOptions;
use crate::chat::ReplyScript;

/// Work of a conversation that can wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdleJob {
    /// It is longer than it should be: long results become lines, a summary takes the place of its middle.
    Compress,
    /// It was compressed, and the reading was cut short.
    Read,
    /// It has no title by the model yet.
    Title,
    /// With the next message the template rewrites the end of it: what it becomes is read ahead.
    Rewrite,
}

/// How a piece of it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Idled {
    /// It is done, or not to be tried again.
    Done,
    /// Something more urgent stopped it.
    Stopped,
    /// The slot holds another conversation.
    Elsewhere,
}

impl Conversation {
    /// What there is to do while nobody waits, the most useful first.
    pub fn idle_jobs(&self, options: &TurnOptions) -> Vec<IdleJob> {
        let mut jobs = Vec::new();
        if self.answered_all() && self.compression_due(options) {
            jobs.push(IdleJob::Compress);
        } else if self.unread {
            jobs.push(IdleJob::Read);
        }
        if self.title_due() {
            jobs.push(IdleJob::Title);
        }
        // Last: forks continue what the slot holds of the ledger.
        if self.answered_all() && self.rewrite_due() {
            jobs.push(IdleJob::Rewrite);
        }
        jobs
    }

    /// No message waits for its answer, and no call for its result.
    fn answered_all(&self) -> bool {
        self.messages.last().is_some_and(|m| m.role == "assistant") && self.unanswered().is_none()
    }

    /// Does a piece of idle work. `cancel` stops it between two decode calls; the conversation is whole
    /// then, as it was or as it was to become. What there is to say of it is said by the next request.
    ///
    /// # Errors
    /// When npast.db fails or the engine is lost.
    pub fn idle(
        &mut self,
        job: IdleJob,
        options: &TurnOptions,
        tools: Option<&mut Toolset<'_>>,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Idled, AgentError> {
        if !self.passes.is_resident(&self.owner()) {
            return Ok(Idled::Elsewhere);
        }
        self.rank = Rank::Side;
        let done = self.operation(|talk| match job {
            IdleJob::Compress => talk
                .compress_when_due(options, tools, script, cancel, on)
                .map(drop),
            IdleJob::Read => talk.read_ahead(cancel, on).map(drop),
            IdleJob::Title => talk.find_title(options, script, cancel, on),
            IdleJob::Rewrite => talk.read_rewritten(cancel, on),
        });
        self.rank = Rank::Interactive;
        done?;
        Ok(match cancel.load(Ordering::SeqCst) {
            true => Idled::Stopped,
            false => Idled::Done,
        })
    }
}
