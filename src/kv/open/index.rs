//! An index in use, and what happens when damage is met in it. The writer thread, the queries and the
//! commands run their work through [`IndexOwner::sound`]: if the work meets damage, the index is rebuilt
//! from the record files, and the same work runs again. Invariant: a store or folder rebuilds its index
//! at most 8 times.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::ErrorCode;

use crate::kv::error::Error;
use crate::kv::index::connection::Index;
use crate::kv::index::location::{IndexLocation, IndexOrigin};
use crate::kv::index::rebuild::Reconciled;
use crate::kv::index::schema;
use crate::kv::notice::Notices;

/// The maximum number of times that one store or folder opens its index again because of damage. If a bad
/// disk damages the index again and again, the writer thread would otherwise do nothing but rebuild it.
const MOST_REBUILDS: u32 = 8;

/// The connection for changes, and a count of the attempts to repair the index.
pub(in crate::kv) struct OpenIndex {
    location: IndexLocation,
    connection: Mutex<Index>,
    rebuilds: AtomicU32,
}

impl OpenIndex {
    pub(in crate::kv) fn new(location: IndexLocation, index: Index) -> OpenIndex {
        OpenIndex {
            location,
            connection: Mutex::new(index),
            rebuilds: AtomicU32::new(0),
        }
    }

    /// The connection. Every change is a transaction, so a thread that panicked while it held the lock
    /// has left no change half done.
    pub(in crate::kv) fn lock(&self) -> MutexGuard<'_, Index> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of the index.
    pub(in crate::kv) fn location(&self) -> &IndexLocation {
        &self.location
    }

    /// How often the index was opened again because of damage, including attempts that failed. It may
    /// have been rebuilt each time.
    pub(in crate::kv) fn rebuilds(&self) -> u32 {
        self.rebuilds.load(Ordering::Acquire)
    }

    /// Counts one more attempt; false when [`MOST_REBUILDS`] were made already.
    fn may_rebuild(&self) -> bool {
        self.rebuilds.fetch_add(1, Ordering::AcqRel) < MOST_REBUILDS
    }

    /// True for an error that an undamaged index never causes.
    fn is_damage(&self, error: &rusqlite::Error) -> bool {
        schema::is_damage(error)
            || error.sqlite_error_code() == Some(ErrorCode::ReadOnly)
                && self
                    .lock()
                    .is_read_only_by_its_header(&self.location.path())
    }

    /// Whether a thread holds the connection.
    #[cfg(test)]
    pub(in crate::kv) fn is_locked(&self) -> bool {
        self.connection.try_lock().is_err()
    }
}

/// An error type that may contain an error of SQLite.
pub(in crate::kv) trait IndexError {
    /// The error of SQLite, if it is one.
    fn of_index(&self) -> Option<&rusqlite::Error>;
}

impl IndexError for rusqlite::Error {
    fn of_index(&self) -> Option<&rusqlite::Error> {
        Some(self)
    }
}

impl IndexError for Error {
    fn of_index(&self) -> Option<&rusqlite::Error> {
        match self {
            Error::Index(error) => Some(error),
            _ => None,
        }
    }
}

/// A store or a folder: the value that has an open index.
pub(in crate::kv) trait IndexOwner {
    fn open_index(&self) -> &OpenIndex;
    fn notices(&self) -> &Notices;
    /// Opens the index again and replaces the connections. An index in which damage is found is rebuilt;
    /// with `rebuild` it is rebuilt in any case.
    fn reopen(&self, rebuild: bool) -> Result<(), Error>;

    /// Runs `work`, which uses the index. If it meets damage, the index is opened again and `work` runs
    /// again, at most two more times. So `work` must be safe to repeat, and the caller must not hold the
    /// connection.
    fn sound<T, E: IndexError>(&self, mut work: impl FnMut() -> Result<T, E>) -> Result<T, E> {
        let mut done = work();
        // The first attempt does not force a rebuild, because another process may have rebuilt the index
        // already.
        for rebuild in [false, true] {
            let damaged = |error: &E| {
                let error = error.of_index();
                error.is_some_and(|error| self.open_index().is_damage(error))
            };
            if !done.as_ref().is_err_and(damaged) || !self.open_index().may_rebuild() {
                return done;
            }
            if let Err(error) = self.reopen(rebuild) {
                self.notices().add_once(
                    "rebuild",
                    format!("The KV index is damaged and could not be rebuilt: {error}."),
                    "Check the disk of the data folder; until then KV is evaluated again after a restart.",
                );
                return done;
            }
            done = work();
        }
        done
    }
}

/// Adds the notices about what was found when the index was opened.
pub(in crate::kv) fn report(notices: &Notices, origin: IndexOrigin, reconciled: Reconciled) {
    let files = reconciled.added;
    let why = match origin {
        IndexOrigin::Kept => None,
        IndexOrigin::New => Some("was missing").filter(|_| files > 0),
        IndexOrigin::Damaged => Some("was damaged"),
        IndexOrigin::OtherVersion => Some("was made by another version of npast"),
    };
    if let Some(why) = why {
        notices.add(
            format!("The KV index {why}; it is rebuilt from {files} files."),
            "Nothing is lost but pins, which come back with the next turn.",
        );
    }
    if reconciled.refused > 0 {
        notices.add(
            format!(
                "{} damaged KV files were moved to quarantine.",
                reconciled.refused
            ),
            "Nothing to do: what they held is evaluated again; kv/quarantine can be deleted.",
        );
    }
    tracing::debug!(?origin, ?reconciled, "kv index opened");
}
