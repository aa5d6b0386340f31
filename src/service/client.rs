//! A client's hold of an open session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::bounded;

use super::job::{AskJob, SessionJob};
use super::mailbox::{Events, mailbox};
use super::request::Request;
use super::table::{OpenSessions, SessionHandle};
use super::terms::Terms;
use crate::agent::{AgentError, Conversation, Done, ErrorKind, Event, Info, Steering};
use crate::approve::Grant;

/// Requests of one session that may wait or run.
const MOST_WAITING: usize = 64;

/// An open session. Clones are the same session; when the last one is dropped, the session is closed
/// behind the requests that were made. Of several clients' requests one runs at a time, in the order
/// in which they were made.
#[derive(Clone)]
pub struct OpenSession {
    handle: Arc<SessionHandle>,
    table: Arc<OpenSessions>,
    /// How this client's requests run; without them as the session was opened.
    terms: Option<Arc<Terms>>,
}

impl OpenSession {
    /// Another client's.
    pub(super) fn of(
        handle: Arc<SessionHandle>,
        table: Arc<OpenSessions>,
        terms: Option<Arc<Terms>>,
    ) -> OpenSession {
        OpenSession {
            handle,
            table,
            terms,
        }
    }

    /// What the session was after its last request.
    pub fn info(&self) -> Info {
        self.handle.desk.info()
    }

    /// What the session is, as an event.
    pub fn event(&self) -> Event {
        Event::Session {
            info: self.info(),
            sandbox: self.sandbox(),
        }
    }

    /// What the programs of its tools are kept from; nothing where it has no tools of npast's.
    pub fn sandbox(&self) -> Option<String> {
        self.handle.desk.sandbox()
    }

    /// Makes a request; its events end with [`Event::Done`] or [`Event::Error`].
    ///
    /// # Errors
    /// When too many requests wait, or the session's thread is gone.
    pub fn ask(&self, request: Request) -> Result<Events, AgentError> {
        self.ask_until(request, &Arc::default())
    }

    /// The same; the request is stopped when `cancel` is set.
    ///
    /// # Errors
    /// As [`OpenSession::ask`].
    pub fn ask_until(
        &self,
        request: Request,
        cancel: &Arc<AtomicBool>,
    ) -> Result<Events, AgentError> {
        let (sink, events) = mailbox();
        let desk = &self.handle.desk;
        match request {
            Request::Steer { text } => desk.steering.steer(text),
            Request::Interrupt => desk.interrupt(),
            Request::Answer {
                question,
                grant,
                reason,
            } => {
                if !desk.answer(question, grant, reason) {
                    return Err(AgentError::new(
                        ErrorKind::Input,
                        "this question is not open any more",
                    ));
                }
            }
            request => {
                let before = desk.requests.fetch_add(1, Ordering::SeqCst);
                desk.stop_idle();
                let job = SessionJob::Ask(AskJob {
                    request: Box::new(request),
                    sink: sink.clone(),
                    cancel: cancel.clone(),
                    terms: self.terms.clone(),
                });
                let sent = match before {
                    0 => self.handle.jobs.send(job).map_err(|_| gone()),
                    MOST_WAITING.. => Err(too_many()),
                    place => {
                        sink.put(Event::Queued { place });
                        self.handle.jobs.send(job).map_err(|_| gone())
                    }
                };
                if sent.is_err() {
                    desk.requests.fetch_sub(1, Ordering::SeqCst);
                }
                return sent.map(|()| events);
            }
        }
        sink.put(Event::Done(Done::Heard));
        Ok(events)
    }

    /// All events of the session from now on, whichever client caused them.
    pub fn watch(&self) -> Events {
        let (sink, events) = mailbox();
        self.handle.desk.watch(sink);
        events
    }

    /// Stops the request that runs.
    pub fn interrupt(&self) {
        self.handle.desk.interrupt();
    }

    /// Answers a question, with a reason for a no; false where it is not open any more.
    pub fn answer(&self, question: u64, grant: Grant, reason: Option<String>) -> bool {
        self.handle.desk.answer(question, grant, reason)
    }

    /// What the user says while a turn runs.
    pub fn steering(&self) -> Steering {
        self.handle.desk.steering.clone()
    }

    /// Has the session closed behind the requests that were made, if this is its last client; then
    /// what this gives waits until everything is on disk. Questions can still be answered.
    pub fn close(&self) -> Closing {
        let (done, answer) = bounded(1);
        self.table.close_last(&self.handle, SessionJob::Close(done));
        Closing(answer)
    }

    /// Closes the session, also for all other clients.
    pub(super) fn end(self) -> Result<(), AgentError> {
        let (done, answer) = bounded(1);
        self.handle.close(SessionJob::Close(done));
        Closing(answer).wait()
    }

    /// Whether the session waits for a request and has no idle work left to do. For verification.
    pub fn is_at_rest(&self) -> bool {
        self.handle.desk.is_at_rest()
    }

    /// Looks at the conversation between two requests. For verification.
    ///
    /// # Errors
    /// When the session's thread is gone.
    pub fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Conversation) -> T + Send + 'static,
    ) -> Result<T, AgentError> {
        let (done, answer) = bounded(1);
        let job = SessionJob::Look(Box::new(move |talk| drop(done.send(look(talk)))));
        let sent = self.handle.jobs.send(job);
        let seen = sent.ok().and_then(|()| answer.recv().ok());
        seen.ok_or_else(gone)
    }
}

/// A session that is being closed.
pub struct Closing(crossbeam_channel::Receiver<Result<(), AgentError>>);

impl Closing {
    /// Of a session whose end is said by `answer`.
    pub fn of(answer: crossbeam_channel::Receiver<Result<(), AgentError>>) -> Closing {
        Closing(answer)
    }

    /// Waits until everything is on disk; at once where other clients have the session.
    ///
    /// # Errors
    /// When the store's writer has died, or npast.db fails; the session itself is whole.
    pub fn wait(&self) -> Result<(), AgentError> {
        self.0.recv().unwrap_or(Ok(()))
    }
}

fn too_many() -> AgentError {
    AgentError::new(
        ErrorKind::Input,
        "too many requests wait for this session already",
    )
    .hinted("wait for some of them to end")
}

fn gone() -> AgentError {
    AgentError::new(ErrorKind::Engine, "the session was closed meanwhile")
        .hinted("nothing stored is lost; open it again")
}
