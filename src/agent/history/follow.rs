//! Following a client's history: what is the same keeps its tokens, whatever the client's bytes are (law
//! 1); at the first difference the conversation is cut, under a name, and what is cut off stays as a
//! branch; the rest is appended, and the last message is answered.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::agent::branches::turns::cut_before;
use crate::agent::conversation::handle::Conversation;
use crate::agent::input::appended::Appended;
use crate::agent::model_call::sum::RunningSum;
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::agent::values::event::On;
use crate::agent::values::options::{Input, TurnOptions};
use crate::agent::values::outcome::TurnEnd;
use crate::chat::message::Role;
use crate::chat::pins::{self, Overlooked, PinRules, PinVerdict};
use crate::chat::same::{Difference, DifferenceKind};
use crate::chat::{Message, ReplyScript};
use crate::session::{BranchId, MessageId, Why};

use super::matching::Match;
use super::sent::{ClientHistory, Sent};

/// How a history was followed.
#[derive(Clone, Debug)]
pub struct Followed {
    /// How the turn ended.
    pub end: TurnEnd,
    /// Messages of the history (in normal form) that were stored already.
    pub same: usize,
    /// Messages of the history.
    pub sent: usize,
    /// The first message that was not stored as it came, if it was not the first new one.
    pub difference: Option<Difference>,
    /// Changes of system text, tools and first message that kept the tokens.
    pub overlooked: Vec<Overlooked>,
    /// Why the conversation has another head now, and is another session.
    pub renewed: Option<String>,
    /// Messages of the session now.
    pub messages: usize,
}

/// What has to be done so that the conversation says what a history says.
enum FollowUp {
    /// All is stored, and its last message is open.
    Answer,
    /// All is stored, and its last reply was cut.
    Continue,
    /// All is stored, and a reply follows: another one takes its place.
    Again {
        /// The reply's place among the session's messages.
        reply: usize,
    },
    /// These follow, after the message at `after` among the session's messages (none: the head). `cut`
    /// says that something else follows it now.
    Append {
        after: Option<usize>,
        tail: Vec<Message>,
        cut: bool,
    },
}

impl Conversation {
    /// Makes the conversation what a client's history says, and answers its last message. A reply that
    /// this session never sampled becomes tokens as the model would have written it. Where the last
    /// message was answered already, as when a client asks again, another reply is sampled.
    ///
    /// Where tools or system text are others than the pinned ones, `self` becomes another session,
    /// which continues this one: [`Conversation::info`] has its name, [`Followed::renewed`] the reason.
    ///
    /// # Errors
    /// When the history is no conversation or cannot be answered (nothing was stored then); as
    /// [`Conversation::work`].
    pub fn follow(
        &mut self,
        history: &ClientHistory,
        rules: PinRules,
        options: &TurnOptions,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Followed, AgentError> {
        let end = self.operation(|talk| {
            talk.follow_sent(&history.sent()?, rules, options, script, cancel, &mut *on)
        });
        self.say(on);
        end
    }

    fn follow_sent(
        &mut self,
        sent: &Sent,
        rules: PinRules,
        options: &TurnOptions,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Followed, AgentError> {
        let found = self.matching(sent)?;
        self.follow_found(sent, found, rules, options, script, cancel, on)
    }

    /// Follows a history of which `found` is stored.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn follow_found(
        &mut self,
        sent: &Sent,
        found: Match,
        rules: PinRules,
        options: &TurnOptions,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Followed, AgentError> {
        if self.row.runs_tools {
            return Err(AgentError::new(
                ErrorKind::Input,
                format!("session {} runs its own tools", self.row.name),
            )
            .hinted("send new messages to it, and not a history"));
        }
        let verdict = self.verdict(sent, rules)?;
        let (same, difference) = (found.same, found.difference.clone());
        let (mut overlooked, mut renewed) = (Vec::new(), None);
        let way = match verdict {
            PinVerdict::Kept(seen) => {
                overlooked = seen;
                self.way(sent, &found)?
            }
            PinVerdict::New(why) => {
                let tail = self.renewed_tail(sent, &found)?;
                answerable(&tail)?;
                self.renew(sent, &why)?;
                renewed = Some(why);
                FollowUp::Append {
                    after: None,
                    tail,
                    cut: false,
                }
            }
        };
        // Asking once more for the last reply is no other history.
        let again = matches!(way, FollowUp::Again { .. }) && found.known.len() == same + 1;
        let end = self.go(way, &overlooked, &difference, options, script, cancel, on)?;
        let changed = |d: &Difference| d.what != DifferenceKind::New && !again;
        Ok(Followed {
            end,
            same,
            sent: sent.count(),
            difference: difference.filter(changed),
            overlooked,
            renewed,
            messages: self.messages.len(),
        })
    }

    /// What has to be done.
    fn way(&self, sent: &Sent, found: &Match) -> Result<FollowUp, AgentError> {
        let all = sent.count();
        let replied = sent.said.last().map(|s| s.message.role) == Some(Role::Assistant);
        if found.same == all && replied {
            let last = found.known.len() == all;
            if last && self.unfinished() {
                return Ok(FollowUp::Continue);
            }
            answerable(&sent.from(all - 1))?;
            return Err(nothing_to_answer());
        }
        if found.same == all {
            match found.known.get(all) {
                None if self.open_messages().next().is_some() => return Ok(FollowUp::Answer),
                None => {
                    if let Some(reply) = self.silent_reply(found) {
                        return Ok(FollowUp::Again { reply });
                    }
                }
                Some(next) if next.reply && self.has_tokens(next.place) => {
                    return Ok(FollowUp::Again { reply: next.place });
                }
                Some(_) => {}
            }
        }
        // From the last reply on that is the same: what follows it becomes tokens together.
        let kept = &found.known[..found.same];
        let open = found.known.len() == found.same
            && kept.last().is_some_and(|known| !known.reply)
            && sent
                .behind(found.same)
                .iter()
                .all(|s| s.message.role != Role::Assistant);
        if open {
            // Open messages stay, and more of them come.
            return Ok(FollowUp::Append {
                after: kept.last().map(|known| known.place),
                tail: sent.from(found.same),
                cut: false,
            });
        }
        let reply = kept.iter().rposition(|known| known.reply);
        let tail = sent.from(reply.map_or(0, |at| at + 1));
        answerable(&tail)?;
        let after = reply.map(|at| kept[at].place);
        Ok(FollowUp::Append {
            after,
            tail,
            cut: self.messages.len() > after.map_or(0, |at| at + 1),
        })
    }

    /// The place of a reply behind all that a client knows of, which said nothing to it: one that was cut
    /// while it thought.
    fn silent_reply(&self, found: &Match) -> Option<usize> {
        let from = found.known.last().map_or(0, |known| known.place + 1);
        let mut behind = self.messages[from..].iter();
        let at = behind.position(|m| m.role == "assistant")?;
        Some(from + at).filter(|place| self.has_tokens(*place))
    }

    /// Whether the tokens of a message are told apart from others.
    fn has_tokens(&self, place: usize) -> bool {
        let span = self.messages[place].span;
        span.is_some_and(|s| s.start > self.row.head && s.end > s.start)
    }

    #[allow(clippy::too_many_arguments)]
    fn go(
        &mut self,
        way: FollowUp,
        overlooked: &[Overlooked],
        difference: &Option<Difference>,
        options: &TurnOptions,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<TurnEnd, AgentError> {
        let (after, tail, cut) = match way {
            FollowUp::Answer => {
                return self.whole_turn(Input::Open, options, None, script, cancel, on);
            }
            FollowUp::Continue => {
                return self.whole_turn(Input::Continue, options, None, script, cancel, on);
            }
            FollowUp::Again { reply } => {
                return self.reply_instead_of(reply, options, None, script, cancel, on);
            }
            FollowUp::Append { after, tail, cut } => (after, tail, cut),
        };
        if cut {
            let words = difference.as_ref().map(ToString::to_string);
            let words = words.unwrap_or_else(|| "another message follows".to_owned());
            let why = format!("the client sent another history: {words}");
            self.next_receipt.left(why);
        }
        let noted = self.noted(after, tail.clone(), overlooked);
        let had_note = noted.len() > tail.len();
        let appended = match self.append_tail(after, noted, cut) {
            Err(error) if had_note && error.is(ErrorKind::Template) => {
                let text = format!("a change of the client's instructions cannot be said: {error}");
                self.notices.push((text, None));
                self.append_tail(after, tail, cut)?
            }
            appended => appended?,
        };
        let mut sum = RunningSum::begin();
        let end = self.answer(&appended, options, script, cancel, &mut sum, on);
        sum.show(None, on);
        end
    }

    /// The messages with a note of what the model should know before the user's last one.
    fn noted(
        &self,
        after: Option<usize>,
        mut tail: Vec<Message>,
        overlooked: &[Overlooked],
    ) -> Vec<Message> {
        let stays = after.map_or(0, |at| at + 1);
        let text = match (pins::note(overlooked), self.last_note(stays)) {
            (Some(text), last) if last != Some(text.as_str()) => text,
            (None, Some(last)) if last != pins::AGAIN => pins::AGAIN.to_owned(),
            _ => return tail,
        };
        let user = tail.iter().rposition(|m| m.role == Role::User);
        // Not before the first message of all: what is new there is in it.
        if let Some(at) = user.filter(|at| *at > 0 || stays > 0) {
            let mut note = Message::system(text);
            note.note = true;
            tail.insert(at, note);
        }
        tail
    }

    /// Appends messages behind the one at `after`; where something else follows it, that is cut off and
    /// stays as a branch.
    fn append_tail(
        &mut self,
        after: Option<usize>,
        tail: Vec<Message>,
        cut: bool,
    ) -> Result<Appended, AgentError> {
        let own = tail.iter().any(|m| m.role == Role::Assistant);
        let place = after.map_or(0, |at| at + 1);
        let exact = cut_before(&self.messages, place, self.row.head);
        if own || (cut && exact.is_none()) {
            return self.append_foreign(place, tail, cut);
        }
        let Some(exact) = exact.filter(|_| cut) else {
            let open: Vec<MessageId> = self.open_messages().map(|m| m.id).collect();
            return self.append_messages(tail, &open, false);
        };
        let mut unit = self.db.begin(self.row.id)?;
        let branch = unit.abandon(exact, Why::History)?;
        unit.commit()?;
        self.read_again()?;
        let appended = self.append_messages(tail, &[], false);
        if appended.is_err() {
            self.put_back_branch(branch)?;
        }
        appended
    }

    /// Puts a branch back that was cut off for messages that cannot be appended.
    fn put_back_branch(&mut self, branch: BranchId) -> Result<(), AgentError> {
        let mut unit = self.db.begin(self.row.id)?;
        unit.reattach(branch)?;
        unit.commit()?;
        self.read_again()
    }
}

fn nothing_to_answer() -> AgentError {
    AgentError::new(
        ErrorKind::Input,
        "the history ends in a finished reply: there is nothing to answer",
    )
    .hinted("nothing was stored; add a user message, or the results of its calls")
}

/// Whether something can follow these messages.
fn answerable(tail: &[Message]) -> Result<(), AgentError> {
    match tail.last() {
        Some(last) if last.role == Role::Assistant && !last.calls.is_empty() => {
            Err(AgentError::new(
                ErrorKind::Input,
                "the history ends in calls without results: there is nothing to answer",
            )
            .hinted("nothing was stored; send the results of the calls"))
        }
        Some(_) => Ok(()),
        None => Err(nothing_to_answer()),
    }
}
