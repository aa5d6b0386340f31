//! What the messages of a conversation say of where it stands: which are open, what the last reply is and
//! whether it was cut.

use crate::agent::engine::model_files::file_name;
use crate::agent::values::error::AgentError;
use crate::agent::values::options::Policy;
use crate::agent::values::outcome::{Info, LastExchange};
use crate::chat::Message;
use crate::chat::battery::RenderMode;
use crate::chat::template::After;
use crate::ledger::Finish;
use crate::session::{self, MessageState};

use super::handle::Conversation;
use super::stored::{is_handover, text_of};

/// Bytes of a message that are shown to whoever comes back.
const SHOWN: usize = 16 * 1024;

/// The beginning of a long text.
fn start_of(text: &str) -> &str {
    let mut ends = (0..=SHOWN.min(text.len())).rev();
    let end = ends.find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

/// The end of a long text.
fn end_of(text: &str) -> &str {
    let mut starts = text.len().saturating_sub(SHOWN)..=text.len();
    let from = starts.find(|at| text.is_char_boundary(*at));
    &text[from.unwrap_or(0)..]
}

impl Conversation {
    /// What it is.
    pub fn info(&self) -> Info {
        let said = |m: &session::StoredMessage| match m.role == "tool" {
            true => "(results of calls)".to_owned(),
            false => text_of(&m.body).to_owned(),
        };
        let mut open: Vec<String> = self.open_messages().map(said).collect();
        open.dedup();
        Info {
            id: self.row.id.0,
            name: self.row.name.clone(),
            resumed: self.resumed,
            model: file_name(&self.shared.options.model),
            class: self.shared.class,
            context: self.ledger.len(),
            open_message: (!open.is_empty()).then(|| open.join("\n\n")),
            unfinished: self.unfinished(),
            runs_tools: self.row.runs_tools,
            folder: self.row.folder.clone(),
        }
    }

    /// Messages at the end that have no answer yet.
    pub(in crate::agent) fn open_messages(&self) -> impl Iterator<Item = &session::StoredMessage> {
        let from = self
            .messages
            .iter()
            .rposition(|m| m.state != MessageState::Open)
            .map_or(0, |i| i + 1);
        self.messages[from..].iter()
    }

    /// Whether the last reply ended before its end of turn, and the ledger ends with it.
    pub(in crate::agent) fn unfinished(&self) -> bool {
        self.messages.last().is_some_and(|m| {
            m.role == "assistant"
                && m.span.is_some_and(|s| s.end == self.ledger.len())
                && !matches!(m.finish, Some(Finish::Stop | Finish::ToolCalls) | None)
        })
    }

    /// What was said last, as far as people read it when they come back; nothing where nobody spoke yet.
    pub fn last_exchange(&self) -> Option<LastExchange> {
        let spoken = |m: &&session::StoredMessage| m.role == "user" && !is_handover(m);
        let at = self.messages.iter().rposition(|m| spoken(&m))?;
        let replies = self.messages[at..].iter().filter(|m| m.role == "assistant");
        let mut exchange = LastExchange {
            said: start_of(text_of(&self.messages[at].body)).to_owned(),
            turns: self.messages.iter().filter(spoken).count(),
            ..LastExchange::default()
        };
        for reply in replies {
            exchange.finish = reply.finish;
            exchange.calls += reply.body["tool_calls"].as_array().map_or(0, Vec::len);
            let text = text_of(&reply.body).trim();
            if !text.is_empty() {
                exchange.reply = end_of(text).to_owned();
            }
        }
        Some(exchange)
    }

    /// The last reply, as the model wrote it.
    pub(in crate::agent) fn last_reply(&self) -> Option<(&session::StoredMessage, Message)> {
        let row = self.messages.iter().rfind(|m| m.role == "assistant")?;
        Some((row, Message::from_json(&row.body).ok()?))
    }

    /// All messages in canonical form.
    ///
    /// # Errors
    /// When a stored body is not a message.
    pub(in crate::agent) fn canonical(&self) -> Result<Vec<Message>, AgentError> {
        self.messages
            .iter()
            .map(|m| Message::from_json(&m.body).map_err(AgentError::from))
            .collect()
    }

    /// How the messages are written: by deltas, or whole each time and why.
    pub(in crate::agent) fn whole_renderings(&self) -> Option<String> {
        let battery = self.shared.template.battery();
        if let RenderMode::Fallback { reason } = &battery.mode {
            return Some(format!(
                "this template can only be rendered whole ({reason})"
            ));
        }
        let template = Policy::parse(&self.row.policy) == Some(Policy::Template);
        (template && battery.thinking.dropped)
            .then(|| "the template drops earlier thinking (history policy template)".to_owned())
    }

    /// What the last reply came after, or the next one will.
    pub(in crate::agent) fn after_last_input(&self) -> After {
        let last = self.messages.iter().rfind(|m| m.role != "assistant");
        match last.is_some_and(|m| m.role == "tool") {
            true => After::Results,
            false => After::User,
        }
    }

    /// How many messages there are up to the last reply.
    pub(in crate::agent) fn answered(&self) -> usize {
        let last = self.messages.iter().rposition(|m| m.role == "assistant");
        last.map_or(0, |at| at + 1)
    }

    /// Where the ledger of those ends.
    pub(in crate::agent) fn answered_end(&self) -> usize {
        let open = self.messages[self.answered()..].iter().find_map(|m| m.span);
        open.map_or(self.ledger.len(), |s| s.start)
    }
}
