//! Long results of tools that are older than the last turns, each replaced by one line that says what it
//! was and where it is. It is tried before a summary: it needs no model. All of them go in one cut,
//! so what stands behind the first of them is read again once; it is done only where that pays.

use std::path::Path;

use crate::agent::conversation::handle::Conversation;
use crate::agent::conversation::stored::text_of;
use crate::agent::input::appended::Tokens;
use crate::agent::values::error::AgentError;
use crate::agent::values::outcome::Pruned;
use crate::chat::Message;
use crate::chat::message::Role;
use crate::durable::{self, Attributes, Links};
use crate::session::{self, Carried, Span};

use super::child::{Child, carried};
use super::cut::{CutMessage, Who};

/// A result with fewer bytes stays.
const LONG: usize = 1200;

/// How a line begins that stands for a result.
const BEGINS: &str = "[npast: the result of ";

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
        .filter(|at| items[*at].who == Who::Result && bytes[*at] >= LONG)
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
            .map(|m| match text_of(&m.body).starts_with(BEGINS) {
                true => 0,
                false => text_of(&m.body).len(),
            })
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

    /// The line that stands for a result: the tool, what it was about, its size, and where it is.
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
        let call = call.map_or_else(
            || message.name.clone().unwrap_or_default(),
            |call| {
                let mut said = format!("{} {}", call.name, call.arguments);
                if let Some((end, _)) = said.char_indices().nth(160) {
                    said.truncate(end);
                    said.push('…');
                }
                said
            },
        );
        debug_assert_eq!(message.role, Role::Tool);
        let first = message
            .text
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default();
        let first: String = first.trim().chars().take(80).collect();
        let kept = match self.keep_result(row, &message.text) {
            Some(path) => format!("; all of it is in {path}"),
            None => String::new(),
        };
        Ok(format!(
            "{BEGINS}{call} had {} bytes and began: {first}{kept}.]",
            message.text.len()
        ))
    }

    /// Writes a result where `read_file` can read it; nothing where the session has no such tool or the
    /// file cannot be written.
    fn keep_result(&self, row: &session::StoredMessage, text: &str) -> Option<String> {
        let tools = self
            .row
            .tools
            .as_ref()
            .filter(|_| self.row.runs_tools)?
            .as_array()?;
        tools
            .iter()
            .find(|tool| tool["function"]["name"] == "read_file")?;
        let path = self
            .temp_folder()
            .ok()?
            .join(format!("result-kept-{}.txt", row.id.0));
        match keep(&path, text.as_bytes()) {
            Ok(()) => Some(path.display().to_string()),
            Err(error) => {
                tracing::warn!(%error, "a result that is shortened is not kept as a file");
                None
            }
        }
    }
}

/// Writes a file that this session's conversation will name from now on: whole and durable, or not at all.
/// One that an attempt before left as it should be stays.
fn keep(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let there = path.symlink_metadata();
    if there.is_ok_and(|there| there.is_file() && there.len() == bytes.len() as u64) {
        return Ok(());
    }
    match durable::replace(path, bytes, Attributes::Private, Links::Refuse) {
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
    fn a_result_that_a_kill_left_half_written_is_written_whole() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("result-kept-1.txt");
        std::fs::write(&path, "hal").unwrap();
        keep(&path, b"half of it").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"half of it");
        keep(&path, b"half of it").unwrap();
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
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
