//! A request that runs in the service. When this is dropped, which is also what happens when a client
//! goes away, the request is stopped between two decode calls; what was decoded stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::agent::Event;
use crate::service::{Events, OpenSession};

/// A request, its events, and the flag that stops it.
pub struct RunningRequest {
    events: Events,
    stop: Arc<AtomicBool>,
    /// The session stays open as long as its request runs; a completion, and a request
    /// beside the sessions, have none.
    session: Option<OpenSession>,
}

impl RunningRequest {
    /// Of a request that was made with this flag.
    pub fn new(session: OpenSession, events: Events, stop: Arc<AtomicBool>) -> RunningRequest {
        RunningRequest {
            events,
            stop,
            session: Some(session),
        }
    }

    /// Of a request without a session that was begun with this flag.
    pub fn alone(events: Events, stop: Arc<AtomicBool>) -> RunningRequest {
        RunningRequest {
            events,
            stop,
            session: None,
        }
    }

    /// The next event; `None` when there are no more.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Whose request it is, if it is one of a session.
    pub fn session(&self) -> Option<&OpenSession> {
        self.session.as_ref()
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}
