//! Results that became lines: each is whole in a file of the session's temporary folder. A line names the
//! file by a short path (`result:17`), for the model reads the line again and again; `read_file` and `search`
//! take it. The file is written again where it is gone, as long as npast.db has the message of the result.

use std::path::Path;

use serde_json::Value;

use crate::agent::conversation::handle::Conversation;
use crate::agent::conversation::stored::text_of;
use crate::chat::Message;
use crate::chat::message::{Role, ToolCall};
use crate::durable::{self, Attributes, Links};
use crate::session::MessageId;

use super::toolset::Toolset;

/// How a short path begins, before the number of the message that had the result.
const BEGINS: &str = "result:";

/// Tools that take a short path.
const READERS: [&str; 2] = ["read_file", "search"];

impl Conversation {
    /// The arguments of a call as its tool takes them: of the types that its schema names, and with the path of
    /// a result's file in the place of the short path, where a line of this conversation has that.
    pub(in crate::agent) fn arguments_of(&self, call: &ToolCall, tools: &Toolset<'_>) -> Value {
        let mut arguments = tools.registry.coerced(&call.name, &call.arguments);
        if READERS.contains(&call.name.as_str())
            && let Some(path) = arguments.get_mut("path")
            && let Some(message) = path.as_str().and_then(message_of)
            && self.has_line_of(message)
        {
            self.bring_back(&tools.temp, message);
            *path = Value::from(tools.temp.join(file(message)).to_string_lossy());
        }
        arguments
    }

    /// Whether a line of this conversation stands for the result of that message.
    fn has_line_of(&self, message: MessageId) -> bool {
        let line = line_begins(message);
        let tool = |m: &&crate::session::StoredMessage| m.role == "tool";
        let mut results = self.messages.iter().filter(tool);
        results.any(|m| text_of(&m.body).starts_with(&line))
    }

    /// Writes the file of a result again where it is gone, is not what the result was, or lies with the session
    /// that this one was forked from. Where that cannot be, the tool finds what is there.
    fn bring_back(&self, temp: &Path, message: MessageId) {
        let kept = self.db.earlier_message(self.row.id, message);
        let kept = kept.map(|body| body.and_then(|body| Message::from_json(&body).ok()));
        let written = match kept {
            Ok(Some(result)) if result.role == Role::Tool => keep(temp, message, &result.text),
            Ok(_) => return,
            Err(error) => Err(std::io::Error::other(error)),
        };
        if let Err(error) = written {
            tracing::warn!(%error, "a result that became a line is not written again");
        }
    }
}

/// How the line begins that stands for the result of a message, where the result has a file.
pub(in crate::agent) fn line_begins(message: MessageId) -> String {
    format!("[npast: path {BEGINS}{} has ", message.0)
}

/// The message whose result a short path names; nothing for any other path.
fn message_of(path: &str) -> Option<MessageId> {
    let number = path.strip_prefix(BEGINS)?;
    let plain = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
    number.parse().ok().filter(|_| plain).map(MessageId)
}

fn file(message: MessageId) -> String {
    format!("result-kept-{}.txt", message.0)
}

/// Writes the result that stands in a message: whole and durable, or not at all. A file that holds it already
/// stays. Another one goes: npast.db gives a message's number again only when no conversation names it.
///
/// # Errors
/// The error of the operating system; nothing new is there.
pub(in crate::agent) fn keep(temp: &Path, message: MessageId, text: &str) -> std::io::Result<()> {
    let path = temp.join(file(message));
    let there = path.symlink_metadata();
    if there.is_ok_and(|there| there.is_file() && there.len() == text.len() as u64)
        && std::fs::read(&path).is_ok_and(|there| there == text.as_bytes())
    {
        return Ok(());
    }
    match durable::replace(&path, text.as_bytes(), Attributes::Private, Links::Refuse) {
        // A power cut takes the new conversation's name for it with it.
        Ok(()) | Err(durable::ReplaceError::Unsynced(_)) => Ok(()),
        Err(durable::ReplaceError::Unchanged(error)) => Err(error),
        Err(durable::ReplaceError::Torn { source, .. }) => Err(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_path_names_its_result_and_nothing_else_does() {
        assert_eq!(message_of("result:17"), Some(MessageId(17)));
        for other in [
            "result:",
            "result:-1",
            "result:+1",
            "result:017",
            "result:1x",
            "result:../x",
            "result:1/../x",
            "result: 1",
            "./result:1",
            "result:99999999999999999999",
            "src/main.rs",
            "",
        ] {
            assert_eq!(message_of(other), None, "{other}");
        }
    }

    #[test]
    fn whatever_was_left_in_its_place_a_result_is_written_whole() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("result-kept-1.txt");
        // Of a write that a kill ended, and of a conversation that is gone.
        for left in ["hal", "as long it", "half of it"] {
            std::fs::write(&path, left).unwrap();
            keep(temp.path(), MessageId(1), "half of it").unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"half of it");
        }
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
    }
}
