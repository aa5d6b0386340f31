//! What clients and the worker of one open session share: who gets its events, its open questions, what
//! stops it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::mailbox::Sink;
use crate::agent::{Event, Info, OpenQuestion, Steering};
use crate::approve::{Approve, Grant};

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
    /// Stops the idle work that runs.
    idle: Mutex<Option<Arc<AtomicBool>>>,
    /// The worker waits for a request, and has no idle work to do.
    rests: AtomicBool,
    /// Nobody will ask for anything more.
    left: AtomicBool,
    /// Has whoever waits for the slot look at its flag.
    wake: Box<dyn Fn() + Send + Sync>,
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
    /// The policy of the client whose request runs, and whether somebody there answers questions.
    rights: (Approve, bool),
}

struct WaitingQuestion {
    id: u64,
    answer: Option<(Grant, Option<String>)>,
}

impl Desk {
    /// Of a session that was just opened; `wake` has whoever waits for the slot look at its flag.
    pub fn new(info: Info, wake: Box<dyn Fn() + Send + Sync>) -> Desk {
        Desk {
            state: Mutex::new(DeskState {
                info,
                sandbox: None,
                asker: None,
                cancel: Arc::default(),
                watchers: Vec::new(),
                question: None,
                last_question: 0,
                rights: (Approve::default(), false),
            }),
            changed: Condvar::new(),
            steering: Steering::default(),
            requests: AtomicUsize::new(0),
            idle: Mutex::default(),
            rests: AtomicBool::new(false),
            left: AtomicBool::new(false),
            wake,
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

    fn idle(&self) -> MutexGuard<'_, Option<Arc<AtomicBool>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Idle work begins; the flag that stops it. Nothing where somebody asks for something: a request is
    /// counted before [`Desk::stop_idle`] looks for the flag, so one of the two sees the other.
    pub fn begin_idle(&self) -> Option<Arc<AtomicBool>> {
        let flag: Arc<AtomicBool> = Arc::default();
        *self.idle() = Some(flag.clone());
        if self.requests.load(Ordering::SeqCst) > 0 || self.left.load(Ordering::SeqCst) {
            self.end_idle();
            return None;
        }
        Some(flag)
    }

    /// The idle work has ended.
    pub fn end_idle(&self) {
        *self.idle() = None;
    }

    /// The worker begins to wait for a request, or has one.
    pub fn rest(&self, rests: bool) {
        self.rests.store(rests, Ordering::SeqCst);
    }

    /// Whether the worker waits for a request and has no idle work to do.
    pub fn is_at_rest(&self) -> bool {
        self.rests.load(Ordering::SeqCst)
    }

    /// Stops idle work between two decode calls, for a request that was counted.
    pub fn stop_idle(&self) {
        let flag = self.idle().clone();
        if let Some(flag) = flag {
            flag.store(true, Ordering::SeqCst);
            (self.wake)();
        }
    }

    /// Nobody will ask for anything more: no idle work begins.
    pub fn leave(&self) {
        self.left.store(true, Ordering::SeqCst);
        self.stop_idle();
    }

    /// Another client that hears everything.
    pub fn watch(&self, sink: Sink) {
        self.state().watchers.push(sink);
    }

    /// A request begins: `asker` gets its events, `cancel` stops it.
    pub fn begin(&self, asker: Sink, cancel: Arc<AtomicBool>) {
        let mut state = self.state();
        state.asker = Some(asker);
        state.cancel = cancel;
    }

    /// The request that begins runs under this policy; whether somebody answers its questions.
    pub fn set_rights(&self, policy: Approve, attended: bool) {
        self.state().rights = (policy, attended);
    }

    /// What [`Desk::set_rights`] set.
    pub fn rights(&self) -> (Approve, bool) {
        self.state().rights
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

    /// Asks the clients and waits for the answer, with the reason for a no if there is one. A turn that is stopped, or whose client went away
    /// with nobody else there, has a no.
    pub fn ask(&self, question: &OpenQuestion) -> (Grant, Option<String>) {
        let id = {
            let mut state = self.state();
            state.last_question += 1;
            let id = state.last_question;
            state.question = Some(WaitingQuestion { id, answer: None });
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
                    answer: Some(answer),
                    ..
                }) => {
                    let answer = answer.clone();
                    state.question = None;
                    return answer;
                }
                Some(_) if !state.cancel.load(Ordering::SeqCst) && state.is_heard() => {}
                _ => {
                    state.question = None;
                    return (Grant::No, None);
                }
            }
            let waited = self.changed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Answers a question, with a reason for a no; false where it has an answer already, or never existed.
    pub fn answer(&self, id: u64, grant: Grant, reason: Option<String>) -> bool {
        let mut state = self.state();
        let open = match &mut state.question {
            Some(asked) if asked.id == id && asked.answer.is_none() => {
                asked.answer = Some((grant, reason.filter(|_| grant == Grant::No)));
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
