//! A summary without a model: first lines and the calls of tools. It is used where the context is full
//! and the model wrote no summary that can be used.

use crate::agent::conversation::stored::{is_handover, text_of};
use crate::chat::Message;
use crate::session;

use super::note::earlier;

/// Characters of one line.
const LINE: usize = 160;

/// Summarizes messages in at most about `most` characters; of what is too much, the oldest goes.
pub(in crate::agent) fn plain(gone: &[session::StoredMessage], most: usize) -> String {
    let mut lines = Vec::new();
    let mut called: Vec<String> = Vec::new();
    for message in gone.iter().filter(|m| !is_handover(m)) {
        let first = first_line(text_of(&message.body));
        match message.role.as_str() {
            "user" => lines.push(format!("The user: {first}")),
            "assistant" => {
                let calls = Message::from_json(&message.body).map(|m| m.calls);
                called = calls
                    .unwrap_or_default()
                    .iter()
                    .map(|call| first_line(&format!("{} {}", call.name, call.arguments)))
                    .collect();
                called.reverse();
                if !first.is_empty() {
                    lines.push(format!("Answer: {first}"));
                }
            }
            _ => {
                let call = called.pop().unwrap_or_default();
                lines.push(format!("Call: {call}: {first}"));
            }
        }
    }
    let mut head =
        "This was put together without the model: the first lines of what was said.".to_owned();
    if let Some(before) = earlier(gone) {
        head.push_str(&format!("\n{}", cut(before, most / 2)));
    }
    let mut left = most.saturating_sub(head.chars().count());
    let mut kept = Vec::new();
    for line in lines.iter().rev() {
        let takes = line.chars().count() + 1;
        if takes > left {
            break;
        }
        left -= takes;
        kept.push(line);
    }
    kept.reverse();
    if kept.len() < lines.len() {
        head.push_str(&format!(
            "\n(earlier: {} lines left out)",
            lines.len() - kept.len()
        ));
    }
    for line in kept {
        head.push('\n');
        head.push_str(line);
    }
    head
}

/// The first line with something in it, cut.
fn first_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    cut(line.unwrap_or_default(), LINE)
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::session::{MessageId, MessageState};

    fn message(body: serde_json::Value) -> session::StoredMessage {
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

    fn said() -> Vec<session::StoredMessage> {
        let call = |name: &str, path: &str| json!({"id": "", "function": {"name": name, "arguments": {"path": path}}});
        [
            json!({"role": "user", "content": "\n  Fix the parser.\nIt fails."}),
            json!({"role": "assistant", "content": "", "tool_calls": [call("read_file", "a.rs"), call("list", "b")]}),
            json!({"role": "tool", "content": "fn main() {}\nmore"}),
            json!({"role": "tool", "content": ""}),
            json!({"role": "assistant", "content": "Done."}),
        ]
        .map(message)
        .to_vec()
    }

    #[test]
    fn it_has_the_first_line_of_each_message_and_the_calls_with_what_they_gave() {
        let want = "This was put together without the model: the first lines of what was said.\n\
                    The user: Fix the parser.\n\
                    Call: read_file {\"path\":\"a.rs\"}: fn main() {}\n\
                    Call: list {\"path\":\"b\"}: \n\
                    Answer: Done.";
        assert_eq!(plain(&said(), 4000), want);
    }

    #[test]
    fn the_oldest_lines_go_first_and_an_earlier_summary_is_taken_over() {
        let mut all = vec![
            message(json!({"role": "user", "content": "note", "handover": {}})),
            message(json!({"role": "assistant", "content": "Goal: a parser.", "handover": {}})),
        ];
        all.extend(said());
        let text = plain(&all, 130);
        assert!(
            text.contains("\nGoal: a parser.\n(earlier: 2 lines left out)\n"),
            "{text}"
        );
        assert!(text.ends_with("\nAnswer: Done."), "{text}");
        assert!(text.chars().count() < 200, "{text}");
        assert!(plain(&all, 0).chars().count() < 200);
    }
}
