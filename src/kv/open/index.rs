//! An index in use. Whatever meets damage in it (the writer, a query, a command) has it rebuilt from the
//! files and does its work again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::ErrorCode;

use crate::kv::error::Error;
use crate::kv::index::connection::Index;
use crate::kv::index::location::{IndexLocation, IndexOrigin};
use crate::kv::index::rebuild::Reconciled;
use crate::kv::index::schema;
use crate::kv::notice::Notices;

/// How often one store or folder rebuilds its index. On a disk that damages it again and again the
/// writer would do nothing else.
const MOST_REBUILDS: u32 = 8;

/// The connection that makes changes, and how often the index was rebuilt.
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

    /// The connection. Every change is a transaction, so a thread that panicked with the lock left none
    /// half done.
    pub(in crate::kv) fn lock(&self) -> MutexGuard<'_, Index> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it is.
    pub(in crate::kv) fn location(&self) -> &IndexLocation {
        &self.location
    }

    /// How often it was rebuilt.
    pub(in crate::kv) fn rebuilds(&self) -> u32 {
        self.rebuilds.load(Ordering::Acquire)
    }

    /// Counts one more rebuild; false when there were enough.
    fn may_rebuild(&self) -> bool {
        self.rebuilds.fetch_add(1, Ordering::AcqRel) < MOST_REBUILDS
    }

    fn is_damage(&self, error: &rusqlite::Error) -> bool {
        schema::is_damage(error)
            || error.sqlite_error_code() == Some(ErrorCode::ReadOnly)
                && self
                    .lock()
                    .is_read_only_by_its_header(&self.location.path())
    }

    /// Whether a thread is changing the index, or waiting for its turn.
    #[cfg(test)]
    pub(in crate::kv) fn is_locked(&self) -> bool {
        self.connection.try_lock().is_err()
    }
}

/// An error that may come from the index.
pub(in crate::kv) trait IndexError {
    /// SQLite's error, if it is one.
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

/// An owner of an open index.
pub(in crate::kv) trait IndexOwner {
    fn open_index(&self) -> &OpenIndex;
    fn notices(&self) -> &Notices;
    /// Opens the index again, in the place of its connections. A damaged one is rebuilt; with `rebuild`
    /// also one that passes all checks.
    fn reopen(&self, rebuild: bool) -> Result<(), Error>;

    /// Runs `work`, which uses the index. When it meets damage, the index is rebuilt and `work` runs
    /// again: so it must do no harm when it runs twice, and the caller must not hold the connection.
    fn sound<T, E: IndexError>(&self, mut work: impl FnMut() -> Result<T, E>) -> Result<T, E> {
        let mut done = work();
        // First without `rebuild`: another process may have rebuilt the index already.
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
                    format!("The KV index is damaged and could not be made anew: {error}."),
                    "Check the disk of the data folder; until then KV is evaluated again after a restart.",
                );
                return done;
            }
            done = work();
        }
        done
    }
}

/// Tells the user what opening an index found.
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
            format!("{} damaged KV files are set aside.", reconciled.refused),
            "Nothing to do: what they held is evaluated again; kv/quarantine can be deleted.",
        );
    }
    tracing::debug!(?origin, ?reconciled, "kv index opened");
}
