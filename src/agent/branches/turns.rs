//! Where the turns of a conversation begin, and the cut before each. Pure.

use crate::agent::conversation::stored::{NOT_RUN, text_of};
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::session::{CutPoint, StoredMessage};

/// Where a user's turn begins.
pub(in crate::agent) struct Turn {
    /// Its first message's place among the messages.
    pub first: usize,
    /// `None` where the tokens before it are not told apart from others.
    pub cut: Option<CutPoint>,
}

/// The turns of a conversation: inputs in a row that hold a user's message and no result of a call.
pub(in crate::agent) fn turns(messages: &[StoredMessage], head: usize) -> Vec<Turn> {
    let mut turns = Vec::new();
    let mut i = 0;
    while i < messages.len() {
        let inputs = messages[i..].iter().take_while(|m| m.role != "assistant");
        let inputs: Vec<&StoredMessage> = inputs.collect();
        let spoken = inputs.iter().any(|m| m.role == "user");
        let real = |m: &&&StoredMessage| m.role == "tool" && text_of(&m.body) != NOT_RUN;
        if spoken && !inputs.iter().any(|m| real(&m)) {
            turns.push(Turn {
                first: i,
                cut: cut_before(messages, i, head),
            });
        }
        // The reply that ends the row.
        i += inputs.len() + 1;
    }
    turns
}

/// The cut before the message at `i`, or before one that will stand there: it follows a reply, or begins
/// the conversation.
pub(in crate::agent) fn cut_before(
    messages: &[StoredMessage],
    i: usize,
    head: usize,
) -> Option<CutPoint> {
    let Some(last) = messages[..i].last() else {
        return Some(CutPoint {
            after: None,
            at: head,
            pending: 0,
        });
    };
    let after = Some(last.id);
    let start = messages.get(i).and_then(|m| m.span).map(|s| s.start);
    match last.span {
        // A history that was taken over from another vocabulary is one rendering.
        Some(span) if span.end <= head => None,
        // The reply's last token is in the state it was in before this message: sampled.
        Some(span) if start.is_none_or(|start| start == span.end) => Some(CutPoint {
            after,
            at: span.end,
            pending: 1,
        }),
        // The reply was rewritten when the message came: what still stands of it and before it is a
        // rendering's beginning, and the next message makes the rest of it again.
        _ => {
            let ends = messages[..i].iter().filter_map(|m| m.span).map(|s| s.end);
            let stands = ends.filter(|end| start.is_none_or(|start| *end < start));
            Some(CutPoint {
                after,
                at: stands.max().unwrap_or(head).max(head),
                pending: 0,
            })
        }
    }
}

pub(in crate::agent) fn refused(what: impl Into<String>, hint: &str) -> AgentError {
    AgentError::new(ErrorKind::Input, what).hinted(hint)
}

pub(in crate::agent) fn counted(n: usize) -> String {
    match n {
        1 => "1 turn".to_owned(),
        n => format!("{n} turns"),
    }
}

/// The cut that leaves the first `keep` of some turns.
pub(in crate::agent) fn cut_of(turns: &[Turn], keep: usize) -> Result<CutPoint, AgentError> {
    turns[keep].cut.ok_or_else(|| {
        refused(
            "this part of the conversation was taken over from another vocabulary in one piece and \
             cannot be cut",
            "all of it can be undone, or the session it came from can be forked",
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::session::{MessageId, MessageState, Span};

    const HEAD: usize = 10;

    /// Role, text and span of a message.
    type Row = (&'static str, &'static str, Option<(usize, usize)>);

    /// Messages with ids from 0 on.
    fn messages(rows: &[Row]) -> Vec<StoredMessage> {
        let message = |(i, (role, text, span)): (usize, &Row)| StoredMessage {
            id: MessageId(i as i64),
            seq: i,
            role: (*role).to_owned(),
            body: json!({"role": role, "content": text}),
            state: MessageState::Answered,
            finish: None,
            span: span.map(|(start, end)| Span { start, end }),
            created_ms: 0,
            trail: None,
        };
        rows.iter().enumerate().map(message).collect()
    }

    /// First message, last message that stays, tokens that stay, pending; for each turn.
    type Place = (usize, Option<(Option<i64>, usize, usize)>);

    fn places(rows: &[Row]) -> Vec<Place> {
        let cut = |c: CutPoint| (c.after.map(|m| m.0), c.at, c.pending);
        turns(&messages(rows), HEAD)
            .into_iter()
            .map(|t| (t.first, t.cut.map(cut)))
            .collect()
    }

    #[test]
    fn a_turn_begins_where_the_reply_before_it_ends() {
        let rows = [
            ("user", "a", Some((10, 20))),
            ("assistant", "b", Some((20, 30))),
            ("user", "c", Some((30, 40))),
            ("assistant", "d", Some((40, 50))),
            // Stored, and its tokens not yet.
            ("user", "e", None),
        ];
        let want = [
            (0, Some((None, 10, 0))),
            (2, Some((Some(1), 30, 1))),
            (4, Some((Some(3), 50, 1))),
        ];
        assert_eq!(places(&rows), want);
        assert_eq!(places(&[]), []);
    }

    #[test]
    fn results_of_calls_belong_to_the_turn_before_and_their_stand_ins_to_the_one_after() {
        let called = [
            ("user", "a", Some((10, 20))),
            ("assistant", "call", Some((20, 30))),
            ("tool", "result", Some((30, 40))),
            ("assistant", "b", Some((40, 50))),
        ];
        assert_eq!(places(&called), [(0, Some((None, 10, 0)))]);
        let mixed = |result| {
            [
                ("user", "a", Some((10, 20))),
                ("assistant", "call", Some((20, 30))),
                ("tool", result, Some((30, 40))),
                ("user", "b", Some((30, 40))),
            ]
        };
        assert_eq!(places(&mixed("a real result")).len(), 1);
        let stand_in = places(&mixed(NOT_RUN));
        assert_eq!(stand_in[1], (2, Some((Some(1), 30, 1))));
    }

    #[test]
    fn a_history_that_was_rendered_in_one_piece_is_cut_before_it_or_after_it() {
        let rows = [
            ("user", "a", Some((10, 10))),
            ("assistant", "b", Some((10, 10))),
            ("user", "c", Some((10, 10))),
            ("assistant", "d", Some((10, 60))),
            ("user", "e", Some((60, 70))),
        ];
        let want = [
            (0, Some((None, 10, 0))),
            (2, None),
            (4, Some((Some(3), 60, 1))),
        ];
        assert_eq!(places(&rows), want);
    }

    #[test]
    fn a_reply_that_was_rewritten_is_cut_where_the_rendering_still_stands() {
        let rows = [
            ("user", "a", Some((10, 20))),
            ("assistant", "b", Some((20, 24))),
            ("user", "c", Some((30, 40))),
            ("assistant", "d", None),
            ("user", "e", Some((45, 60))),
        ];
        let want = [
            (0, Some((None, 10, 0))),
            (2, Some((Some(1), 24, 0))),
            (4, Some((Some(3), 40, 0))),
        ];
        assert_eq!(places(&rows), want);
    }
}
