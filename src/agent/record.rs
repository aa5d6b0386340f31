//! A reply on its way: what is sampled is stored, and what is stored is shown, in this order (law
//! 5). So what was shown is on disk, and a watcher who takes long delays nothing but what it sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::append::Appended;
use super::conversation::Conversation;
use super::error::ErrorKind;
use super::reply::Coming;
use super::turn::On;
use super::{AgentError, Event, Pass, Rank, Want};
use crate::chat::Message;
use crate::ledger::Finish;
use crate::session::{MessageId, Span, State};
use crate::slot::{self, Call, Kind, Outcome, Reply, Target};

impl Conversation {
    /// Sends the call, stores what comes and shows it. A reply that could not be stored as it came
    /// is an error beside the outcome: the call has its receipt all the same.
    pub(super) fn call(
        &mut self,
        reply: Reply,
        cancel: &Arc<AtomicBool>,
        coming: &mut Coming,
        appended: &Appended,
        on: On<'_>,
    ) -> Result<(Outcome, Result<(), AgentError>), AgentError> {
        let vocab = self.shared.model.vocab().clone();
        let target = match self.marks.last() {
            Some(mark) => Target::after(*mark, self.ledger.clone()),
            None => Target::whole(self.ledger.clone()),
        };
        let Some(pass) = self.pass(cancel, on) else {
            return Ok((Outcome::none(Kind::Turn), Ok(())));
        };
        let mut inbox = Inbox::new()?;
        let answer = pass.slot().call(Call {
            kind: Kind::Turn,
            owner: self.owner(),
            target,
            head: self.row.head,
            decoded: self.decoded.len(),
            reply: Some(reply),
            step: self.row.runs_tools,
            cancel: cancel.clone(),
            events: inbox.sender.take().unwrap_or_else(|| unbounded_channel().0),
        })?;
        let mut stored = Ok(());
        loop {
            match inbox.next(coming, stored.is_ok()) {
                Next::Event(slot::Event::Restoring { tokens }) => on(Event::Restoring { tokens }),
                Next::Event(slot::Event::Prefill { done, total }) => {
                    on(Event::Prefill { done, total });
                }
                Next::Event(slot::Event::Odds(odds)) => coming.weigh(&vocab, &odds),
                Next::Event(slot::Event::Sampled(token)) => coming.push(&vocab, token),
                // Nothing comes, and what came must not wait any longer.
                Next::Due => {}
                Next::End => break,
            }
            if stored.is_ok() && coming.due() {
                stored = self.record(coming, &appended.inputs, on);
                if stored.is_err() {
                    // What cannot be stored is not sampled any further.
                    cancel.store(true, Ordering::Relaxed);
                }
            }
        }
        Ok((answer.wait()?, stored))
    }

    /// Waits for the slot; nothing where the user stops that.
    pub(super) fn pass(&self, cancel: &Arc<AtomicBool>, on: On<'_>) -> Option<Pass> {
        let owner = self.owner();
        let want = Want {
            owner: &owner,
            rank: Rank::Interactive,
            cancel,
        };
        let place = &mut |place| on(Event::Queued { place });
        self.passes.take(&want, place)
    }

    /// Stores what was sampled since the last time, then shows it.
    pub(super) fn record(
        &mut self,
        coming: &mut Coming,
        inputs: &[MessageId],
        on: On<'_>,
    ) -> Result<(), AgentError> {
        self.store_sampled(coming, inputs)?;
        coming.take_stored().into_iter().for_each(on);
        Ok(())
    }

    /// Stores what was sampled since the last time. The first time, the inputs become answered and
    /// the reply a message, marked interrupted until it ends.
    fn store_sampled(
        &mut self,
        coming: &mut Coming,
        inputs: &[MessageId],
    ) -> Result<(), AgentError> {
        let tokens = coming.take_unstored();
        if tokens.is_empty() {
            return Ok(());
        }
        let at = self.ledger.len();
        let end = at + tokens.len();
        let body = Message::assistant("").to_json();
        let mut unit = self.db.begin(self.row.id)?;
        unit.append_tokens(at, &tokens)?;
        let id = match coming.id {
            // A reply that goes on is no longer ended as it was: a crash from here on leaves an
            // interrupted one, whose text is read from its tokens again.
            Some(id) => {
                unit.set_finish(id, Finish::Interrupted)?;
                id
            }
            None => {
                for input in inputs {
                    unit.set_state(*input, State::Answered)?;
                }
                let id = unit.add_message("assistant", &body, State::Answered)?;
                unit.set_finish(id, Finish::Interrupted)?;
                id
            }
        };
        unit.set_span(
            id,
            Span {
                start: coming.start,
                end,
            },
        )?;
        unit.set_pending(1)?;
        unit.set_decoded(end - 1)?;
        unit.commit()?;
        coming.id = Some(id);
        Arc::make_mut(&mut self.ledger).extend_from_slice(&tokens);
        // A reply that is sampled again may begin as the one before it.
        if let Some(words) = self.decoded.follow(&self.ledger) {
            self.left.get_or_insert(words.into());
        }
        Ok(())
    }
}

/// What comes next of a call.
enum Next {
    Event(slot::Event),
    /// The time until what was sampled must be stored is over.
    Due,
    /// No more comes.
    End,
}

/// The events of a call, and a clock beside them.
struct Inbox {
    /// For the call; nothing once it has it, so that the events end with the call.
    sender: Option<tokio::sync::mpsc::UnboundedSender<slot::Event>>,
    events: UnboundedReceiver<slot::Event>,
    clock: tokio::runtime::Runtime,
}

impl Inbox {
    fn new() -> Result<Inbox, AgentError> {
        let clock = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|e| AgentError::new(ErrorKind::Engine, format!("there is no clock: {e}")))?;
        let (sender, events) = unbounded_channel();
        Ok(Inbox {
            sender: Some(sender),
            events,
            clock,
        })
    }

    /// Waits for an event; not longer than what was sampled may wait, if it is still to be `kept`.
    fn next(&mut self, coming: &Coming, kept: bool) -> Next {
        let event = match coming.left().filter(|_| kept) {
            None => self.events.blocking_recv(),
            Some(left) => {
                let event = self.events.recv();
                let waited = self
                    .clock
                    .block_on(async { tokio::time::timeout(left, event).await });
                match waited {
                    Ok(event) => event,
                    Err(_) => return Next::Due,
                }
            }
        };
        event.map_or(Next::End, Next::Event)
    }
}
