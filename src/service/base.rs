//! What the next session of a folder would start with, as far as this process knows it. It is built anew in
//! idle time, since memory, the project's own files, the configuration and the day may have changed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Tooling;
use super::projects::{Projects, SharedTools, held};
use super::setup::setup;
use crate::agent::AgentSetup;
use crate::config::Settings;

/// The next session of an open session's folder.
pub struct NextSession {
    folder: String,
    /// The user's own words for its prompt.
    system: Option<String>,
    tooling: Tooling,
    /// The configuration under which the open one was opened.
    opened: Arc<Settings>,
    /// The prompt and the tools that were prepared last.
    prepared: Option<AgentSetup>,
    /// What serves its tools: what was begun for it stays until it starts.
    project: Option<SharedTools>,
}

impl NextSession {
    /// Of a folder in which an agent's session was opened like this.
    pub fn of(
        folder: &str,
        system: Option<String>,
        tooling: &Tooling,
        projects: &Projects,
    ) -> NextSession {
        NextSession {
            folder: folder.to_owned(),
            system,
            tooling: tooling.clone(),
            opened: projects.settings(),
            prepared: None,
            project: None,
        }
    }

    /// What it would start with, if that is not what was prepared before. Nothing where its servers of tools
    /// are still starting.
    pub fn changed(&mut self, projects: &Projects) -> Option<AgentSetup> {
        let settings = projects.settings();
        if !Arc::ptr_eq(&settings, &self.opened) {
            self.tooling = Tooling::of(&settings);
            self.opened = settings;
        }
        let project = projects.get(Path::new(&self.folder));
        let mut tools = held(&project);
        let there = tools.wait(Duration::ZERO);
        let built = there.then(|| setup(&mut tools, &self.tooling, self.system.as_deref()));
        drop(tools);
        self.project = Some(project);
        let (made, _) = built?
            .inspect_err(|error| tracing::warn!(%error, "the next session cannot be prepared"))
            .ok()?;
        let same = |one: &AgentSetup| {
            one.system == made.system && one.tools == made.tools && one.preface == made.preface
        };
        (!self.prepared.as_ref().is_some_and(same)).then_some(made)
    }

    /// It is prepared like this.
    pub fn is_prepared(&mut self, setup: AgentSetup) {
        self.prepared = Some(setup);
    }
}
