//! What the thread of an open session is sent.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam_channel::Sender;

use super::mailbox::Sink;
use super::request::Request;
use crate::agent::{AgentError, Conversation};

/// What a worker has to do.
pub enum SessionJob {
    /// A request, the client that gets its events, and what stops it.
    Ask(Box<Request>, Sink, Arc<AtomicBool>),
    /// Something that a test looks at.
    Look(Box<dyn FnOnce(&mut Conversation) + Send>),
    /// The last client goes; answered when all is on disk.
    Close(Sender<Result<(), AgentError>>),
}
