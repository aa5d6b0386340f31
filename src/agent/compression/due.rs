//! When a conversation is compressed by itself: it is longer than its threshold, or an input does not fit.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::agent::conversation::handle::Conversation;
use crate::agent::tool_calls::toolset::Toolset;
use crate::agent::values::error::AgentError;
use crate::agent::values::event::On;
use crate::agent::values::options::TurnOptions;
use crate::chat::ReplyScript;
use crate::chat::message::Message;

use super::sizes::{CompressionCause, Sizes};

impl Conversation {
    /// Whether the conversation has come to the length at which it is compressed by itself. Not again
    /// where that was refused and it has hardly grown since.
    pub(in crate::agent) fn compression_due(&self, options: &TurnOptions) -> bool {
        let Some(compress) = options.compress else {
            return false;
        };
        let (limit, len) = (self.shared.limit, self.ledger.len());
        // Until another reply is there the one before may have to be put back.
        if self.replacing {
            return false;
        }
        let grown = self
            .refused
            .is_none_or(|(id, at)| id != self.row.id || len >= at + limit / 20);
        len >= Sizes::of(limit, compress).due && grown
    }

    /// Whether a tenth of the context is left for a reply.
    pub(in crate::agent) fn has_room(&self) -> bool {
        let limit = self.shared.limit;
        self.ledger.len() + limit / 10 <= limit
    }

    /// Compresses it if that is due. Whether it was.
    pub(in crate::agent) fn compress_when_due(
        &mut self,
        options: &TurnOptions,
        tools: Option<&mut Toolset<'_>>,
        mut script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<bool, AgentError> {
        if !self.compression_due(options) {
            return Ok(false);
        }
        // The first resort. What it saves may be enough.
        let pruned = match options.compress.filter(|c| c.prune) {
            Some(compress) => self.prune_once(compress, false, cancel, &mut *on)?.is_ok(),
            None => false,
        };
        if pruned && !self.compression_due(options) {
            return Ok(true);
        }
        // Hardly anything more fits.
        let full = self.ledger.len() + 64 >= self.shared.limit;
        let need = if full {
            CompressionCause::Full
        } else {
            CompressionCause::Due
        };
        let flushed = self.flush_memory(options, tools, script.as_deref_mut(), cancel, &mut *on)?;
        if flushed.is_err() {
            return Ok(pruned);
        }
        let done = self.compress_now(need, None, options, script, cancel, on)?;
        Ok(done.is_ok() || pruned)
    }

    /// An input did not fit. Compresses the conversation where the input can fit afterwards; whether it
    /// was.
    pub(in crate::agent) fn compress_for(
        &mut self,
        input: &[Message],
        options: &TurnOptions,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<bool, AgentError> {
        let Some(compress) = options.compress.filter(|_| !self.replacing) else {
            return Ok(false);
        };
        let vocab = self.shared.model.vocab();
        let tokens = |m: &Message| {
            vocab
                .tokenize(&m.text, false)
                .map_or(usize::MAX, |t| t.len())
        };
        let needed = input.iter().map(tokens).fold(0, usize::saturating_add);
        // The first resort.
        if compress.prune
            && self.prune_once(compress, false, cancel, &mut *on)?.is_ok()
            && self.ledger.len().saturating_add(needed) + 64 <= self.shared.limit
        {
            return Ok(true);
        }
        let sizes = Sizes::of(self.shared.limit, compress);
        let rest = self.row.head + sizes.summary + sizes.tail + 64;
        if needed.saturating_add(rest) > self.shared.limit {
            return Ok(false);
        }
        let done = self.compress_now(CompressionCause::Full, None, options, script, cancel, on)?;
        Ok(done.is_ok())
    }
}
