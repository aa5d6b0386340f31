//! What all clients of the socket share, and how far the gateway's end is.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

use super::frame::Hello;
use crate::chat::ReplyScript;
use crate::service::Service;

/// What all clients share.
pub struct Clients {
    pub(super) service: Service,
    hello: Mutex<Hello>,
    /// Prepared replies of clients that bring none.
    pub(super) script: Option<ReplyScript>,
    /// Requests that run or wait.
    pub(super) running: watch::Sender<usize>,
    /// How far the end is.
    pub(super) phase: watch::Sender<Phase>,
}

impl Clients {
    /// On a service.
    pub fn new(service: Service, hello: Hello, script: Option<ReplyScript>) -> Clients {
        Clients {
            service,
            hello: Mutex::new(hello),
            script,
            running: watch::Sender::new(0),
            phase: watch::Sender::new(Phase::Serving),
        }
    }

    /// What the gateway says of itself to a client that comes now.
    pub(super) fn hello(&self) -> Hello {
        self.known().clone()
    }

    /// From now on the gateway says that its settings are these.
    pub fn set(&self, settings: BTreeMap<String, Value>) {
        self.known().settings = settings;
    }

    // What is held is whole between two statements, whoever panicked.
    fn known(&self) -> std::sync::MutexGuard<'_, Hello> {
        self.hello.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a server's end is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// It is not near.
    Serving,
    /// No request is taken any more.
    Ending,
    /// What still runs is stopped.
    Halt,
    /// Nothing runs; clients get what waits for them, and are let go.
    Bye,
}
