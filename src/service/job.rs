//! What the thread of an open session is sent.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam_channel::Sender;

use super::mailbox::Sink;
use super::request::Request;
use super::terms::Terms;
use crate::agent::{AgentError, Conversation};

/// What a worker has to do.
pub enum SessionJob {
    /// A request.
    Ask(AskJob),
    /// Something that a test looks at.
    Look(Box<dyn FnOnce(&mut Conversation) + Send>),
    /// The last client goes; answered when all is on disk.
    Close(Sender<Result<(), AgentError>>),
}

/// A request of one client.
pub struct AskJob {
    /// What is asked.
    pub request: Box<Request>,
    /// Who hears of it.
    pub sink: Sink,
    /// What stops it.
    pub cancel: Arc<AtomicBool>,
    /// How it runs, where the client said so.
    pub terms: Option<Arc<Terms>>,
}
