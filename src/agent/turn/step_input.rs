//! The input of a step becomes durable. A conversation that it makes too long is compressed first; results
//! that do not fit all the same are made short.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::agent::conversation::handle::Conversation;
use crate::agent::input::appended::Appended;
use crate::agent::tool_calls::toolset::Toolset;
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::agent::values::event::On;
use crate::agent::values::options::{Input, TurnOptions};
use crate::chat::message::Role;
use crate::chat::{Message, ReplyScript};

impl Conversation {
    /// Makes the input of a step durable. A conversation that it makes too long is compressed; results
    /// that do not fit all the same are replaced by a sentence.
    pub(in crate::agent) fn append_step(
        &mut self,
        input: Input,
        options: &TurnOptions,
        tools: Option<&mut Toolset<'_>>,
        mut script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Appended, AgentError> {
        let new = match &input {
            Input::Text(text) => vec![Message::user(text)],
            Input::Messages(all) => all.clone(),
            Input::Open | Input::Continue => Vec::new(),
        };
        let mut appended = self.append(input.clone());
        if appended.as_ref().is_err_and(|e| e.is(ErrorKind::TooLong))
            && self.compress_for(&new, options, script.as_deref_mut(), cancel, on)?
        {
            appended = self.append(input.clone());
        }
        let appended = match appended {
            Err(e) if e.is(ErrorKind::TooLong) => self.append_shortened(e, input)?,
            appended => appended?,
        };
        // The answer to a message comes first, where there is room for one.
        let results = new.iter().any(|m| m.role == Role::Tool);
        let now = results || !self.has_room();
        let now = now && !appended.continued;
        if !now || !self.compress_when_due(options, tools, script, cancel, on)? {
            return Ok(appended);
        }
        // The inputs went along without tokens; they get them now.
        let again = self.append(Input::Open)?;
        Ok(Appended {
            text: appended.text,
            ..again
        })
    }

    /// An input that did not fit, with its results made short.
    fn append_shortened(
        &mut self,
        error: AgentError,
        input: Input,
    ) -> Result<Appended, AgentError> {
        let Input::Messages(all) = input else {
            return Err(error);
        };
        if self.unanswered().is_none() || !all.iter().any(|m| m.role == Role::Tool) {
            return Err(error);
        }
        self.notices.push((
            "the results of the last calls do not fit into the context; a sentence takes the place of each"
                .into(),
            Some(self.shared.room_hint(
                "compress the conversation, take turns back, or start a new session",
            )),
        ));
        self.append(Input::Messages(all.into_iter().map(shortened).collect()))
    }
}

/// A result that did not fit.
fn shortened(mut message: Message) -> Message {
    if message.role == Role::Tool && message.text.len() > 200 {
        message.text = format!(
            "[npast: this result of {} bytes does not fit: the context is nearly full. Answer with \
             what you have.]",
            message.text.len()
        );
    }
    message
}
