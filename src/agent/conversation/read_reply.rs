//! How the replies of a conversation are read: their formats, and a message from a reply's tokens. The
//! tokens are the truth; the text is read from them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::agent::values::error::{AgentError, ErrorKind};
use crate::chat::Message;
use crate::chat::reply::ReplyReader;
use crate::chat::stream::StopHold;
use crate::chat::template::{After, ReplyFormat};
use crate::chat::wish::ReplyWish;
use crate::ledger::Token;

use super::handle::Conversation;

pub(in crate::agent) fn bridge(error: crate::llama::bridge::BridgeError) -> AgentError {
    AgentError::new(ErrorKind::Template, error.to_string())
}

pub(in crate::agent) fn stops_error(error: impl std::fmt::Display) -> AgentError {
    AgentError::new(
        ErrorKind::Input,
        format!("these stop strings cannot be searched: {error}"),
    )
}

impl Conversation {
    /// The format of replies; made once for each kind of input.
    pub(in crate::agent) fn format(&mut self, after: After) -> Result<&ReplyFormat, AgentError> {
        let made = self.format_unless(after, &Arc::default())?;
        match made {
            Some(format) => Ok(format),
            None => unreachable!("nobody cancels it"),
        }
    }

    /// The format of replies; nothing where `cancel` came first.
    pub(in crate::agent) fn format_unless(
        &mut self,
        after: After,
        cancel: &Arc<AtomicBool>,
    ) -> Result<Option<&ReplyFormat>, AgentError> {
        let made = self
            .formats
            .make(&self.frozen, &self.shared, after, cancel)?;
        self.notices.extend(made);
        Ok(self.formats.get(after))
    }

    /// The format of one reply with further conditions; `None` when `cancel` came first. The last one is
    /// cached: a program sends the same conditions with many requests.
    ///
    /// # Errors
    /// When no grammar holds the reply to it.
    pub(in crate::agent) fn wished(
        &mut self,
        after: After,
        wish: &ReplyWish,
        cancel: &AtomicBool,
    ) -> Result<Option<ReplyFormat>, AgentError> {
        let asked = (after, wish);
        self.formats
            .wished(&self.frozen, &self.shared, asked, cancel)
    }

    /// The text of a reply's tokens, markup included, without its end of turn.
    pub(in crate::agent) fn raw_text(&self, tokens: &[Token]) -> String {
        let vocab = self.shared.model.vocab();
        let body = match tokens.split_last() {
            Some((last, body)) if vocab.is_end(*last) => body,
            _ => tokens,
        };
        String::from_utf8_lossy(&vocab.bytes(body, true)).into_owned()
    }

    /// A message from a reply's tokens.
    pub(in crate::agent) fn read_reply(
        &mut self,
        tokens: &[Token],
        after: After,
        cut: bool,
    ) -> Result<Message, AgentError> {
        let raw = self.raw_text(tokens);
        let (seed, answered) = (self.row.seed, self.row.runs_tools);
        read_as(self.format(after)?, &raw, seed, answered, cut)
    }
}

/// A message from the text of a whole reply, markup included. `answered`: npast answers its calls itself.
pub(in crate::agent) fn read_as(
    format: &ReplyFormat,
    raw: &str,
    seed: u64,
    answered: bool,
    cut: bool,
) -> Result<Message, AgentError> {
    let reader = ReplyReader::new(format).map_err(bridge)?;
    let mut reader = reader.answering_attempts(answered);
    let mut ends = StopHold::new(&format.ends).map_err(stops_error)?;
    let read = ends.feed(raw);
    reader.push(&read.text);
    reader.push(&ends.finish());
    Ok(reader.finish(cut && read.found.is_none(), seed).1)
}
