//! Without a session: what a text is in tokens, how many tokens a conversation would have, which tools the
//! model could be offered.

use serde_json::Value;

use crate::agent::engine::handle::Engine;
use crate::agent::values::error::AgentError;
use crate::agent::values::notice::Notice;
use crate::agent::values::options::AgentSetup;
use crate::chat::Message;
use crate::chat::template::TemplateFrame;
use crate::llama::Vocab;
use crate::session::now_ms;

use super::frame::FrozenFrame;
use super::maker::Maker;

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
        let (frozen, _) = FrozenFrame::start(shared, system, tools, None, thinking, now_ms());
        Ok(frozen.whole(shared, messages)?.len())
    }

    /// The tools of a session that would start now as its model can be offered them, and what there
    /// is to say of them.
    pub fn offered(&self, setup: &AgentSetup) -> (Option<Value>, Vec<Notice>) {
        Maker::of(self.shared()).freeze(&TemplateFrame {
            system: Some(setup.system.clone()),
            tools: Some(setup.tools.clone()),
            thinking: self.shared().options.thinks(),
            ..TemplateFrame::default()
        })
    }
}
