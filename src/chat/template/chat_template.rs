//! A model's chat template: how conversations become text, with what its battery found out.

use super::battery::{self, Battery, RenderMode};
use super::forms::{
    After, ChatError, Delta, Marks, Opening, RenderedReply, ReplyFormat, TemplateFrame,
};
use super::pieces::Piece;
use super::renderer::Renderer;
use crate::chat::message::Message;
use crate::chat::message::wish::ReplyWish;
use crate::llama::Apart;
use crate::llama::bridge::Template;

/// A chat template, examined.
#[derive(Debug)]
pub struct ChatTemplate {
    pub(super) engine: Renderer,
    battery: Battery,
}

impl ChatTemplate {
    /// Parses and examines a template, in this process; about 0.1 s.
    ///
    /// # Errors
    /// If the template cannot be parsed, or meets a bound of time, memory or stack. What it cannot
    /// write is in [`ChatTemplate::battery`].
    pub fn new(source: &str, marks: Marks) -> Result<ChatTemplate, ChatError> {
        let bridge = Template::new(source, &marks.bos, &marks.eos)?;
        ChatTemplate::examine(bridge, marks)
    }

    /// As [`ChatTemplate::new`], in a process of its own: for an untrusted template.
    ///
    /// # Errors
    /// As [`ChatTemplate::new`]; also where the user stops it.
    pub fn apart(source: &str, marks: Marks, apart: &Apart) -> Result<ChatTemplate, ChatError> {
        let bridge = Template::apart(source, &marks.bos, &marks.eos, apart)?;
        ChatTemplate::examine(bridge, marks)
    }

    fn examine(bridge: Template, marks: Marks) -> Result<ChatTemplate, ChatError> {
        let mut engine = Renderer::new(bridge, marks);
        let battery = battery::examine(&mut engine);
        engine.bridge.examined()?;
        Ok(ChatTemplate { engine, battery })
    }

    /// What the template can write.
    pub fn battery(&self) -> &Battery {
        &self.battery
    }

    /// The first messages of a session, up to the first reply.
    pub fn opening(&self, frame: &TemplateFrame, first: &[Message]) -> Result<Opening, ChatError> {
        self.engine.opening(frame, first, true)
    }

    /// What is appended when `messages` follow `reply`. All results of a reply come together, in
    /// call order. Cost: O(reply's calls + messages + tools).
    pub fn delta(
        &self,
        frame: &TemplateFrame,
        reply: &Message,
        messages: &[Message],
    ) -> Result<Delta, ChatError> {
        if let RenderMode::Fallback { reason } = &self.battery.mode {
            return Err(ChatError::Fallback(reason.clone()));
        }
        self.engine.delta(frame, reply, messages, true)
    }

    /// A whole conversation. Cost: O(conversation); for fallback templates and new histories.
    pub fn full(
        &self,
        frame: &TemplateFrame,
        messages: &[Message],
    ) -> Result<Vec<Piece>, ChatError> {
        self.engine.full(frame, messages, true)
    }

    /// A reply as the model would have written it after the generation prompt.
    pub fn reply(
        &self,
        frame: &TemplateFrame,
        reply: &Message,
    ) -> Result<RenderedReply, ChatError> {
        self.engine.reply(frame, reply, &self.battery.thinking)
    }

    /// Grammar and parser for the replies of a session. Cost: O(tools); worth keeping.
    pub fn format(&self, frame: &TemplateFrame, after: After) -> Result<ReplyFormat, ChatError> {
        self.format_for(frame, after, &ReplyWish::default())
    }

    /// The same for one reply with further conditions.
    pub fn format_for(
        &self,
        frame: &TemplateFrame,
        after: After,
        wish: &ReplyWish,
    ) -> Result<ReplyFormat, ChatError> {
        let mut format = self.engine.format_for(frame, after, wish)?;
        let next = &self.battery.next_messages;
        format.ends.clone_from(&format.applied.stops);
        format.ends.extend(next.iter().cloned());
        Ok(format)
    }

    /// Whether a text holds the text of a control token, or of a mark of the template.
    pub fn hostile(&self, text: &str) -> bool {
        self.engine.hostile(text)
    }

    /// The template engine's own capability map.
    pub fn caps(&self) -> std::collections::BTreeMap<String, bool> {
        self.engine.bridge.caps()
    }
}
