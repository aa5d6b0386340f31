//! One process's engine, scheduler and open sessions.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{bounded, unbounded};

use super::beside::Running;
use super::book::{Book, IdleSum};
use super::client::OpenSession;
use super::completion::Completion;
use super::inner::{ServiceShared, SessionOpening};
use super::mailbox::Events;
use super::projects::{Projects, held};
use super::scheduler::Scheduler;
use super::table::SessionHandle;
use super::terms::{Terms, Tooling};
use super::worker;
use crate::agent::{
    self, AgentError, ClientHistory, Engine, EngineFacts, ErrorKind, NewSession, Notice, Passes,
};
use crate::chat::ReplyScript;
use crate::chat::pins::PinRules;
use crate::session::{Db, SessionId};

/// What a process is to all its clients. Clones are the same service.
#[derive(Clone)]
pub struct Service {
    inner: Arc<ServiceShared>,
    /// Held while a session is opened: it is opened once.
    opening: Arc<Mutex<()>>,
}

impl Service {
    /// A service on an engine that nothing else uses. Without `idle` nothing is done while no client
    /// waits.
    pub fn new(engine: Engine, projects: Arc<Projects>, idle: bool) -> Service {
        let book = Arc::new(Book::new(engine.idle_recorder()));
        let (slot, store) = (engine.slot(), engine.store());
        Service {
            inner: Arc::new(ServiceShared {
                table: Arc::default(),
                beside: Arc::default(),
                completing: Arc::default(),
                projects,
                scheduler: Arc::new(Scheduler::new(slot, store, book.clone(), idle)),
                book,
                idle,
                engine,
            }),
            opening: Arc::default(),
        }
    }

    /// What the engine is.
    pub fn facts(&self) -> EngineFacts {
        self.inner.engine.facts()
    }

    /// The engine, for what needs no session.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Whose tools are served.
    pub fn projects(&self) -> &Projects {
        &self.inner.projects
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

    /// Requests that run beside the sessions.
    pub(super) fn running(&self) -> &Arc<Running> {
        &self.inner.beside
    }

    /// What idle work cost since the start, by its name.
    pub fn idle_sums(&self) -> BTreeMap<String, IdleSum> {
        self.inner.book.sums()
    }

    /// Whether slot and store do anything by themselves when nobody waits. For verification.
    pub fn has_idle_time(&self) -> bool {
        self.inner.scheduler.has_idle_time()
    }

    /// Model calls that wait for the slot.
    pub fn waiting(&self) -> usize {
        self.inner.scheduler.waiting()
    }

    /// The sessions that are open in this process.
    pub fn sessions(&self) -> Vec<OpenSession> {
        let open = self.inner.table.open().into_iter();
        open.map(|handle| self.client(handle, None)).collect()
    }

    fn client(&self, handle: Arc<SessionHandle>, terms: Option<Arc<Terms>>) -> OpenSession {
        OpenSession::of(handle, self.inner.table.clone(), terms)
    }

    /// Opens a session, or gives another handle to one that is open in this process. Its calls run as
    /// the settings of this process say.
    ///
    /// # Errors
    /// When its name is not usable, another process has it, or npast.db fails.
    pub fn open(&self, opening: SessionOpening) -> Result<OpenSession, AgentError> {
        let tooling = Tooling::of(&self.inner.projects.settings());
        self.open_as(opening, tooling)
    }

    /// The same for a client with flags of its own.
    ///
    /// # Errors
    /// As [`Service::open`].
    pub fn open_as(
        &self,
        opening: SessionOpening,
        tooling: Tooling,
    ) -> Result<OpenSession, AgentError> {
        let inner = &self.inner;
        let terms = Arc::new(Terms {
            tooling,
            attended: opening.attended,
            script: opening.script.clone(),
        });
        let _one = held(&self.opening);
        let stored = inner.engine.stored(&opening.open, &opening.new.folder)?;
        let known = stored.and_then(|session| inner.table.find(session.id.0));
        if let Some(handle) = known {
            return Ok(self.client(handle, Some(terms)));
        }
        let (jobs, inbox) = unbounded();
        let (opened, answer) = bounded(1);
        let (own, first) = (inner.clone(), terms.clone());
        std::thread::Builder::new()
            .name("npast-session".to_owned())
            .spawn(move || worker::run(own, opening, first, opened, inbox))
            .map_err(|e| {
                let text = format!("the session's thread did not start: {e}");
                AgentError::new(ErrorKind::Engine, text)
            })?;
        let desk = answer.recv().map_err(|_| {
            AgentError::new(ErrorKind::Internal, "the session's thread ended at once")
        })??;
        let id = desk.info().id;
        let handle = Arc::new(SessionHandle::new(desk, jobs));
        inner.table.insert(id, &handle);
        Ok(self.client(handle, Some(terms)))
    }

    /// Opens the session that a client's history belongs to, or starts one; `keys` are names that the
    /// client gives it. Of `new` the folder and the seed are used.
    ///
    /// # Errors
    /// When the history is no conversation; as [`Service::open`].
    pub fn open_of(
        &self,
        history: &ClientHistory,
        keys: &[String],
        rules: PinRules,
        new: NewSession,
        script: Option<ReplyScript>,
    ) -> Result<OpenSession, AgentError> {
        let engine = &self.inner.engine;
        let (open, new) = engine.session_of(history, keys, rules, new)?;
        let session = self.open(SessionOpening {
            open,
            new,
            agent: false,
            attended: false,
            script,
        })?;
        engine.belongs(&session.info(), history, keys)?;
        Ok(session)
    }

    /// Removes a session for good. What is left of it on disk is a notice of the result.
    ///
    /// # Errors
    /// When somebody works in it, or npast.db fails.
    pub fn remove(&self, db: &Db, id: SessionId) -> Result<Vec<Notice>, AgentError> {
        // Nobody opens it meanwhile.
        let _one = held(&self.opening);
        if self.inner.table.find(id.0).is_some() {
            return Err(AgentError::new(
                ErrorKind::Busy,
                "this session is open: a request runs in it, or somebody watches it",
            )
            .hinted("try again when that has ended"));
        }
        agent::remove(self.inner.engine.home(), db, id)
    }

    /// Has the model go on with a text or with tokens, beside all sessions; `cancel` stops it.
    ///
    /// # Errors
    /// When it cannot begin.
    pub fn complete(
        &self,
        completion: Completion,
        cancel: &Arc<AtomicBool>,
    ) -> Result<Events, AgentError> {
        completion.begin(&self.inner, cancel)
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
        self.inner.table.wait_until_empty();
        self.inner.beside.wait_until_none();
        self.inner.completing.end();
        first
    }
}
