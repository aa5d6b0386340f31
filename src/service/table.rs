//! The open sessions of a process, each once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

use crossbeam_channel::Sender;

use super::desk::Desk;
use super::job::SessionJob;
use super::projects::held;

/// What all clients of an open session share.
pub struct SessionHandle {
    /// With the session's worker.
    pub desk: Arc<Desk>,
    /// To the session's worker.
    pub jobs: Sender<SessionJob>,
    /// The worker has the order to close the session.
    closing: AtomicBool,
}

impl SessionHandle {
    /// Of a session whose worker runs.
    pub fn new(desk: Arc<Desk>, jobs: Sender<SessionJob>) -> SessionHandle {
        SessionHandle {
            desk,
            jobs,
            closing: AtomicBool::new(false),
        }
    }

    fn is_open(&self) -> bool {
        !self.closing.load(Ordering::SeqCst)
    }

    /// Has the worker close the session behind the requests that were made.
    pub fn close(&self, job: SessionJob) {
        self.closing.store(true, Ordering::SeqCst);
        self.desk.leave();
        // A worker that is gone has closed it.
        let _ = self.jobs.send(job);
    }
}

impl Drop for SessionHandle {
    fn drop(&mut self) {
        // The last client went away without a word.
        self.desk.leave();
    }
}

/// The sessions that are open, or being closed, by their ids.
#[derive(Default)]
pub struct OpenSessions {
    sessions: Mutex<HashMap<i64, Weak<SessionHandle>>>,
    closed: Condvar,
}

impl OpenSessions {
    /// A session was opened.
    pub fn insert(&self, id: i64, handle: &Arc<SessionHandle>) {
        held(&self.sessions).insert(id, Arc::downgrade(handle));
    }

    /// The sessions that take requests.
    pub fn open(&self) -> Vec<Arc<SessionHandle>> {
        let sessions = held(&self.sessions);
        let known = sessions.values().filter_map(Weak::upgrade);
        known.filter(|handle| handle.is_open()).collect()
    }

    /// The session, if it is open. One that is being closed is waited for.
    pub fn find(&self, id: i64) -> Option<Arc<SessionHandle>> {
        let mut sessions = held(&self.sessions);
        while let Some(known) = sessions.get(&id) {
            if let Some(handle) = known.upgrade().filter(|handle| handle.is_open()) {
                return Some(handle);
            }
            let waited = self.closed.wait(sessions);
            sessions = waited.unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    /// Closes a session whose only client holds `handle`; where others have it, they close it.
    pub fn close_last(&self, handle: &Arc<SessionHandle>, job: SessionJob) {
        // Under this lock no client gets another handle of the session.
        let _sessions = held(&self.sessions);
        if Arc::strong_count(handle) == 1 {
            handle.close(job);
        }
    }

    /// A session goes on as another one.
    pub fn renamed(&self, before: i64, now: i64) {
        if before == now {
            return;
        }
        let mut sessions = held(&self.sessions);
        if let Some(handle) = sessions.remove(&before) {
            sessions.insert(now, handle);
        }
    }

    /// A session is closed: another process may have it.
    pub fn closed(&self, id: i64) {
        held(&self.sessions).remove(&id);
        self.closed.notify_all();
    }

    /// Waits until no session is open.
    pub fn wait_until_empty(&self) {
        let mut sessions = held(&self.sessions);
        while !sessions.is_empty() {
            let waited = self.closed.wait(sessions);
            sessions = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}
