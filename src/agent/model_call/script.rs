//! Prepared replies: a script gives the tokens of a reply instead of the sampler.

use crate::agent::conversation::handle::Conversation;
use crate::agent::engine::shared::EngineShared;
use crate::agent::frozen::frame::FrozenFrame;
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::chat::ReplyScript;
use crate::chat::script::{ScriptError, ScriptLine};
use crate::ledger::{Finish, Token};
use crate::llama::Vocab;

/// How a script is written.
const LINES: &str = "one JSON object a line: {\"text\": …} or {\"content\": …}, one line a call";

impl Conversation {
    /// The next prepared reply, as tokens.
    pub(in crate::agent) fn prepared(
        &self,
        script: &mut ReplyScript,
    ) -> Result<(Vec<Token>, Finish), AgentError> {
        let scripted =
            |e: ScriptError| AgentError::new(ErrorKind::Script, e.to_string()).hinted(LINES);
        let line = script.next_main().map_err(scripted)?;
        self.prepared_after(&line, &self.ledger)
    }

    /// A prepared reply after other tokens, and how it ends.
    pub(in crate::agent) fn prepared_after(
        &self,
        line: &ScriptLine,
        before: &[Token],
    ) -> Result<(Vec<Token>, Finish), AgentError> {
        prepared_with(&self.frozen, &self.shared, line, before)
    }
}

/// A prepared reply after other tokens, and how it ends.
pub(in crate::agent) fn prepared_with(
    frozen: &FrozenFrame,
    shared: &EngineShared,
    line: &ScriptLine,
    before: &[Token],
) -> Result<(Vec<Token>, Finish), AgentError> {
    let scripted = |e: ScriptError| AgentError::new(ErrorKind::Script, e.to_string()).hinted(LINES);
    let sampled = frozen.sampled(shared, line).map_err(scripted)?;
    let vocab = shared.model.vocab();
    let mut tokens = FrozenFrame::continuation(shared, before, "", sampled.pieces)?;
    if let Some(finish) = line.finish {
        return Ok((tokens, finish));
    }
    match sampled.end_of_turn.as_deref() {
        Some("") | None => tokens.extend(vocab.eos()),
        Some(end) => tokens.extend(tokenized(vocab, end)?),
    }
    Ok((tokens, Finish::Stop))
}

pub(in crate::agent) fn tokenized(vocab: &Vocab, text: &str) -> Result<Vec<Token>, AgentError> {
    vocab
        .tokenize(text, true)
        .map_err(|e| AgentError::new(ErrorKind::Script, e.to_string()))
}
