//! One compression from beginning to end: cut, summary, the new session, reading it; and what the user is
//! told of it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::agent::conversation::handle::Conversation;
use crate::agent::conversation::stored::text_of;
use crate::agent::engine::pass::Rank;
use crate::agent::tool_calls::plan::{PLANNER, plan};
use crate::agent::values::error::AgentError;
use crate::agent::values::event::{Event, On};
use crate::agent::values::options::{CompressOptions, TurnOptions};
use crate::agent::values::outcome::{CompressStage, Compressed, Pruned};
use crate::agent::values::refused::Refused;
use crate::chat::ReplyScript;
use crate::chat::message::Message;

use super::child::Child;
use super::cut::Division;
use super::note::{self, Note};
use super::plain;
use super::sizes::{CompressionCause, Sizes, much_less};

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
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Result<Compressed, Refused>, AgentError> {
        let done = self.operation(|talk| {
            talk.compress_now(
                CompressionCause::Asked,
                topic,
                options,
                script,
                cancel,
                &mut *on,
            )
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

    pub(in crate::agent) fn prune_once(
        &mut self,
        options: CompressOptions,
        asked: bool,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Result<Pruned, Refused>, AgentError> {
        let name = self.row.name.clone();
        let (mut child, pruned) = match self.shortened(options, asked)? {
            Ok(shortened) => shortened,
            Err(why) => return Ok(Err(why)),
        };
        on(Event::Compress {
            stage: CompressStage::Written,
        });
        self.take_open_along(&mut child);
        self.go_on_as(child)?;
        on(Event::Compress {
            stage: CompressStage::Stored,
        });
        self.next_receipt
            .left("long results before this were shortened");
        self.next_receipt.pruned(Some(pruned));
        let read = self.read_ahead(cancel, &mut *on);
        self.next_receipt.pruned(None);
        read?;
        on(Event::Compress {
            stage: CompressStage::Read,
        });
        let text = format!(
            "{} long results of session {name} became lines: {} tokens fewer, {} are read again; it \
             goes on as {}",
            pruned.results, pruned.saved, pruned.again, self.row.name
        );
        self.notices.push((text, None));
        Ok(Ok(pruned))
    }

    /// The conversation with lines in the place of old results. Where that does not pay, half as much of its
    /// end stays word for word: a summary would take more of the conversation away.
    fn shortened(
        &mut self,
        options: CompressOptions,
        asked: bool,
    ) -> Result<Result<(Child, Pruned), Refused>, AgentError> {
        let (tail, from) = (
            Sizes::of(self.shared.limit, options).tail,
            self.ledger.len(),
        );
        let tails = [tail, tail / 2];
        let tries = if asked { &tails[..1] } else { &tails };
        let mut refused = Refused::Nothing;
        for tail in tries {
            let Some((child, pruned)) = self.pruned_child(*tail)? else {
                continue;
            };
            if pruned.saved > 0 && (asked || pruned.pays(from)) {
                return Ok(Ok((child, pruned)));
            }
            let to = from - pruned.saved;
            refused = Refused::Longer { from, to };
        }
        Ok(Err(refused))
    }

    /// One compression, and its notices.
    pub(in crate::agent) fn compress_now(
        &mut self,
        need: CompressionCause,
        topic: Option<&str>,
        options: &TurnOptions,
        script: Option<&mut ReplyScript>,
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
                // The answer to a request for it says so itself.
                if !said && need != CompressionCause::Asked {
                    let text = format!("session {} was not compressed: {why}", before.1);
                    self.notices.push((text, why.hint().map(str::to_owned)));
                }
            }
        }
        Ok(done)
    }

    fn compress_once(
        &mut self,
        need: CompressionCause,
        topic: Option<&str>,
        options: &TurnOptions,
        script: Option<&mut ReplyScript>,
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
            Err(why) if need != CompressionCause::Full || why == Refused::Interrupted => {
                return Ok(Err(why));
            }
            Err(_) => (self.plain_summary(&cut, sizes), true),
        };
        on(Event::Compress {
            stage: CompressStage::Written,
        });
        let mut child = self.child_of(&cut, self.note_for(&cut)?, &summary)?;
        let mut plain = plain;
        if !much_less(child.len(), from) && need == CompressionCause::Full && !plain {
            // The summary that the model wrote was too long.
            let summary = self.plain_summary(&cut, sizes);
            child = self.child_of(&cut, self.note_for(&cut)?, &summary)?;
            plain = true;
        }
        let to = child.len();
        if !much_less(to, from) {
            return Ok(Err(Refused::Longer { from, to }));
        }
        // What stays word for word is the end of both.
        let nearer = self.answered_end().checked_sub(child.len());
        self.go_on_as(child)?;
        self.moved = nearer.filter(|by| *by > 0 && self.row.shift);
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

    fn plain_summary(&self, cut: &Division, sizes: Sizes) -> String {
        // About three characters a token.
        plain::plain(&self.messages[cut.first..cut.tail], 3 * sizes.summary)
    }

    fn note_for(&self, cut: &Division) -> Result<Note, AgentError> {
        let gone = &self.messages[cut.first..cut.tail];
        // Where the call that set it stays, the plan is said there.
        let stays = self.messages[cut.tail..].iter().any(|m| {
            let calls = Message::from_json(&m.body)
                .map(|m| m.calls)
                .unwrap_or_default();
            calls.iter().any(|call| call.name == PLANNER)
        });
        let plan = match stays {
            true => Vec::new(),
            false => plan(&self.db, self.row.id)?,
        };
        let quoted = cut.user.filter(|_| cut.tail == self.answered());
        let quoted = quoted.map(|at| text_of(&self.messages[at].body).to_owned());
        Ok(Note::of(gone, plan, quoted))
    }
}
