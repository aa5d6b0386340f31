//! What the sessions of a process share.

use std::sync::Arc;

use super::beside::Running;
use super::book::Book;
use super::completing::Completing;
use super::projects::Projects;
use super::scheduler::Scheduler;
use super::table::OpenSessions;
use crate::agent::{Engine, NewSession, WhichSession};
use crate::chat::ReplyScript;

/// How a session is opened.
pub struct SessionOpening {
    /// Which one.
    pub open: WhichSession,
    /// What it is started with, if it starts.
    pub new: NewSession,
    /// Whether a session that starts gets npast's own prompt and tools.
    pub agent: bool,
    /// Whether a user can answer questions.
    pub attended: bool,
    /// Prepared replies.
    pub script: Option<ReplyScript>,
}

/// What the sessions of a process share.
pub struct ServiceShared {
    /// Those that are open.
    pub table: Arc<OpenSessions>,
    /// Requests beside them.
    pub(super) beside: Arc<Running>,
    /// Completions that run beside them.
    pub completing: Arc<Completing>,
    /// Whose tools are served.
    pub projects: Arc<Projects>,
    /// Before the engine: it holds a handle of its slot.
    pub scheduler: Arc<Scheduler>,
    /// What idle work cost.
    pub book: Arc<Book>,
    /// Whether anything is done when nobody waits.
    pub idle: bool,
    /// Model, slot and stores.
    pub engine: Engine,
}
