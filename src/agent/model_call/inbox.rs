//! The events of a call, and a clock beside them: what was sampled must not wait for the next token to be
//! stored.

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::agent::values::error::{AgentError, ErrorKind};
use crate::slot;

use super::coming::Coming;

/// What comes next of a call.
pub(in crate::agent) enum NextEvent {
    Event(slot::SlotEvent),
    /// The time until what was sampled must be stored is over.
    Due,
    /// No more comes.
    End,
}

/// The events of a call, and a clock beside them.
pub(in crate::agent) struct Inbox {
    /// For the call; nothing once it has it, so that the events end with the call.
    pub sender: Option<tokio::sync::mpsc::UnboundedSender<slot::SlotEvent>>,
    events: UnboundedReceiver<slot::SlotEvent>,
    clock: tokio::runtime::Runtime,
}

impl Inbox {
    pub fn new() -> Result<Inbox, AgentError> {
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
    pub fn next(&mut self, coming: &Coming, kept: bool) -> NextEvent {
        let event = match coming.left().filter(|_| kept) {
            None => self.events.blocking_recv(),
            Some(left) => {
                let event = self.events.recv();
                let waited = self
                    .clock
                    .block_on(async { tokio::time::timeout(left, event).await });
                match waited {
                    Ok(event) => event,
                    Err(_) => return NextEvent::Due,
                }
            }
        };
        event.map_or(NextEvent::End, NextEvent::Event)
    }
}
