//! The tokens of new messages, and where they go. What was decoded stays (law 1): only what follows is
//! rendered.

use crate::agent::conversation::handle::Conversation;
use crate::agent::frozen::frame::FrozenFrame;
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::chat::Message;
use crate::ledger::{Finish, Token, common_prefix};
use crate::session::Span;

use super::appended::Tokens;

impl Conversation {
    /// Where the tokens of new messages go, and the tokens.
    pub(in crate::agent) fn tokens_of(
        &mut self,
        new: &[Message],
        kept: usize,
    ) -> Result<Tokens, AgentError> {
        let shared = self.shared.clone();
        let Some((row, reply)) = self.last_reply() else {
            let tokens = self.frozen.opening(&shared, new)?;
            let head = self.row.head;
            if !tokens.starts_with(&self.ledger[..head]) {
                return Err(AgentError::new(
                    ErrorKind::Template,
                    "the template writes another system prompt for this first message",
                )
                .hinted("give another template with --chat-template @FILE"));
            }
            return Ok(Tokens::at(head, tokens[head..].to_vec()));
        };
        let row = row.clone();
        if let Some(why) = self.whole_renderings() {
            let mut messages = self.canonical()?;
            messages.truncate(messages.len() - self.open_messages().count());
            messages.extend_from_slice(new);
            let tokens = self.frozen.whole(&shared, &messages)?;
            let same = common_prefix(&self.ledger[..kept], &tokens);
            // A pending end of turn may take another form; what was decoded may not in silence.
            let broken = (same < kept.min(self.ledger.decoded())).then_some((same, why));
            let tokens = tokens[same..].to_vec();
            return Ok(Tokens {
                broken,
                ..Tokens::at(same, tokens)
            });
        }
        self.tokens_behind(&row, &reply, new, kept)
    }

    /// Where the tokens of new messages after a reply of the ledger go, and the tokens. `kept` is where
    /// the ledger ends for them, behind that reply.
    pub(in crate::agent) fn tokens_behind(
        &mut self,
        row: &crate::session::StoredMessage,
        reply: &Message,
        new: &[Message],
        kept: usize,
    ) -> Result<Tokens, AgentError> {
        let ledger = self.ledger.shared();
        let kept = kept.min(ledger.len());
        let span = row.span.unwrap_or(Span {
            start: kept,
            end: kept,
        });
        self.tokens_after(&ledger[..kept], reply, row.finish, span, new)
    }

    /// Where the tokens of new messages go behind a ledger whose last reply has this finish and span,
    /// and the tokens. Costs O(new).
    pub(in crate::agent) fn tokens_after(
        &mut self,
        ledger: &[Token],
        reply: &Message,
        finish: Option<Finish>,
        span: Span,
        new: &[Message],
    ) -> Result<Tokens, AgentError> {
        let (shared, kept, reply_end) = (self.shared.clone(), ledger.len(), span.end);
        let delta = self.frozen.delta(&shared, reply, new)?;
        let closed = matches!(finish, Some(Finish::Stop | Finish::ToolCalls));
        // The reply's own last token is looked at: is it an end of turn?
        let last = ledger.last().copied();
        if closed && kept == reply_end && kept > 0 {
            // It was sampled and not decoded; it takes the form that history has (and has it
            // already where a message after it was cut off again).
            let text = &ledger[..kept - 1];
            let tokens = FrozenFrame::continuation(&shared, text, "", delta.pieces.clone())?;
            if tokens.first() == last.as_ref() {
                return Ok(Tokens::at(kept, tokens[1..].to_vec()));
            }
            if last.is_some_and(|t| shared.model.vocab().is_end(t)) {
                return Ok(Tokens::at(kept - 1, tokens));
            }
        }
        // A reply that was cut is closed first: open reasoning, then what stands before the end.
        let mut before = String::new();
        if !closed {
            if self.reasoning_open(span)? {
                before.push_str(&shared.template.battery().thinking.close);
            }
            before.push_str(&delta.closing);
        }
        let tokens = FrozenFrame::continuation(&shared, ledger, &before, delta.pieces)?;
        Ok(Tokens::at(kept, tokens))
    }

    /// Whether a reply's tokens end inside its reasoning.
    fn reasoning_open(&mut self, span: Span) -> Result<bool, AgentError> {
        let after = self.after_last_input();
        let raw = self.raw_text(&self.ledger[span.start..span.end.min(self.ledger.len())]);
        let prompt = self.format(after)?.applied.generation_prompt.clone();
        Ok(self
            .shared
            .template
            .battery()
            .thinking
            .opens(&(prompt + &raw)))
    }
}
