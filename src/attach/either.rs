//! A service or a session, in this process or in the gateway's. A command line does not know which.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::frame::Joining;
use super::peer::Peer;
use super::remote::RemoteSession;
use crate::agent::{AgentError, Event, Info, Notice};
use crate::approve::Grant;
use crate::chat::ReplyScript;
use crate::service::{Closing, Events, OpenSession, Request, Service, SessionOpening};

/// Says something to the turn that runs.
pub type Steer = Arc<dyn Fn(String) + Send + Sync>;

/// What serves sessions.
pub enum Serving {
    /// This process.
    Here(Service),
    /// The gateway.
    There(Box<Peer>),
}

impl Serving {
    /// Opens a session. Prepared replies are `script` in this process, and their text is in `wanted` for
    /// the gateway.
    ///
    /// # Errors
    /// As [`Service::open`]; when the gateway has ended.
    pub fn open(
        &self,
        wanted: Joining,
        script: Option<&ReplyScript>,
    ) -> Result<Talking, AgentError> {
        match self {
            Serving::Here(service) => {
                let opening = SessionOpening {
                    open: wanted.open,
                    new: wanted.new,
                    agent: wanted.agent,
                    attended: wanted.attended,
                    script: script.cloned(),
                };
                let session = service.open_as(opening, wanted.tooling)?;
                Ok(Talking::Here(session))
            }
            Serving::There(peer) => Ok(Talking::There(peer.open(wanted)?)),
        }
    }

    /// The conversation's limit in tokens.
    pub fn limit(&self) -> usize {
        match self {
            Serving::Here(service) => service.facts().limit,
            Serving::There(peer) => peer.hello().limit,
        }
    }

    /// The model's file name.
    pub fn model(&self) -> String {
        match self {
            Serving::Here(service) => service.facts().model,
            Serving::There(peer) => peer.hello().model.clone(),
        }
    }

    /// What the user should know; each thing is said once.
    pub fn notices(&self) -> Vec<Notice> {
        match self {
            Serving::Here(service) => service.notices(),
            Serving::There(peer) => peer.notices(),
        }
    }
}

/// A session that is talked to.
#[derive(Clone)]
pub enum Talking {
    /// In this process.
    Here(OpenSession),
    /// In the gateway.
    There(RemoteSession),
}

impl Talking {
    /// What the session was after its last request.
    pub fn info(&self) -> Info {
        match self {
            Talking::Here(session) => session.info(),
            Talking::There(session) => session.info(),
        }
    }

    /// What the programs of its tools are kept from; nothing where it has no tools of npast's.
    pub fn sandbox(&self) -> Option<String> {
        match self {
            Talking::Here(session) => session.sandbox(),
            Talking::There(session) => session.sandbox(),
        }
    }

    /// What the session is, as an event.
    pub fn event(&self) -> Event {
        Event::Session {
            info: self.info(),
            sandbox: self.sandbox(),
        }
    }

    /// Makes a request; its events end with [`Event::Done`] or [`Event::Error`]. It is stopped when
    /// `cancel` is set.
    ///
    /// # Errors
    /// When too many requests wait, or whoever serves the session is gone.
    pub fn ask_until(
        &self,
        request: Request,
        cancel: &Arc<AtomicBool>,
    ) -> Result<Events, AgentError> {
        match self {
            Talking::Here(session) => session.ask_until(request, cancel),
            Talking::There(session) => session.ask_until(request, cancel),
        }
    }

    /// Answers a question, with a reason for a no. One that is not open any more takes no answer.
    pub fn answer(&self, question: u64, grant: Grant, reason: Option<String>) {
        match self {
            Talking::Here(session) => {
                session.answer(question, grant, reason);
            }
            Talking::There(session) => session.pass(Request::Answer {
                question,
                grant,
                reason,
            }),
        }
    }

    /// How something is said to the turn that runs.
    pub fn steer(&self) -> Steer {
        match self {
            Talking::Here(session) => {
                let steering = session.steering();
                Arc::new(move |text| steering.steer(text))
            }
            Talking::There(session) => Arc::new(session.steer()),
        }
    }

    /// What was said to a turn and came too late for it.
    pub fn left(&self) -> Option<String> {
        match self {
            Talking::Here(session) => session.steering().left(),
            Talking::There(session) => session.left(),
        }
    }

    /// Leaves the session behind the requests that were made. If nobody else has it, it is closed, and
    /// what this gives waits until everything is on disk. Questions can still be answered.
    pub fn close(&self) -> Closing {
        match self {
            Talking::Here(session) => session.close(),
            Talking::There(session) => session.close(),
        }
    }
}
