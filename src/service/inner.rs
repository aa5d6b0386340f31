//! What the sessions of a process share.

use std::sync::Arc;

use super::completing::Completing;
use super::projects::Projects;
use super::scheduler::Scheduler;
use super::table::Table;
use crate::agent::{Engine, NewSession, Open};
use crate::chat::Script;

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

/// What the sessions of a process share.
pub struct Inner {
    /// Those that are open.
    pub table: Arc<Table>,
    /// Completions that run beside them.
    pub completing: Arc<Completing>,
    /// Whose tools are served.
    pub projects: Arc<Projects>,
    /// Before the engine: it holds a handle of its slot.
    pub scheduler: Arc<Scheduler>,
    /// Model, slot and stores.
    pub engine: Engine,
}
