//! The instruction for the summary, and the note that a compressed conversation has about itself. All of it is plain
//! content: control text in it is ordinary text (law 9).

use serde_json::{Value, json};

use crate::agent::conversation::stored::{FIELD, is_handover, text_of};
use crate::chat::Message;
use crate::session;
use crate::tools::{TodoItem, TodoState, plan_text, plan_value};

/// Most files that are named, of those read and of those changed.
const MOST_FILES: usize = 40;

/// How many messages at the beginning are an earlier hand-over with what stands before it.
pub(in crate::agent) fn summary_end(messages: &[session::StoredMessage]) -> usize {
    let last = messages.iter().rposition(|m| m.body.get(FIELD).is_some());
    last.map_or(0, |at| at + 1)
}

/// The instruction, a user message, for a summary of at most about `words` words.
pub(in crate::agent) fn instruction(words: usize, topic: Option<&str>, earlier: bool) -> Message {
    let mut text = format!(
        "[npast: the context is nearly full.] Write the hand-over from which you will go on when all of \
         the above is gone. Call no tool. Write in the language that the user writes in, at most {words} \
         words, under these headings; write \"none\" where there is nothing:\n\
         Goal\n\
         Constraints the user gave, word for word\n\
         Done\n\
         State of the work\n\
         Decisions\n\
         Errors and fixes\n\
         Open questions\n\
         Files that matter\n\
         Next step"
    );
    if earlier {
        text.push_str(
            "\nAn earlier hand-over stands above. Take over what still holds of it: yours replaces it.",
        );
    }
    if let Some(topic) = topic {
        text.push_str(&format!("\nGive most room to this: {topic}"));
    }
    Message::user(text)
}

/// What stands before the summary in a compressed conversation.
pub(in crate::agent) struct Note {
    plan: Vec<TodoItem>,
    read: Vec<String>,
    changed: Vec<String>,
    /// The last user message, where it is not kept as a message of its own.
    quoted: Option<String>,
}

impl Note {
    /// Of the messages that are summarized, the plan as it is now, and a user message to be quoted.
    pub fn of(
        gone: &[session::StoredMessage],
        plan: Vec<TodoItem>,
        quoted: Option<String>,
    ) -> Note {
        let mut note = Note {
            plan: plan
                .into_iter()
                .filter(|item| item.state != TodoState::Done)
                .collect(),
            read: Vec::new(),
            changed: Vec::new(),
            quoted,
        };
        for message in gone {
            if let Some(earlier) = message.body.get(FIELD) {
                for (list, key) in [(&mut note.read, "read"), (&mut note.changed, "changed")] {
                    let paths = earlier[key].as_array().into_iter().flatten();
                    paths
                        .filter_map(Value::as_str)
                        .for_each(|path| add(list, path));
                }
            }
            let calls = Message::from_json(&message.body)
                .map(|m| m.calls)
                .unwrap_or_default();
            for call in calls {
                let Some(path) = call.arguments.get("path").and_then(Value::as_str) else {
                    continue;
                };
                match call.name.as_str() {
                    "read_file" => add(&mut note.read, path),
                    "edit_file" | "write_file" => add(&mut note.changed, path),
                    _ => {}
                }
            }
        }
        note
    }

    /// The message.
    pub fn message(&self) -> Message {
        let mut text =
            "[npast: what was said up to here does not fit into the context any more. Your \
                        hand-over follows, then the last messages word for word.]"
                .to_owned();
        if !self.plan.is_empty() {
            text.push_str(&format!(
                "\n\nOpen steps of the plan:\n{}",
                plan_text(&self.plan)
            ));
        }
        for (title, list) in [("Files read", &self.read), ("Files changed", &self.changed)] {
            if !list.is_empty() {
                text.push_str(&format!("\n\n{title}: {}", list.join(", ")));
            }
        }
        if let Some(quoted) = &self.quoted {
            text.push_str(&format!("\n\nThe user's last message:\n{quoted}"));
        }
        Message::user(text)
    }

    /// Its stored body.
    pub fn body(&self) -> Value {
        let mut body = self.message().to_json();
        body[FIELD] = json!({
            "plan": plan_value(&self.plan), "read": self.read, "changed": self.changed,
        });
        body
    }
}

/// The stored body of the summary behind the note.
pub(in crate::agent) fn summary_body(summary: &Message) -> Value {
    let mut body = summary.to_json();
    body[FIELD] = json!({});
    body
}

/// The text of an earlier summary among these messages.
pub(in crate::agent) fn earlier(gone: &[session::StoredMessage]) -> Option<&str> {
    let last = gone
        .iter()
        .rfind(|m| is_handover(m) && m.role == "assistant")?;
    Some(text_of(&last.body))
}

/// Adds a path as the latest, once.
fn add(list: &mut Vec<String>, path: &str) {
    list.retain(|known| known != path);
    list.push(path.to_owned());
    if list.len() > MOST_FILES {
        list.remove(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::tool_calls::plan::plan_in;
    use crate::session::{MessageId, MessageState};

    fn stored(body: Value) -> session::StoredMessage {
        session::StoredMessage {
            id: MessageId(0),
            seq: 0,
            role: body["role"].as_str().unwrap().to_owned(),
            body,
            state: MessageState::Answered,
            finish: None,
            span: None,
            created_ms: 0,
            trail: None,
        }
    }

    fn called(name: &str, path: &str) -> session::StoredMessage {
        let arguments = json!({"path": path}).to_string();
        let call = json!({"id": "", "function": {"name": name, "arguments": arguments}});
        stored(json!({"role": "assistant", "content": "", "tool_calls": [call]}))
    }

    #[test]
    fn a_note_takes_over_the_files_and_the_plan_of_the_one_before_and_does_not_nest_it() {
        let step = |text: &str, state| TodoItem {
            text: text.to_owned(),
            state,
        };
        let plan = vec![
            step("read", TodoState::Done),
            step("write", TodoState::Doing),
        ];
        let gone = [
            called("read_file", "a.rs"),
            called("edit_file", "b.rs"),
            called("read_file", "c.rs"),
        ];
        let first = Note::of(&gone, plan.clone(), None);
        let body = first.body();
        assert_eq!(plan_in(&body), Some(vec![plan[1].clone()]));
        let messages = [
            stored(body),
            stored(summary_body(&Message::assistant("Goal: a parser."))),
            called("read_file", "a.rs"),
            called("write_file", "d.rs"),
        ];
        assert_eq!(summary_end(&messages), 2);
        assert_eq!(earlier(&messages), Some("Goal: a parser."));
        let note = Note::of(&messages, plan, Some("And now?".to_owned()));
        let text = note.message().text;
        assert_eq!(
            text,
            "[npast: what was said up to here does not fit into the context any more. Your hand-over \
             follows, then the last messages word for word.]\n\nOpen steps of the plan:\n[>] write\n\n\
             Files read: c.rs, a.rs\n\nFiles changed: b.rs, d.rs\n\nThe user's last message:\nAnd now?"
        );
    }

    #[test]
    fn the_instruction_names_every_section_and_what_is_asked_for_beside() {
        let text = instruction(100, Some("the lexer"), true).text;
        for words in [
            "Goal",
            "word for word",
            "Done",
            "State of the work",
            "Decisions",
            "Errors and fixes",
            "Open questions",
            "Files that matter",
            "Next step",
            "100 words",
            "the language",
            "yours replaces it",
            "to this: the lexer",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(
            !instruction(100, None, false)
                .text
                .contains("earlier hand-over")
        );
    }
}
