//! Calls of the last reply that have no result: which there are, and what stands in the place of a missing
//! result. A mark is durable before a call runs; it tells what may have happened from what surely did not.

use crate::agent::conversation::handle::Conversation;
use crate::agent::values::error::AgentError;
use crate::chat::Message;
use crate::chat::message::ToolCall;
use crate::ledger::Finish;
use crate::session::{MessageId, StartedCall};
use crate::tools::Effect;

pub(in crate::agent) const NOT_RUN_WORDS: &str = "not run";
pub(in crate::agent) const UNKNOWN_EFFECT: &str = "unknown effect";

/// The last reply's calls, which have no results yet.
pub(in crate::agent) struct Unanswered {
    pub reply: MessageId,
    /// Of the reply among the session's messages.
    pub seq: usize,
    pub calls: Vec<ToolCall>,
    /// The last of them could not be read.
    pub unread: bool,
}

impl Conversation {
    /// The calls without a result, in a session whose tools are npast's to run.
    pub(in crate::agent) fn unanswered(&self) -> Option<Unanswered> {
        let last = self.messages.last()?;
        if !self.row.runs_tools || last.finish != Some(Finish::ToolCalls) {
            return None;
        }
        let Message { calls, unread, .. } = Message::from_json(&last.body).ok()?;
        (!calls.is_empty()).then_some(Unanswered {
            unread,
            reply: last.id,
            seq: last.seq,
            calls,
        })
    }

    /// The reply whose calls the messages at the end answer, or which have no results.
    pub(in crate::agent) fn unanswered_reply(&self) -> Option<MessageId> {
        let reply = self.messages.iter().rfind(|m| m.role == "assistant")?;
        (self.row.runs_tools && reply.finish == Some(Finish::ToolCalls)).then_some(reply.id)
    }

    /// What stands in for the results of calls that a crash or an error left without: what was
    /// stored, and otherwise the truth about what may have happened. In call order.
    pub(in crate::agent) fn stand_ins(
        &self,
        reply: MessageId,
        calls: usize,
    ) -> Result<Vec<String>, AgentError> {
        let runs = self.db.runs(reply)?;
        Ok((0..calls)
            .map(|at| stand_in(runs.iter().find(|run| run.call == at)))
            .collect())
    }

    /// What is known of the last reply's calls where they have no results, for [`marks_of`].
    pub(in crate::agent) fn own_stand_ins(&self) -> Result<Vec<String>, AgentError> {
        match self.unanswered() {
            Some(open) => self.stand_ins(open.reply, open.calls.len()),
            None => Ok(Vec::new()),
        }
    }
}

/// Marks that give the calls of a reply these texts as their results; `reply` is its place among the
/// messages of a session that is about to be made.
pub(in crate::agent) fn marks_of(
    reply: usize,
    texts: &[String],
) -> Vec<(usize, usize, &str, &str)> {
    let effect = effect_word(Effect::Runs);
    let texts = texts.iter().enumerate();
    texts
        .map(|(at, text)| (reply, at, effect, text.as_str()))
        .collect()
}

fn stand_in(run: Option<&StartedCall>) -> String {
    match run {
        None => format!("[npast: {NOT_RUN_WORDS}. The turn ended before this call was begun.]"),
        Some(StartedCall {
            result: Some((_, text)),
            ..
        }) => text.clone(),
        Some(run) if run.effect == effect_word(Effect::Reads) => format!(
            "[npast: {NOT_RUN_WORDS} to its end. npast ended meanwhile; the call only reads and changed nothing.]"
        ),
        Some(_) => format!(
            "[npast: {UNKNOWN_EFFECT}. npast ended while this call ran; it may have done all, part or \
             nothing of its work. Look before you call it again.]"
        ),
    }
}

pub(in crate::agent) fn effect_word(effect: Effect) -> &'static str {
    match effect {
        Effect::Reads => "reads",
        Effect::Writes => "writes",
        Effect::Runs => "runs",
        Effect::Network => "network",
    }
}
