//! Going back: undo, redo, edit, retry and fork. Each is a cut of the stored conversation (law 1: a
//! prefix break that has a name), durable before anything is decoded; what is cut off stays in
//! npast.db as a branch, and its KV until it is collected. None of it needs a model but `retry`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use super::append::NOT_RUN;
use super::compress::is_handover;
use super::conversation::{Conversation, text_of};
use super::error::ErrorKind;
use super::{AgentError, Event, Input, Toolset, TurnEnd, TurnOptions, kv_owner};
use crate::chat::Script;
use crate::session::{
    BranchId, Cut, Db, Made, Message, MessageId, Session, State, Unit, Why, now_ms,
};

/// What an undo took back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Taken {
    /// Turns.
    pub turns: usize,
    /// Messages, replies included.
    pub messages: usize,
    /// Tokens of the ledger.
    pub tokens: usize,
    /// The text of the first user message among them.
    pub text: String,
    /// The session that they were taken back in.
    pub session: String,
}

/// A reply that was taken off to be sampled again.
struct TakenOff {
    branch: BranchId,
    /// Where it began: the length of its prompt in tokens.
    at: usize,
    /// The reply before it.
    before: Option<MessageId>,
}

/// Where a user's turn begins.
struct Turn {
    /// Its first message's place among the messages.
    first: usize,
    /// `None` where the tokens before it are not told apart from others.
    cut: Option<Cut>,
}

/// The turns of a conversation: inputs in a row that hold a user's message and no result of a call.
fn turns(messages: &[Message], head: usize) -> Vec<Turn> {
    let mut turns = Vec::new();
    let mut i = 0;
    while i < messages.len() {
        let inputs = messages[i..].iter().take_while(|m| m.role != "assistant");
        let inputs: Vec<&Message> = inputs.collect();
        let spoken = inputs.iter().any(|m| m.role == "user");
        let real = |m: &&&Message| m.role == "tool" && text_of(&m.body) != NOT_RUN;
        if spoken && !inputs.iter().any(|m| real(&m)) {
            turns.push(Turn {
                first: i,
                cut: before(messages, i, head),
            });
        }
        // The reply that ends the row.
        i += inputs.len() + 1;
    }
    turns
}

/// The cut before the message at `i`, or before one that will stand there: it follows a reply, or begins
/// the conversation.
pub(super) fn before(messages: &[Message], i: usize, head: usize) -> Option<Cut> {
    let Some(last) = messages[..i].last() else {
        return Some(Cut {
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
        Some(span) if start.is_none_or(|start| start == span.end) => Some(Cut {
            after,
            at: span.end,
            pending: 1,
        }),
        // The reply was rewritten when the message came: what still stands of it and before it is a
        // rendering's beginning, and the next message makes the rest of it again.
        _ => {
            let ends = messages[..i].iter().filter_map(|m| m.span).map(|s| s.end);
            let stands = ends.filter(|end| start.is_none_or(|start| *end < start));
            Some(Cut {
                after,
                at: stands.max().unwrap_or(head).max(head),
                pending: 0,
            })
        }
    }
}

fn refused(what: impl Into<String>, hint: &str) -> AgentError {
    AgentError::new(ErrorKind::Input, what).hinted(hint)
}

fn counted(n: usize) -> String {
    match n {
        1 => "1 turn".to_owned(),
        n => format!("{n} turns"),
    }
}

/// The cut that leaves the first `keep` of some turns.
fn cut_of(turns: &[Turn], keep: usize) -> Result<Cut, AgentError> {
    turns[keep].cut.ok_or_else(|| {
        refused(
            "this part of the conversation was taken over from another vocabulary in one piece and \
             cannot be cut",
            "all of it can be undone, or the session it came from can be forked",
        )
    })
}

/// Takes the last `n` turns of a session back, for good or until [`redo`].
///
/// # Errors
/// Wrong usage when there are not so many; npast.db's.
pub fn undo(db: &mut Db, session: &Session, n: usize) -> Result<Taken, AgentError> {
    take_back(db, session, n, Why::Undo)
}

/// The session in which the last `n` turns of this one were said, and how many of them there: turns from
/// before a compression are taken back in the session that was compressed, which has all of them whole.
/// That session goes on from there then.
///
/// # Errors
/// npast.db's.
pub fn behind(db: &Db, session: &Session, n: usize) -> Result<(Session, usize), AgentError> {
    let (mut here, mut n) = (session.clone(), n);
    while here.made == Some(Made::Compressed)
        && let Some(parent) = here.parent
    {
        let messages = db.messages(here.id)?;
        let turns = turns(&messages, here.head);
        let new = turns
            .iter()
            .filter(|t| messages[t.first].seq >= here.carried)
            .count();
        if n <= new {
            break;
        }
        n -= new;
        here = db.get(parent)?;
    }
    Ok((here, n))
}

fn take_back(db: &mut Db, session: &Session, n: usize, why: Why) -> Result<Taken, AgentError> {
    let messages = db.messages(session.id)?;
    let turns = turns(&messages, session.head);
    if n == 0 {
        return Err(refused(
            "0 turns to take back",
            "give how many, or nothing for the last one",
        ));
    }
    let keep = turns
        .len()
        .checked_sub(n)
        .ok_or_else(|| match turns.len() {
            0 => refused(
                format!("session {} has no turn to take back", session.name),
                "a turn begins with a user's message",
            ),
            have => refused(
                format!(
                    "{} cannot be taken back: session {} has {}",
                    counted(n),
                    session.name,
                    counted(have)
                ),
                "give a smaller number",
            ),
        })?;
    let cut = cut_of(&turns, keep)?;
    let first = turns[keep].first;
    let spoken = messages[first..].iter().find(|m| m.role == "user");
    let mut unit = db.begin(session.id)?;
    let tokens = unit.ledger_len() - cut.at.min(unit.ledger_len());
    unit.abandon(cut, why)?;
    unit.touch(now_ms())?;
    unit.commit()?;
    Ok(Taken {
        session: session.name.clone(),
        turns: n,
        messages: messages.len() - first,
        tokens,
        text: spoken
            .map(|m| text_of(&m.body))
            .unwrap_or_default()
            .to_owned(),
    })
}

/// Puts back what was taken off last, or a branch by its number; what stands in its place becomes a
/// branch. Gives the number of tokens that the session has then.
///
/// # Errors
/// Wrong usage when there is none, or it cannot be put back; npast.db's.
pub fn redo(db: &mut Db, session: &Session, branch: Option<i64>) -> Result<usize, AgentError> {
    let branches = db.branches(session.id)?;
    let last = || branches.iter().rfind(|b| b.parent.is_none()).map(|b| b.id);
    let branch = branch.map(BranchId).or_else(last).ok_or_else(|| {
        refused(
            format!("session {} has nothing to put back", session.name),
            "undo, retry and edit leave branches that can be put back",
        )
    })?;
    let mut unit = db.begin(session.id)?;
    unit.reattach(branch)?;
    unit.touch(now_ms())?;
    let len = unit.ledger_len();
    unit.commit()?;
    Ok(len)
}

/// Makes a session with the first `keep` turns of another, all without a number, called `name`, or
/// as the other with a number behind it.
///
/// # Errors
/// Wrong usage when there are not so many turns, or the name breaks a rule; npast.db's.
pub fn fork(
    db: &Db,
    session: &Session,
    name: Option<&str>,
    keep: Option<usize>,
) -> Result<Session, AgentError> {
    let messages = db.messages(session.id)?;
    let turns = turns(&messages, session.head);
    let cut = match keep {
        Some(keep) if keep > turns.len() => {
            return Err(refused(
                format!(
                    "there is no turn {keep}: session {} has {}",
                    session.name,
                    counted(turns.len())
                ),
                "--at N keeps the first N turns",
            ));
        }
        Some(keep) if keep < turns.len() => cut_of(&turns, keep)?,
        _ => Cut {
            after: messages.last().map(|m| m.id),
            at: db.ledger(session.id)?.len(),
            pending: db.pending(session.id)?,
        },
    };
    let name = match name {
        Some(name) => name.to_owned(),
        None => db.free_name(&session.name)?,
    };
    Ok(db.fork(session.id, &name, cut, &messages)?)
}

/// Makes a session with the messages of another up to and with one; nothing where the tokens behind that
/// one are not told apart from others.
pub(super) fn fork_after(
    db: &Db,
    session: &Session,
    message: MessageId,
) -> Result<Option<Session>, AgentError> {
    let messages = db.messages(session.id)?;
    let Some(last) = messages.iter().position(|m| m.id == message) else {
        return Ok(None);
    };
    let Some(cut) = before(&messages, last + 1, session.head).filter(|_| last + 1 < messages.len())
    else {
        return Ok(None);
    };
    let name = db.free_name(&session.name)?;
    Ok(Some(db.fork(session.id, &name, cut, &messages)?))
}

impl Conversation {
    /// Takes the last `n` turns back.
    ///
    /// # Errors
    /// As [`undo`].
    pub fn undo(&mut self, n: usize) -> Result<Taken, AgentError> {
        self.take_back(n, Why::Undo)
    }

    /// Takes the last turn back because another message comes in its place.
    ///
    /// # Errors
    /// As [`undo`].
    pub fn edit(&mut self) -> Result<Taken, AgentError> {
        self.take_back(1, Why::Edit)
    }

    fn take_back(&mut self, n: usize, why: Why) -> Result<Taken, AgentError> {
        self.operation(|talk| {
            let here = talk.row.clone();
            let (there, n) = behind(&talk.db, &here, n)?;
            if there.id != here.id {
                talk.enter(there)?;
            }
            let taken = take_back(&mut talk.db, &talk.row, n, why);
            if taken.is_err() && talk.row.id != here.id {
                talk.enter(here)?;
                return taken;
            }
            let taken = taken?;
            talk.row = talk.db.get(talk.row.id)?;
            let words = match why {
                Why::Edit => "what stood here was replaced by edit",
                _ => "what stood here was taken back by undo",
            };
            talk.left = Some(words.into());
            talk.read_again()?;
            Ok(taken)
        })
    }

    /// Puts back what was taken off last, or a branch by its number.
    ///
    /// # Errors
    /// As [`redo`].
    pub fn redo(&mut self, branch: Option<i64>) -> Result<usize, AgentError> {
        self.operation(|talk| {
            let len = redo(&mut talk.db, &talk.row, branch)?;
            talk.left = Some("another branch was put back here by redo".into());
            talk.read_again()?;
            Ok(len)
        })
    }

    /// Takes the last reply off and samples another one after the same prompt, from another seed.
    /// The new reply begins a turn as any other does: with `tools`, the calls in it are run, and the
    /// turn goes on until the model answers without one. Where no token was sampled (Ctrl-C before
    /// the first token, a failure) the reply before is put back.
    ///
    /// # Errors
    /// Wrong usage when the last message is no reply; as [`Conversation::work`].
    pub fn retry(
        &mut self,
        options: &TurnOptions,
        tools: Option<&mut Toolset<'_>>,
        script: Option<&mut Script>,
        cancel: &Arc<AtomicBool>,
        on: &mut dyn FnMut(Event),
    ) -> Result<TurnEnd, AgentError> {
        let (mut script, mut tools) = (script, tools);
        let ended = self.operation(|talk| {
            let (tools, script) = (tools.as_deref_mut(), script.as_deref_mut());
            talk.another_reply(options, tools, script, cancel, &mut *on)
        });
        self.say(on);
        if ended.is_ok() {
            self.after_turn(options, tools, script, cancel, on);
        }
        ended
    }

    fn another_reply(
        &mut self,
        options: &TurnOptions,
        tools: Option<&mut Toolset<'_>>,
        script: Option<&mut Script>,
        cancel: &Arc<AtomicBool>,
        on: &mut dyn FnMut(Event),
    ) -> Result<TurnEnd, AgentError> {
        let reply = self.reply_to_take_off()?;
        self.reply_instead_of(reply, options, tools, script, cancel, on)
    }

    /// Samples another reply in the place of the one at `reply` among the messages, and of all that
    /// follows it. It comes after a message that was answered, and its tokens are known.
    pub(super) fn reply_instead_of(
        &mut self,
        reply: usize,
        options: &TurnOptions,
        tools: Option<&mut Toolset<'_>>,
        script: Option<&mut Script>,
        cancel: &Arc<AtomicBool>,
        on: &mut dyn FnMut(Event),
    ) -> Result<TurnEnd, AgentError> {
        let off = self.take_reply_off(reply)?;
        self.replacing = true;
        let ended = self
            .hold_prompt(off.at)
            .and_then(|()| self.whole_turn(Input::Open, options, tools, script, cancel, on));
        self.replacing = false;
        if ended.is_err() && self.read_stored().is_err() {
            // What is stored is not known now; the next operation reads it.
            return ended;
        }
        if self.last_reply_id() != off.before {
            return ended;
        }
        // No token was sampled, or none could be stored.
        match (self.put_back(&off), ended) {
            (Ok(()), ended) => {
                let text = "the reply before was put back".to_owned();
                self.notices.push((text, None));
                ended
            }
            (Err(error), ended) => {
                let text =
                    "the reply before could not be put back; it is kept as a branch".to_owned();
                let hint = "when npast.db can be written again, redo puts it back".to_owned();
                self.notices.push((text, Some(hint)));
                ended.and(Err(error))
            }
        }
    }

    /// After the cut of a retry. All of the prompt was decoded, or there would have been no reply.
    fn hold_prompt(&mut self, prompt: usize) -> Result<(), AgentError> {
        self.left = Some("another reply is sampled here by retry".into());
        self.read_again()?;
        self.decoded.reached(prompt);
        Ok(())
    }

    fn put_back(&mut self, off: &TakenOff) -> Result<(), AgentError> {
        let mut unit = self.db.begin(self.row.id)?;
        unit.reattach(off.branch)?;
        unit.commit()?;
        self.read_again()?;
        self.decoded.reached(off.at);
        Ok(())
    }

    fn last_reply_id(&self) -> Option<MessageId> {
        let reply = self.messages.iter().rfind(|m| m.role == "assistant");
        reply.map(|m| m.id)
    }

    /// The last message, where it is a reply.
    fn reply_to_take_off(&self) -> Result<usize, AgentError> {
        let place = self.messages.iter().rposition(|m| m.role != "assistant");
        let reply = self.messages.last().filter(|m| m.role == "assistant");
        let (Some(_), Some(last)) = (reply, place) else {
            return Err(match self.open_messages().next() {
                Some(_) => refused(
                    "the last message has no reply yet",
                    "an empty line answers it",
                ),
                None => refused("there is no reply to sample again", "say something first"),
            });
        };
        if reply.is_some_and(is_handover) {
            return Err(refused(
                "the last reply was written before the conversation was compressed",
                "undo goes back to the session before the compression",
            ));
        }
        Ok(last + 1)
    }

    fn take_reply_off(&mut self, place: usize) -> Result<TakenOff, AgentError> {
        let (reply, last) = (&self.messages[place], place - 1);
        let Some(span) = reply.span.filter(|s| s.start > self.row.head) else {
            return Err(refused(
                "this reply was taken over from another vocabulary and cannot be sampled again",
                "say something, then retry that",
            ));
        };
        let cut = Cut {
            after: Some(self.messages[last].id),
            at: span.start,
            pending: 0,
        };
        let from = self.messages[..last]
            .iter()
            .rposition(|m| m.role == "assistant");
        let before = from.map(|i| self.messages[i].id);
        let inputs: Vec<_> = self.messages[from.map_or(0, |i| i + 1)..=last]
            .iter()
            .map(|m| m.id)
            .collect();
        let mut unit: Unit<'_> = self.db.begin(self.row.id)?;
        let branch = unit.abandon(cut, Why::Retry)?;
        for input in inputs {
            unit.set_state(input, State::Open)?;
        }
        let tries = unit.add_try()?;
        unit.commit()?;
        self.row.tries = tries;
        Ok(TakenOff {
            branch,
            at: cut.at,
            before,
        })
    }

    /// Makes a session with the first `keep` turns of this one, and holds what is stored of it.
    ///
    /// # Errors
    /// As [`fork`].
    pub fn fork(&self, name: Option<&str>, keep: Option<usize>) -> Result<Session, AgentError> {
        let child = fork(&self.db, &self.row, name, keep)?;
        // The fork is made, whatever becomes of this.
        if let Err(error) = self.hold_shared(&child) {
            tracing::warn!("what a fork shares may be collected: {error}");
        }
        Ok(child)
    }

    /// What is stored of the tokens that a fork took over is held for it too.
    fn hold_shared(&self, child: &Session) -> Result<(), AgentError> {
        let stored = self.db.ledger(child.id)?.len() - self.db.pending(child.id)?;
        let owner = kv_owner(child.id);
        let ledger = self.db.ledger(self.row.id)?;
        let held = self.shared.store.hold(&owner, &ledger, stored);
        held.map_err(|e| AgentError::new(ErrorKind::Session, e.to_string()))
    }

    /// The text of the message that [`Conversation::edit`] would take back.
    pub fn last_text(&self) -> Option<String> {
        let turn = turns(&self.messages, self.row.head).pop()?;
        let mut from = self.messages[turn.first..].iter();
        let spoken = from.find(|m| m.role == "user")?;
        Some(text_of(&spoken.body).to_owned())
    }

    /// After a change of the stored conversation: everything again, as at its opening.
    pub(super) fn read_again(&mut self) -> Result<(), AgentError> {
        let stored = Arc::new(self.db.ledger(self.row.id)?);
        let before = std::mem::replace(&mut self.ledger, stored);
        self.messages = self.db.messages(self.row.id)?;
        let same = crate::ledger::common_prefix(&before, &self.ledger);
        self.marks.retain(|mark| mark.len() <= same);
        self.decoded = self.known_decoded()?;
        self.broken = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::session::Span;

    const HEAD: usize = 10;

    /// Role, text and span of a message.
    type Row = (&'static str, &'static str, Option<(usize, usize)>);

    /// Messages with ids from 0 on.
    fn messages(rows: &[Row]) -> Vec<Message> {
        let message = |(i, (role, text, span)): (usize, &Row)| Message {
            id: MessageId(i as i64),
            seq: i,
            role: (*role).to_owned(),
            body: json!({"role": role, "content": text}),
            state: State::Answered,
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
        let cut = |c: Cut| (c.after.map(|m| m.0), c.at, c.pending);
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
