//! The projects whose tools this process serves, each once. What serves a project ends with its last
//! session.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::ProjectTools;
use crate::agent::Notice;
use crate::config::{Places, Settings};

/// How long a look at starting servers takes.
const LOOK: Duration = Duration::from_millis(20);

/// What serves one project's tools, for all sessions in it.
pub type SharedTools = Arc<Mutex<ProjectTools>>;

/// The projects of a process.
pub struct Projects {
    places: Places,
    settings: Mutex<Arc<Settings>>,
    open: Mutex<Vec<Served>>,
}

/// A project that is served.
struct Served {
    tools: SharedTools,
    /// What they were made with.
    settings: Arc<Settings>,
}

impl Projects {
    /// None yet.
    pub fn new(places: Places, settings: Settings) -> Projects {
        Projects {
            places,
            settings: Mutex::new(Arc::new(settings)),
            open: Mutex::default(),
        }
    }

    /// What the process is set to.
    pub fn settings(&self) -> Arc<Settings> {
        held(&self.settings).clone()
    }

    /// Sets the process otherwise. Sessions that are open keep what serves them; those that are opened
    /// from now on get servers, rules and a sandbox by the new settings.
    pub fn replace(&self, settings: Settings) {
        *held(&self.settings) = Arc::new(settings);
    }

    /// Where its data are.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// What serves a project's tools; it begins to start if it is not there yet.
    pub fn get(&self, project: &Path) -> SharedTools {
        let settings = self.settings();
        let mut open = held(&self.open);
        let known = open.iter().find(|one| {
            Arc::ptr_eq(&one.settings, &settings) && held(&one.tools).project == project
        });
        if let Some(known) = known {
            return known.tools.clone();
        }
        let tools = ProjectTools::new(&self.places, project, &settings);
        let tools = Arc::new(Mutex::new(tools));
        open.push(Served {
            tools: tools.clone(),
            settings,
        });
        tools
    }

    /// Whether all servers that were begun are there, or were given up; waits a little.
    pub fn are_there(&self) -> bool {
        self.all().iter().all(|one| held(one).wait(LOOK))
    }

    /// Ends what no session uses.
    pub fn sweep(&self) {
        let unused: Vec<Served> = {
            let mut open = held(&self.open);
            let (used, unused) = std::mem::take(&mut *open)
                .into_iter()
                .partition(|one| Arc::strong_count(&one.tools) > 1);
            *open = used;
            unused
        };
        // Servers take a moment to end, so the lock is released first.
        drop(unused);
    }

    /// What there is to say of them, each thing once.
    pub fn take_notices(&self) -> Vec<Notice> {
        let open = self.all();
        open.iter()
            .flat_map(|one| held(one).take_notices())
            .collect()
    }

    fn all(&self) -> Vec<SharedTools> {
        let open = held(&self.open);
        open.iter().map(|one| one.tools.clone()).collect()
    }
}

// The value is consistent between two statements, whichever thread panicked.
pub(super) fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
