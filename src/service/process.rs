//! One process's engine, scheduler and open sessions.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use crossbeam_channel::{bounded, unbounded};

use super::client::{Handle, OpenSession};
use super::projects::{Projects, held};
use super::scheduler::Scheduler;
use super::worker::{self, Job};
use crate::agent::{
    AgentError, Engine, ErrorKind, Facts, History, NewSession, Notice, Open, Passes,
};
use crate::chat::Script;
use crate::chat::pins::Rules;
use crate::session::Db;

/// How a session is opened.
pub struct Opening {
    /// Which one.
    pub open: Open,
    /// What it is started with, if it starts.
    pub new: NewSession,
    /// Whether a session that starts gets npast's own prompt and tools.
    pub agent: bool,
    /// Whether somebody can answer questions.
    pub attended: bool,
    /// Prepared replies.
    pub script: Option<Script>,
}

/// What a process is to all its clients. Clones are the same service.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

/// What clients and sessions of a process share.
pub struct Inner {
    sessions: Mutex<HashMap<i64, Entry>>,
    closed: Condvar,
    /// Held while a session is opened: it is opened once.
    opening: Mutex<()>,
    pub projects: Arc<Projects>,
    /// Before the engine: it holds a handle of its slot.
    pub scheduler: Arc<Scheduler>,
    pub engine: Engine,
}

/// A session that is open, or being closed.
struct Entry {
    handle: Weak<Handle>,
}

impl Service {
    /// A service on an engine that nobody else uses. Without `idle` nothing is done while nobody
    /// waits.
    pub fn new(engine: Engine, projects: Arc<Projects>, idle: bool) -> Service {
        Service {
            inner: Arc::new(Inner {
                sessions: Mutex::default(),
                closed: Condvar::new(),
                opening: Mutex::default(),
                projects,
                scheduler: Arc::new(Scheduler::new(engine.slot(), idle)),
                engine,
            }),
        }
    }

    /// What the engine is.
    pub fn facts(&self) -> Facts {
        self.inner.engine.facts()
    }

    /// The engine, for what needs no session.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// What the user should know of the engine and of what serves tools; each is said once.
    pub fn notices(&self) -> Vec<Notice> {
        let mut notices = self.inner.engine.notices();
        notices.extend(self.inner.projects.take_notices());
        notices
    }

    /// Who gives passes for the slot, for work beside the sessions.
    pub fn passes(&self) -> Arc<dyn Passes> {
        self.inner.scheduler.clone()
    }

    /// Model calls that wait for the slot.
    pub fn waiting(&self) -> usize {
        self.inner.scheduler.waiting()
    }

    /// The sessions that are open in this process.
    pub fn sessions(&self) -> Vec<OpenSession> {
        let sessions = held(&self.inner.sessions);
        let known = sessions.values().filter_map(|entry| entry.handle.upgrade());
        let open = known.filter(|handle| !handle.is_closing());
        open.map(OpenSession::of).collect()
    }

    /// Opens a session, or gives another handle to one that is open in this process.
    ///
    /// # Errors
    /// When its name is not usable, another process has it, or npast.db fails.
    pub fn open(&self, opening: Opening) -> Result<OpenSession, AgentError> {
        let inner = &self.inner;
        let _one = held(&inner.opening);
        if let Some(session) = self.opened(&opening)? {
            return Ok(session);
        }
        let (jobs, inbox) = unbounded();
        let (opened, answer) = bounded(1);
        let own = inner.clone();
        std::thread::Builder::new()
            .name("npast-session".to_owned())
            .spawn(move || worker::run(own, opening, opened, inbox))
            .map_err(|e| {
                let text = format!("the session's thread did not start: {e}");
                AgentError::new(ErrorKind::Engine, text)
            })?;
        let desk = answer.recv().map_err(|_| {
            AgentError::new(ErrorKind::Internal, "the session's thread ended at once")
        })??;
        let id = desk.info().id;
        let handle = Arc::new(Handle::new(desk, jobs, inner.clone()));
        let entry = Entry {
            handle: Arc::downgrade(&handle),
        };
        held(&inner.sessions).insert(id, entry);
        Ok(OpenSession::of(handle))
    }

    /// Opens the session that a client's history belongs to, or starts one; `keys` are names that the
    /// client gives it. Of `new` the folder and the seed are used.
    ///
    /// # Errors
    /// When the history is no conversation; as [`Service::open`].
    pub fn open_of(
        &self,
        history: &History,
        keys: &[String],
        rules: Rules,
        new: NewSession,
        script: Option<Script>,
    ) -> Result<OpenSession, AgentError> {
        let engine = &self.inner.engine;
        let (open, new) = engine.session_of(history, keys, rules, new)?;
        let session = self.open(Opening {
            open,
            new,
            agent: false,
            attended: false,
            script,
        })?;
        engine.belongs(&session.info(), history, keys)?;
        Ok(session)
    }

    /// The session, if it is open here. One that is being closed is waited for.
    fn opened(&self, opening: &Opening) -> Result<Option<OpenSession>, AgentError> {
        let inner = &self.inner;
        let found = {
            let db = Db::open(&inner.projects.places().db())?;
            match &opening.open {
                Open::Named(name) => db.find(name)?,
                Open::Last => db.last_in_folder(&opening.new.folder)?,
                Open::FromWords(_) => None,
            }
        };
        let Some(found) = found else {
            return Ok(None);
        };
        let mut sessions = held(&inner.sessions);
        while let Some(entry) = sessions.get(&found.id.0) {
            let open = entry.handle.upgrade().filter(|one| !one.is_closing());
            if let Some(handle) = open {
                return Ok(Some(OpenSession::of(handle)));
            }
            let waited = inner.closed.wait(sessions);
            sessions = waited.unwrap_or_else(PoisonError::into_inner);
        }
        Ok(None)
    }

    /// Closes every session that is open, when its present requests are done, and waits for it.
    ///
    /// # Errors
    /// The first that could not be stored in whole; the others are closed all the same.
    pub fn close(&self) -> Result<(), AgentError> {
        let mut first = Ok(());
        for session in self.sessions() {
            let closed = session.end();
            if first.is_ok() {
                first = closed;
            }
        }
        let mut sessions = held(&self.inner.sessions);
        while !sessions.is_empty() {
            let waited = self.inner.closed.wait(sessions);
            sessions = waited.unwrap_or_else(PoisonError::into_inner);
        }
        first
    }
}

impl Inner {
    /// Nobody opens or closes a session meanwhile.
    pub fn lock(&self) -> MutexGuard<'_, impl Sized> {
        held(&self.sessions)
    }

    /// A session goes on as another one.
    pub fn renamed(&self, before: i64, now: i64) {
        if before == now {
            return;
        }
        let mut sessions = held(&self.sessions);
        if let Some(entry) = sessions.remove(&before) {
            sessions.insert(now, entry);
        }
    }

    /// A session is closed: another process may have it.
    pub fn closed(&self, id: i64) {
        held(&self.sessions).remove(&id);
        self.closed.notify_all();
    }
}

/// What a worker is sent.
pub type Jobs = crossbeam_channel::Sender<Job>;
