//! Tokens without a session: what a text is in them, and how many a conversation would have.

use serde_json::Value;

use crate::agent::engine::handle::Engine;
use crate::agent::values::error::AgentError;
use crate::chat::Message;
use crate::llama::Vocab;
use crate::session::now_ms;

use super::frame::Frozen;

impl Engine {
    /// The model's vocabulary.
    pub fn vocab(&self) -> &Vocab {
        self.shared().model.vocab()
    }

    /// How many tokens a conversation of these messages has that would start now, up to where its
    /// reply begins. Nothing of it is stored.
    ///
    /// # Errors
    /// When the template cannot write it.
    pub fn count(
        &self,
        system: Option<String>,
        tools: Option<Value>,
        messages: &[Message],
    ) -> Result<usize, AgentError> {
        let shared = self.shared();
        let thinking = shared.options.thinks();
        let (frozen, _) = Frozen::start(shared, system, tools, thinking, now_ms());
        Ok(frozen.whole(shared, messages)?.len())
    }
}
