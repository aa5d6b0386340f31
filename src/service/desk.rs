//! What clients and the worker of one open session share: who gets its events, its open questions, what
//! stops it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::mailbox::Sink;
use crate::agent::{Event, Info, OpenQuestion, Steering};
use crate::approve::Grant;

/// How often a question looks whether its turn was stopped.
const LOOK: Duration = Duration::from_millis(50);

/// The shared part of one open session.
pub struct Desk {
    state: Mutex<DeskState>,
    changed: Condvar,
    /// A message to a turn that runs.
    pub steering: Steering,
    /// Requests that wait or run.
    pub requests: AtomicUsize,
}

struct DeskState {
    info: Info,
    sandbox: Option<String>,
    /// The client whose request runs.
    asker: Option<Sink>,
    /// Stops the request that runs.
    cancel: Arc<AtomicBool>,
    watchers: Vec<Sink>,
    question: Option<WaitingQuestion>,
    last_question: u64,
}

struct WaitingQuestion {
    id: u64,
    grant: Option<Grant>,
}

impl Desk {
    /// Of a session that was just opened.
    pub fn new(info: Info) -> Desk {
        Desk {
            state: Mutex::new(DeskState {
                info,
                sandbox: None,
                asker: None,
                cancel: Arc::default(),
                watchers: Vec::new(),
                question: None,
                last_question: 0,
            }),
            changed: Condvar::new(),
            steering: Steering::default(),
            requests: AtomicUsize::new(0),
        }
    }

    // The value is consistent between two statements, whichever thread panicked.
    fn state(&self) -> MutexGuard<'_, DeskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the session was after its last request.
    pub fn info(&self) -> Info {
        self.state().info.clone()
    }

    /// What the programs of its tools are kept from.
    pub fn sandbox(&self) -> Option<String> {
        self.state().sandbox.clone()
    }

    /// The session is this now.
    pub fn set(&self, info: Info) {
        self.state().info = info;
    }

    /// What the programs of its tools are kept from.
    pub fn set_sandbox(&self, held: Option<String>) {
        self.state().sandbox = held;
    }

    /// Another client that gets all events.
    pub fn watch(&self, sink: Sink) {
        self.state().watchers.push(sink);
    }

    /// A request begins: `asker` gets its events, `cancel` stops it.
    pub fn begin(&self, asker: Sink, cancel: Arc<AtomicBool>) {
        let mut state = self.state();
        state.asker = Some(asker);
        state.cancel = cancel;
    }

    /// The request has ended.
    pub fn end(&self) {
        let mut state = self.state();
        state.question = None;
        if let Some(asker) = state.asker.take() {
            asker.end();
        }
    }

    /// The session is closed: no client gets more events.
    pub fn close(&self) {
        self.end();
        self.state().watchers.drain(..).for_each(|sink| sink.end());
    }

    /// Sends an event to the client whose request runs, and to all watchers.
    pub fn tell(&self, event: Event) {
        let mut state = self.state();
        state.watchers.retain(|sink| !sink.is_left());
        for sink in &state.watchers {
            sink.put(event.clone());
        }
        if let Some(asker) = &state.asker {
            asker.put(event);
        }
    }

    /// Stops the request that runs.
    pub fn interrupt(&self) {
        self.state().cancel.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// Asks the clients and waits for the answer. A turn that is stopped, or whose client went away
    /// with nobody else there, has a no.
    pub fn ask(&self, question: &OpenQuestion) -> Grant {
        let id = {
            let mut state = self.state();
            state.last_question += 1;
            let id = state.last_question;
            state.question = Some(WaitingQuestion { id, grant: None });
            id
        };
        self.tell(Event::Question(OpenQuestion {
            id,
            ..question.clone()
        }));
        let mut state = self.state();
        loop {
            match &state.question {
                Some(WaitingQuestion {
                    grant: Some(grant), ..
                }) => {
                    let grant = *grant;
                    state.question = None;
                    return grant;
                }
                Some(_) if !state.cancel.load(Ordering::SeqCst) && state.is_heard() => {}
                _ => {
                    state.question = None;
                    return Grant::No;
                }
            }
            let waited = self.changed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Answers a question; false where it has an answer already, or never existed.
    pub fn answer(&self, id: u64, grant: Grant) -> bool {
        let mut state = self.state();
        let open = match &mut state.question {
            Some(asked) if asked.id == id && asked.grant.is_none() => {
                asked.grant = Some(grant);
                true
            }
            _ => false,
        };
        drop(state);
        self.changed.notify_all();
        open
    }
}

impl DeskState {
    /// Whether a client is there that can answer.
    fn is_heard(&self) -> bool {
        let here = |sink: &Sink| !sink.is_left();
        self.asker.iter().any(here) || self.watchers.iter().any(here)
    }
}
