//! Before a summary: the model stores what later sessions should know, while it still has all of it. One
//! step on the fork with the memory tool alone; sequence 0 is what it was afterwards (law 8).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::agent::conversation::handle::Conversation;
use crate::agent::conversation::read_reply::read_as;
use crate::agent::side::beside::SideMessage;
use crate::agent::tool_calls::toolset::Toolset;
use crate::agent::values::error::AgentError;
use crate::agent::values::event::On;
use crate::agent::values::options::TurnOptions;
use crate::agent::values::refused::Refused;
use crate::chat::template::After;
use crate::chat::{Message, ReplyScript};

/// The name of this side job in scripts and receipts.
const JOB: &str = "flush";
/// The tool.
const MEMORY: &str = "memory";
/// Most tokens of the step.
const MOST: usize = 256;

const INSTRUCTION: &str = "[npast: what stands above will soon be replaced by a summary.] If it holds \
     something that later sessions should know, a lasting fact about the work or about the user that is not \
     remembered yet, call the tool memory once with all of it. Otherwise write the word none.";

impl Conversation {
    /// Has the model store what is worth it before a summary that somebody asks for.
    ///
    /// # Errors
    /// When npast.db fails or the engine is lost.
    pub fn flush(
        &mut self,
        options: &TurnOptions,
        tools: Option<&mut Toolset<'_>>,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<(), AgentError> {
        self.operation(|talk| talk.flush_memory(options, tools, script, cancel, on))
            .map(drop)
    }

    /// Has the model store what is worth it, where the session has the memory tool and the options want
    /// that. Once for a conversation of about this length. `Err` only where it was interrupted.
    pub(in crate::agent) fn flush_memory(
        &mut self,
        options: &TurnOptions,
        tools: Option<&mut Toolset<'_>>,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Result<(), Refused>, AgentError> {
        let wanted = options.compress.is_some_and(|c| c.flush_memory);
        let (id, len) = (self.row.id, self.ledger.len());
        let done = |at: (crate::session::SessionId, usize)| {
            at.0 == id && len < at.1 + self.shared.limit / 20
        };
        let tools = tools.filter(|tools| tools.names().any(|name| name == MEMORY));
        let (true, Some(tools), false) = (wanted, tools, self.flushed.is_some_and(done)) else {
            return Ok(Ok(()));
        };
        // Calls of other tools are not read as calls.
        let frozen = self.frozen.with_tool(MEMORY);
        let format = frozen.format(&self.shared, After::User, cancel)?;
        let Some(format) = format.map(|made| made.format) else {
            return Ok(Err(Refused::Interrupted));
        };
        let message = Message::user(INSTRUCTION);
        let beside = SideMessage {
            job: JOB,
            message: &message,
            format: &format,
            most: MOST,
            grammar: true,
        };
        let asked = self.beside(&beside, None, options, script, cancel, on)?;
        if cancel.load(Ordering::SeqCst) {
            return Ok(Err(Refused::Interrupted));
        }
        self.flushed = Some((id, len));
        let outcome = match asked {
            Ok(outcome) => outcome,
            Err(Refused::Interrupted) => return Ok(Err(Refused::Interrupted)),
            Err(why) => {
                tracing::info!(%why, "nothing was remembered before the summary");
                return Ok(Ok(()));
            }
        };
        let vocab = self.shared.model.vocab();
        let ended = outcome.tokens.last().is_some_and(|t| vocab.is_end(*t));
        let raw = self.raw_text(&outcome.tokens);
        let reply = read_as(&format, &raw, self.row.seed, true, !ended)?;
        let call = reply.calls.iter().find(|call| call.name == MEMORY);
        let Some(call) = call.filter(|_| ended && !reply.unread) else {
            return Ok(Ok(()));
        };
        let answer = tools.run_one(call, &format!("flush-{}-{len}", id.0), cancel);
        let said = answer.text.lines().next().unwrap_or_default().trim();
        let text = match answer.ok {
            true => format!("before the summary the model changed what is remembered: {said}"),
            false => {
                format!("before the summary the model wanted to remember something: {said}")
            }
        };
        self.notices.push((text, None));
        Ok(Ok(()))
    }
}
