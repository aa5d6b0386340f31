//! The template engine with the substitutes in force. The battery tries substitutes on it; `delta` renders
//! with it.

use std::borrow::Cow;

use aho_corasick::AhoCorasick;
use serde_json::{Value, json};

use super::adapt::Substitutes;
use super::forms::{Marks, TemplateFrame};
use crate::llama::bridge::Template;

/// The template with the plan in force; the battery tries plans on it.
#[derive(Debug)]
pub(super) struct Renderer {
    pub bridge: Template,
    pub marks: Marks,
    pub plan: Substitutes,
    /// The end of turn of plain replies, where it is no end-of-generation token.
    pub turn_end: Option<String>,
    control: Option<AhoCorasick>,
}

impl Renderer {
    pub fn new(bridge: Template, marks: Marks) -> Renderer {
        // SentencePiece has `▁` for a space, and puts one before a text.
        let texts = marks.control.iter().map(|t| spaced(t).trim().to_owned());
        let control = AhoCorasick::new(texts.filter(|t| !t.is_empty())).ok();
        Renderer {
            bridge,
            marks,
            plan: Substitutes::default(),
            turn_end: None,
            control,
        }
    }

    /// Whether a text holds the text of a control token or a mark, as it is or as a vocabulary
    /// that escapes spaces reads it.
    pub fn hostile(&self, text: &str) -> bool {
        let control = self.control.as_ref();
        control.is_some_and(|c| c.is_match(spaced(text).as_ref()))
    }

    pub fn request(
        &self,
        frame: &TemplateFrame,
        tools: Option<&Value>,
        messages: Vec<Value>,
        generation: bool,
    ) -> Value {
        let mut request = json!({
            "messages": messages,
            "add_generation_prompt": generation,
            "enable_thinking": frame.thinking,
            "now_ms": frame.started_ms,
            "kwargs": frame.kwargs,
            "parallel_tool_calls": !self.plan.results_one_by_one,
        });
        if let Some(tools) = tools {
            request["tools"] = tools.clone();
        }
        request
    }
}

/// A text with spaces for `▁`.
fn spaced(text: &str) -> Cow<'_, str> {
    match text.contains('▁') {
        true => Cow::Owned(text.replace('▁', " ")),
        false => Cow::Borrowed(text),
    }
}
