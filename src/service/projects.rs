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
    settings: Settings,
    open: Mutex<Vec<SharedTools>>,
}

impl Projects {
    /// None yet.
    pub fn new(places: Places, settings: Settings) -> Projects {
        Projects {
            places,
            settings,
            open: Mutex::default(),
        }
    }

    /// What the process is set to.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where its data are.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// What serves a project's tools; it begins to start if it is not there yet.
    pub fn get(&self, project: &Path) -> SharedTools {
        let mut open = held(&self.open);
        let known = open.iter().find(|one| held(one).project == project);
        if let Some(known) = known {
            return known.clone();
        }
        let new = ProjectTools::new(&self.places, project, &self.settings);
        let new = Arc::new(Mutex::new(new));
        open.push(new.clone());
        new
    }

    /// Whether all servers that were begun are there, or were given up; waits a little.
    pub fn are_there(&self) -> bool {
        let open = held(&self.open).clone();
        open.iter().all(|one| held(one).wait(LOOK))
    }

    /// Ends what no session uses.
    pub fn sweep(&self) {
        let unused: Vec<SharedTools> = {
            let mut open = held(&self.open);
            let (used, unused) = std::mem::take(&mut *open)
                .into_iter()
                .partition(|one| Arc::strong_count(one) > 1);
            *open = used;
            unused
        };
        // Servers take a moment to end, so the lock is released first.
        drop(unused);
    }

    /// What there is to say of them, each thing once.
    pub fn take_notices(&self) -> Vec<Notice> {
        let open = held(&self.open).clone();
        open.iter()
            .flat_map(|one| held(one).take_notices())
            .collect()
    }
}

// The value is consistent between two statements, whichever thread panicked.
pub(super) fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
