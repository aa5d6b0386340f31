//! Long results of tools that are older than the last turns, each replaced by one line that says what it
//! was and where it is. It is tried before a summary: it needs no model. All of them go in one cut,
//! so what stands behind the first of them is read again once; it is done only where that pays.

use crate::agent::conversation::handle::Conversation;
use crate::agent::conversation::stored::{LONG_RESULT, text_of};
use crate::agent::input::appended::Tokens;
use crate::agent::tool_calls::shortened;
use crate::agent::values::error::AgentError;
use crate::agent::values::outcome::Pruned;
use crate::chat::Message;
use crate::chat::message::{Role, ToolCall};
use crate::session::{self, Carried, MessageId, Span};

use super::child::{Child, carried};
use super::cut::{CutMessage, Who};

/// Most characters of the call in a line.
const MOST_OF_CALL: usize = 60;

/// Most characters of what came of the call.
const MOST_OF_OUTCOME: usize = 28;

/// The places of long results before the last `tail` tokens. Pure.
pub(in crate::agent) fn long_results(
    items: &[CutMessage],
    bytes: &[usize],
    tail: usize,
) -> Vec<usize> {
    let mut left = tail;
    let mut end = items.len();
    while let Some(item) = end.checked_sub(1).map(|at| items[at]) {
        if item.tokens > left {
            break;
        }
        left -= item.tokens;
        end -= 1;
    }
    // The last reply's results are what it is about to work with.
    let last = items
        .iter()
        .rposition(|i| matches!(i.who, Who::Reply { calls: 1.. }));
    let end = end.min(last.unwrap_or(end));
    (0..end)
        .filter(|at| items[*at].who == Who::Result && bytes[*at] >= LONG_RESULT)
        .collect()
}

impl Conversation {
    /// The conversation with its old long results as lines, and what that does. Nothing where there are
    /// none, or not all that stays has tokens of its own.
    pub(in crate::agent) fn pruned_child(
        &mut self,
        tail: usize,
    ) -> Result<Option<(Child, Pruned)>, AgentError> {
        let n = self.answered();
        let items = self.items(n);
        let bytes: Vec<usize> = self.messages[..n]
            .iter()
            .map(|m| text_of(&m.body).len())
            .collect();
        let long = long_results(&items, &bytes, tail);
        let Some(first) = long.first().copied() else {
            return Ok(None);
        };
        let known = |m: &session::StoredMessage| {
            m.role != "assistant"
                || m.span
                    .is_some_and(|s| s.start > self.row.head && s.end > s.start)
        };
        let start = self.messages[..first]
            .iter()
            .rposition(|m| m.role == "assistant");
        let Some(start) = start.filter(|_| self.whole_renderings().is_none()) else {
            return Ok(None);
        };
        if !self.messages[start..n].iter().all(known) {
            return Ok(None);
        }
        let mut messages: Vec<Carried> = self.messages[..=start]
            .iter()
            .map(|m| carried(m, 0))
            .collect();
        let kept = self.messages[start].span.map_or(0, |s| s.end);
        let mut tokens = self.ledger[..kept].to_vec();
        let mut at = start;
        // Each reply with the inputs behind it.
        while at + 1 < n {
            let next = (at + 1..n)
                .find(|i| self.messages[*i].role == "assistant")
                .unwrap_or(n);
            let end = self.messages[at].span.map_or(0, |s| s.end);
            let goes_on = match self.messages.get(next).filter(|_| next < n) {
                Some(reply) => reply.span.map_or(end, |s| s.start),
                None => self.answered_end(),
            };
            let row = self.messages[at + 1..next].to_vec();
            let shortened = (at + 1..next).any(|i| long.contains(&i));
            let from = tokens.len();
            if shortened {
                let reply = self.messages[at].clone();
                let mut new = Vec::with_capacity(row.len());
                for (i, m) in row.iter().enumerate() {
                    let mut message = Message::from_json(&m.body)?;
                    if long.contains(&(at + 1 + i)) {
                        message.text = self.line_for(&reply, m, &message, i)?;
                    }
                    new.push(message);
                }
                let parsed = Message::from_json(&reply.body)?;
                let Tokens {
                    from: at,
                    tokens: more,
                    ..
                } = self.tokens_behind(&reply, &parsed, &new, end)?;
                // The reply's end of turn may take the form that the history has.
                tokens.truncate(tokens.len() - (end - at));
                tokens.extend(more);
                let span = Some(Span {
                    start: from.min(tokens.len()),
                    end: tokens.len(),
                });
                messages.extend(row.iter().zip(&new).map(|(m, new)| Carried {
                    span,
                    body: new.to_json(),
                    ..carried(m, 0)
                }));
            } else {
                tokens.extend_from_slice(&self.ledger[end..goes_on]);
                let shift = from as isize - end as isize;
                messages.extend(row.iter().map(|m| carried(m, shift)));
            }
            if next < n {
                let span = self.messages[next]
                    .span
                    .unwrap_or(Span { start: 0, end: 0 });
                let shift = tokens.len() as isize - span.start as isize;
                tokens.extend_from_slice(&self.ledger[span.start..span.end]);
                messages.push(carried(&self.messages[next], shift));
            }
            at = next;
        }
        let pruned = Pruned {
            results: long.len(),
            saved: self.answered_end().saturating_sub(tokens.len()),
            again: tokens.len() - kept,
        };
        let child = Child::new(tokens, kept.saturating_sub(1), messages);
        Ok(Some((child, pruned)))
    }

    /// The line that stands for a result: where it is, its size, the call, and what came of it.
    fn line_for(
        &self,
        reply: &session::StoredMessage,
        row: &session::StoredMessage,
        message: &Message,
        place: usize,
    ) -> Result<String, AgentError> {
        let call = Message::from_json(&reply.body)?
            .calls
            .into_iter()
            .nth(place);
        debug_assert_eq!(message.role, Role::Tool);
        Ok(line(
            self.keep_result(row, &message.text),
            message,
            call.as_ref(),
        ))
    }

    /// Writes a result where `read_file` can read it; its message. Nothing where the session has no such tool
    /// or the file cannot be written.
    fn keep_result(&self, row: &session::StoredMessage, text: &str) -> Option<MessageId> {
        let tools = self
            .row
            .tools
            .as_ref()
            .filter(|_| self.row.runs_tools)?
            .as_array()?;
        tools
            .iter()
            .find(|tool| tool["function"]["name"] == "read_file")?;
        match shortened::keep(&self.temp_folder().ok()?, row.id, text) {
            Ok(()) => Some(row.id),
            Err(error) => {
                tracing::warn!(%error, "a result that is shortened is not kept as a file");
                None
            }
        }
    }
}

/// The line for a result. It is as short as can be: the model reads it as long as the conversation lasts, and
/// the call stands in full before it.
fn line(kept: Option<MessageId>, result: &Message, call: Option<&ToolCall>) -> String {
    let call = match call {
        Some(call) => beginning(&format!("{} {}", call.name, call.arguments), MOST_OF_CALL),
        None => result.name.clone().unwrap_or_default(),
    };
    let mut lines = result.text.lines().map(str::trim).filter(|l| !l.is_empty());
    // How a program ended is its last line, but for what npast says behind it.
    let outcome = match result.name.as_deref() {
        Some("terminal") => lines.rfind(|line| !line.starts_with("[npast: ")),
        _ => lines.next(),
    };
    let outcome = beginning(outcome.unwrap_or_default(), MOST_OF_OUTCOME);
    let begins = match kept {
        Some(message) => shortened::line_begins(message),
        None => "[npast: left out are ".to_owned(),
    };
    format!("{begins}{} bytes of {call}: {outcome}]", result.text.len())
}

/// At most so many characters of a text.
fn beginning(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_long_results_before_the_last_turns_become_lines() {
        let item = |who, tokens| CutMessage { who, tokens };
        let call = Who::Reply { calls: 1 };
        let items = [
            item(Who::User, 10),
            item(call, 10),
            item(Who::Result, 500),
            item(call, 10),
            item(Who::Result, 20),
            item(call, 10),
            item(Who::Result, 600),
            item(Who::Reply { calls: 0 }, 10),
            item(Who::User, 10),
            item(call, 10),
            item(Who::Result, 700),
            item(Who::Reply { calls: 0 }, 10),
        ];
        let bytes = [40, 0, 2000, 0, 80, 0, 2400, 40, 40, 0, 2800, 40];
        assert_eq!(long_results(&items, &bytes, 0), [2, 6]);
        // The last one is within the tail, and so is the one before it with a longer tail.
        assert_eq!(long_results(&items, &bytes, 1000), [2, 6]);
        assert_eq!(long_results(&items, &bytes, 1400), [2]);
        assert_eq!(long_results(&items, &bytes, 9000), [0; 0]);
        assert_eq!(long_results(&items, &[0; 12], 0), [0; 0]);
    }

    #[test]
    fn a_line_says_where_the_result_is_what_it_was_and_what_came_of_it() {
        let result = |tool: &str, text: &str| Message::tool_result("", tool, text.to_owned());
        let call = |name: &str, arguments| ToolCall {
            id: String::new(),
            name: name.into(),
            arguments,
        };
        let kept = Some(MessageId(17));
        let read = result(
            "read_file",
            "\nsrc/main.rs, lines 1-200 of 350:\nfn main() {\n",
        );
        let path = call("read_file", json!({"path": "src/main.rs"}));
        assert_eq!(
            line(kept, &read, Some(&path)),
            "[npast: path result:17 has 46 bytes of read_file {\"path\":\"src/main.rs\"}: \
             src/main.rs, lines 1-200 of …]"
        );
        let built = result(
            "terminal",
            "Compiling\nerror\nExit code 101.\n\n[npast: again.]\n",
        );
        let long = call("terminal", json!({"command": "ä".repeat(500)}));
        assert_eq!(
            line(None, &built, Some(&long)),
            format!(
                "[npast: left out are 48 bytes of terminal {{\"command\":\"{}…: Exit code 101.]",
                "ä".repeat(MOST_OF_CALL - 21)
            )
        );
        assert_eq!(
            line(kept, &result("large", ""), None),
            "[npast: path result:17 has 0 bytes of large: ]"
        );
    }

    #[test]
    fn it_pays_where_a_tenth_is_saved_and_at_most_twice_that_is_read_again() {
        let pays = |saved, again, len| {
            Pruned {
                results: 1,
                saved,
                again,
            }
            .pays(len)
        };
        assert!(pays(1000, 2000, 10_000));
        assert!(!pays(1000, 2001, 10_000));
        assert!(!pays(999, 100, 10_000));
    }
}
