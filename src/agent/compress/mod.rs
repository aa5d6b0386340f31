//! Compression: a conversation that comes near the context's end goes on as another session that has a
//! summary in the place of its middle. The summary is written on a fork of the live sequence, so nothing
//! is read again for it and sequence 0 is untouched until the result is accepted (law 8). The new session
//! is the successor of the old one, made in one transaction: killed at any moment, there is the one or
//! the other, whole. What is read of the new one is the summary, the last turns and what the template
//! writes around them.
//!
//! - `cut`: what stays, word for word (pure); `note`: what the model is asked for and what the new
//!   conversation says of itself; `ask`: the summary, on a fork; `plain`: one without a model.
//! - `flush`: what the model remembers before a summary.
//! - `prune`: long results as lines, before a summary is needed.
//! - `child`: the new conversation's tokens, and going on in it; `refused`: why it was not done.

mod ask;
mod child;
mod cut;
mod flush;
mod note;
mod plain;
mod prune;
mod refused;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

pub use prune::Pruned;
pub use refused::Refused;

pub(super) use ask::Beside;
pub(super) use note::{is_handover, plan_in};

use super::conversation::Conversation;
use super::host;
use super::turn::On;
use super::{AgentError, Event, Rank, Toolset, TurnOptions, conversation::text_of};
use crate::chat::Script;
use crate::chat::message::{Message, Role};
use cut::{Cut, Item, Who, Wish};
use note::Note;

/// When a conversation is compressed by itself, and what stays of it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct CompressOptions {
    /// The part of the context, in percent, at which it is due; `None` is 75, and 85 where the context
    /// has less than 16,384 tokens.
    pub at: Option<usize>,
    /// Most tokens of the last turns that stay word for word; `None` is a fifth of the context.
    pub tail: Option<usize>,
    /// Before a summary is asked for, old long results of tools become lines where that pays.
    pub prune: bool,
    /// Before a summary, the model stores what later sessions should know, where it has the memory tool.
    pub flush_memory: bool,
}

/// What a compression made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Compressed {
    /// The session that the conversation goes on as.
    pub session: String,
    /// Tokens of the conversation before.
    pub from: usize,
    /// Tokens of it now.
    pub to: usize,
    /// The summary was put together without the model.
    pub plain: bool,
}

/// Where a compression is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompressStage {
    /// The summary is being written.
    Writing,
    /// The summary is there, and the new session is not yet.
    Written,
    /// The new session is stored, and the conversation goes on in it; it is being read.
    Stored,
    /// It is read.
    Read,
}

/// Why it is compressed now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Need {
    /// Somebody asked for it.
    Asked,
    /// It is longer than it should be.
    Due,
    /// Nothing more fits: a summary without the model is better than none.
    Full,
}

/// Tokens that a compression goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Sizes {
    /// Length of a conversation at which it is due.
    due: usize,
    /// Of the first exchange.
    first: usize,
    /// Of the last turns.
    tail: usize,
    /// Of a summary.
    summary: usize,
}

impl Sizes {
    fn of(limit: usize, options: CompressOptions) -> Sizes {
        let usual = if limit < 16_384 { 85 } else { 75 };
        Sizes {
            due: limit * options.at.unwrap_or(usual) / 100,
            first: limit / 10,
            tail: options.tail.unwrap_or(limit / 5),
            summary: (limit / 10).clamp(64, 2048),
        }
    }
}

/// Whether a number of tokens is a fifth less than another.
fn much_less(to: usize, from: usize) -> bool {
    to * 5 <= from * 4
}

impl Conversation {
    /// Compresses the conversation now: it goes on as another session, its successor. `topic` gets most
    /// room in the summary. Where that is refused, the conversation is as it was.
    ///
    /// # Errors
    /// When npast.db fails or the engine is lost.
    pub fn compress(
        &mut self,
        topic: Option<&str>,
        options: &TurnOptions,
        script: Option<&mut Script>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Result<Compressed, Refused>, AgentError> {
        let done = self.operation(|talk| {
            talk.compress_now(Need::Asked, topic, options, script, cancel, &mut *on)
        });
        self.say(on);
        done
    }

    /// Replaces old long results of tools by a line each, now, whether it pays or not: the conversation
    /// goes on as another session, its successor.
    ///
    /// # Errors
    /// When npast.db fails or the engine is lost.
    pub fn prune(
        &mut self,
        options: &TurnOptions,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Result<Pruned, Refused>, AgentError> {
        let compress = options.compress.unwrap_or_default();
        let done = self.operation(|talk| talk.prune_once(compress, true, cancel, &mut *on));
        self.say(on);
        done
    }

    fn prune_once(
        &mut self,
        options: CompressOptions,
        asked: bool,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Result<Pruned, Refused>, AgentError> {
        let sizes = Sizes::of(self.shared.limit, options);
        let (name, len) = (self.row.name.clone(), self.ledger.len());
        let Some((mut child, pruned)) = self.pruned_child(sizes.tail)? else {
            return Ok(Err(Refused::Nothing));
        };
        if pruned.saved == 0 || !(asked || pruned.pays(len)) {
            return Ok(Err(Refused::Longer {
                from: len,
                to: len - pruned.saved,
            }));
        }
        self.take_open_along(&mut child);
        self.go_on_as(child)?;
        self.left = Some("long results before this were shortened".into());
        self.pruned = Some(pruned);
        let read = self.read_ahead(cancel, on);
        self.pruned = None;
        read?;
        let text = format!(
            "{} long results of session {name} became lines: {} tokens fewer, {} are read again; it \
             goes on as {}",
            pruned.results, pruned.saved, pruned.again, self.row.name
        );
        self.notices.push((text, None));
        Ok(Ok(pruned))
    }

    /// Whether the conversation has come to the length at which it is compressed by itself. Not again
    /// where that was refused and it has hardly grown since.
    pub(super) fn compression_due(&self, options: &TurnOptions) -> bool {
        let Some(compress) = options.compress else {
            return false;
        };
        let (limit, len) = (self.shared.limit, self.ledger.len());
        // Until another reply is there the one before may have to be put back.
        if self.replacing {
            return false;
        }
        let grown = self
            .refused
            .is_none_or(|(id, at)| id != self.row.id || len >= at + limit / 20);
        len >= Sizes::of(limit, compress).due && grown
    }

    /// Whether a tenth of the context is left for a reply.
    pub(super) fn has_room(&self) -> bool {
        let limit = self.shared.limit;
        self.ledger.len() + limit / 10 <= limit
    }

    /// Compresses it if that is due. Whether it was.
    pub(super) fn compress_when_due(
        &mut self,
        options: &TurnOptions,
        tools: Option<&mut Toolset<'_>>,
        mut script: Option<&mut Script>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<bool, AgentError> {
        if !self.compression_due(options) {
            return Ok(false);
        }
        // The first resort. What it saves may be enough.
        let pruned = match options.compress.filter(|c| c.prune) {
            Some(compress) => self.prune_once(compress, false, cancel, &mut *on)?.is_ok(),
            None => false,
        };
        if pruned && !self.compression_due(options) {
            return Ok(true);
        }
        // Hardly anything more fits.
        let full = self.ledger.len() + 64 >= self.shared.limit;
        let need = if full { Need::Full } else { Need::Due };
        let flushed = self.flush_memory(options, tools, script.as_deref_mut(), cancel, &mut *on)?;
        if flushed.is_err() {
            return Ok(pruned);
        }
        let done = self.compress_now(need, None, options, script, cancel, on)?;
        Ok(done.is_ok() || pruned)
    }

    /// An input did not fit. Compresses the conversation where the input can fit afterwards; whether it
    /// was.
    pub(super) fn compress_for(
        &mut self,
        input: &[Message],
        options: &TurnOptions,
        script: Option<&mut Script>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<bool, AgentError> {
        let Some(compress) = options.compress.filter(|_| !self.replacing) else {
            return Ok(false);
        };
        let vocab = self.shared.model.vocab();
        let tokens = |m: &Message| {
            vocab
                .tokenize(&m.text, false)
                .map_or(usize::MAX, |t| t.len())
        };
        let needed = input.iter().map(tokens).fold(0, usize::saturating_add);
        // The first resort.
        if compress.prune
            && self.prune_once(compress, false, cancel, &mut *on)?.is_ok()
            && self.ledger.len().saturating_add(needed) + 64 <= self.shared.limit
        {
            return Ok(true);
        }
        let sizes = Sizes::of(self.shared.limit, compress);
        let rest = self.row.head + sizes.summary + sizes.tail + 64;
        if needed.saturating_add(rest) > self.shared.limit {
            return Ok(false);
        }
        let done = self.compress_now(Need::Full, None, options, script, cancel, on)?;
        Ok(done.is_ok())
    }

    /// One compression, and what is to be said of it.
    fn compress_now(
        &mut self,
        need: Need,
        topic: Option<&str>,
        options: &TurnOptions,
        script: Option<&mut Script>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Result<Compressed, Refused>, AgentError> {
        let before = (self.row.id, self.row.name.clone(), self.ledger.len());
        let done = self.compress_once(need, topic, options, script, cancel, on)?;
        match &done {
            Ok(made) => {
                self.refused = None;
                let how = match made.plain {
                    true => ", with first lines and calls in the place of a summary by the model",
                    false => "",
                };
                let text = format!(
                    "session {} was compressed from {} to {} tokens{how}; it goes on as {}",
                    before.1, made.from, made.to, made.session
                );
                self.notices.push((text, None));
            }
            // Idle work is done again, and nobody asked for it.
            Err(Refused::Interrupted) if self.rank != Rank::Interactive => {}
            Err(why) => {
                let said = self.refused.is_some_and(|(id, _)| id == before.0);
                self.refused = Some((before.0, before.2));
                // Who asked for it says so.
                if !said && need != Need::Asked {
                    let text = format!("session {} was not compressed: {why}", before.1);
                    self.notices.push((text, why.hint().map(str::to_owned)));
                }
            }
        }
        Ok(done)
    }

    fn compress_once(
        &mut self,
        need: Need,
        topic: Option<&str>,
        options: &TurnOptions,
        script: Option<&mut Script>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Result<Compressed, Refused>, AgentError> {
        let from = self.ledger.len();
        let sizes = Sizes::of(self.shared.limit, options.compress.unwrap_or_default());
        let cut = match self.cut_now(&sizes) {
            Ok(cut) => cut,
            Err(why) => return Ok(Err(why)),
        };
        on(Event::Compress {
            stage: CompressStage::Writing,
        });
        let words = sizes.summary / 2;
        let earlier = note::summary_end(&self.messages) > 0;
        let instruction = note::instruction(words, topic, earlier);
        let asked = self.ask(&instruction, sizes.summary, options, script, cancel, on)?;
        let (summary, plain) = match asked {
            Ok(text) => (text, false),
            Err(why) if need != Need::Full || why == Refused::Interrupted => return Ok(Err(why)),
            Err(_) => (self.plain_summary(&cut, sizes), true),
        };
        on(Event::Compress {
            stage: CompressStage::Written,
        });
        let mut child = self.child_of(&cut, self.note_for(&cut)?, &summary)?;
        let mut plain = plain;
        if !much_less(child.len(), from) && need == Need::Full && !plain {
            // The model's own was too long.
            let summary = self.plain_summary(&cut, sizes);
            child = self.child_of(&cut, self.note_for(&cut)?, &summary)?;
            plain = true;
        }
        let to = child.len();
        if !much_less(to, from) {
            return Ok(Err(Refused::Longer { from, to }));
        }
        self.go_on_as(child)?;
        on(Event::Compress {
            stage: CompressStage::Stored,
        });
        if self.read_ahead(cancel, on)? {
            on(Event::Compress {
                stage: CompressStage::Read,
            });
        }
        Ok(Ok(Compressed {
            session: self.row.name.clone(),
            from,
            to,
            plain,
        }))
    }

    fn plain_summary(&self, cut: &Cut, sizes: Sizes) -> String {
        // About three characters a token.
        plain::plain(&self.messages[cut.first..cut.tail], 3 * sizes.summary)
    }

    fn note_for(&self, cut: &Cut) -> Result<Note, AgentError> {
        let gone = &self.messages[cut.first..cut.tail];
        // Where the call that set it stays, the plan is said there.
        let stays = self.messages[cut.tail..].iter().any(|m| {
            let calls = Message::from_json(&m.body)
                .map(|m| m.calls)
                .unwrap_or_default();
            calls.iter().any(|call| call.name == host::PLANNER)
        });
        let plan = match stays {
            true => Vec::new(),
            false => host::plan(&self.db, self.row.id)?,
        };
        let quoted = cut.user.filter(|_| cut.tail == self.answered());
        let quoted = quoted.map(|at| text_of(&self.messages[at].body).to_owned());
        Ok(Note::of(gone, plan, quoted))
    }

    /// How many messages there are up to the last reply.
    fn answered(&self) -> usize {
        let last = self.messages.iter().rposition(|m| m.role == "assistant");
        last.map_or(0, |at| at + 1)
    }

    /// Where the ledger of those ends.
    fn answered_end(&self) -> usize {
        let open = self.messages[self.answered()..].iter().find_map(|m| m.span);
        open.map_or(self.ledger.len(), |s| s.start)
    }

    fn cut_now(&self, sizes: &Sizes) -> Result<Cut, Refused> {
        let (limit, head) = (self.shared.limit, self.row.head);
        if head + sizes.summary + limit / 8 > limit {
            return Err(Refused::Small {
                limit,
                head,
                summary: sizes.summary,
            });
        }
        let n = self.answered();
        let items = self.items(n);
        let open = &self.messages[n..];
        let wish = Wish {
            summary: note::summary_end(&self.messages[..n]),
            first: sizes.first,
            tail: sizes.tail,
            user_follows: open.iter().any(|m| m.role == "user"),
            results_follow: matches!(
                items.last(),
                Some(Item {
                    who: Who::Reply { calls: 1.. },
                    ..
                })
            ),
        };
        let cut = cut::cut(&items, &wish).ok_or(Refused::Nothing)?;
        match much_less(head + cut.tokens(&items), self.ledger.len()) {
            true => Ok(cut),
            false => Err(Refused::Nothing),
        }
    }

    /// The first `n` messages as a cut sees them. A row of inputs between two replies is known as a whole;
    /// its tokens are shared out by the lengths of the texts.
    fn items(&self, n: usize) -> Vec<Item> {
        let mut items = Vec::with_capacity(n);
        let mut end = self.row.head;
        let mut at = 0;
        while at < n {
            let message = &self.messages[at];
            if message.role == "assistant" {
                let span = message.span.filter(|s| s.end > s.start);
                let tokens = span.map_or(text_of(&message.body).len() / 3, |s| s.end - s.start);
                end = span.map_or(end, |s| s.end);
                let reply = Message::from_json(&message.body).ok();
                let calls = match message.finish {
                    Some(crate::ledger::Finish::ToolCalls) => reply.map_or(0, |m| m.calls.len()),
                    _ => 0,
                };
                items.push(Item {
                    who: Who::Reply { calls },
                    tokens,
                });
                at += 1;
                continue;
            }
            let row = self.messages[at..n]
                .iter()
                .take_while(|m| m.role != "assistant");
            let weights: Vec<usize> = row.map(|m| text_of(&m.body).len() + 16).collect();
            let sum: usize = weights.iter().sum();
            let next = self.messages.get(at + weights.len()).and_then(|m| m.span);
            let total = next.map_or(sum / 3, |s| s.start.saturating_sub(end));
            for weight in weights {
                let who = match Role::parse(&self.messages[at].role) {
                    Some(Role::Tool) => Who::Result,
                    _ => Who::User,
                };
                items.push(Item {
                    who,
                    tokens: total * weight / sum,
                });
                at += 1;
            }
        }
        items
    }
}
