//! How the requests of one client run. Several clients may hold one session: each brings its own policy
//! for calls and its own budget, and whether somebody there answers questions.

use serde::{Deserialize, Serialize};

use crate::agent::Budget;
use crate::approve::Approve;
use crate::chat::ReplyScript;
use crate::config::Settings;

/// What goes with each request of a client.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What its calls may do.
    pub tooling: Tooling,
    /// Whether somebody can answer questions.
    pub attended: bool,
    /// Prepared replies.
    pub script: Option<ReplyScript>,
}

/// What a client's flags and configuration say of tools.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Tooling {
    /// What happens to a call that no rule speaks of.
    pub approve: Approve,
    /// What one turn may take.
    pub budget: Budget,
    /// Tools that a session which starts gets besides the usual ones.
    pub with_tools: Vec<String>,
    /// Tools that a session which starts does not get.
    pub without_tools: Vec<String>,
}

impl Tooling {
    /// What these settings say.
    pub fn of(settings: &Settings) -> Tooling {
        Tooling {
            approve: settings.approve,
            budget: settings.budget,
            with_tools: settings.with_tools.clone(),
            without_tools: settings.without_tools.clone(),
        }
    }
}
