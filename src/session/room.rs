//! Space for npast.db on a full disk. A cache on the same disk is evicted; the session database requests
//! bytes and does not know what is removed.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Db, DbError, watch};
use crate::durable::Space;

/// Asked for so many bytes; says how many became free.
pub type MakeRoom = Box<dyn Fn(u64) -> u64 + Send>;

/// What opening a database takes at least.
const LEAST: u64 = 1 << 20;
/// When nothing became free, the next request waits this long.
const IN_VAIN: Duration = Duration::from_secs(10);

/// A database's claim to the room on its disk.
#[derive(Default)]
pub(super) struct Claim {
    folder: PathBuf,
    room: Option<MakeRoom>,
    /// A change failed for want of space, whatever the disk says of itself: there are quotas.
    pub(super) failed: Cell<bool>,
    asked_in_vain: Cell<Option<Instant>>,
}

impl Claim {
    pub(super) fn of(database: &Path) -> Claim {
        Claim {
            folder: folder(database).to_owned(),
            ..Claim::default()
        }
    }

    /// Takes note of a change that failed for want of space.
    pub(super) fn note<T>(&self, done: Result<T, DbError>) -> Result<T, DbError> {
        if matches!(done, Err(DbError::Full)) {
            self.failed.set(true);
        }
        done
    }

    /// Has something give way if the disk is nearly full. Before each change: one that fails in its
    /// middle cannot be taken up again.
    pub(super) fn assert(&self) {
        let failed = self.failed.take();
        let Some(space) = Space::of(&self.folder) else {
            return;
        };
        let low = space.free < space.reserve();
        let in_vain = self.asked_in_vain.get();
        let waits = in_vain.is_some_and(|at| at.elapsed() < IN_VAIN);
        if !(failed || (low && !waits)) {
            return;
        }
        // Twice the reserve, so that not every change makes a request.
        let want = (2 * space.reserve()).saturating_sub(space.free).max(LEAST);
        let freed = match &self.room {
            Some(room) => room(want),
            None => watch::make_room(&self.folder, want),
        };
        self.asked_in_vain.set((freed == 0).then(Instant::now));
    }
}

impl Db {
    /// Says what gives way to this database when the disk is full.
    pub fn give_way(&mut self, room: MakeRoom) {
        self.claim.room = Some(room);
    }
}

/// Opens a database, and once more after something gave way where the disk is full.
pub(super) fn opened(path: &Path, open: impl Fn() -> Result<Db, DbError>) -> Result<Db, DbError> {
    let error = match open() {
        Ok(db) => return Ok(db),
        Err(error) => error,
    };
    let folder = folder(path);
    // SQLite has other words for it where it cannot make the files beside the database.
    let full =
        matches!(error, DbError::Full) || Space::of(folder).is_some_and(|space| space.free < LEAST);
    let damaged = matches!(error, DbError::Corrupt { .. } | DbError::Newer { .. });
    if !full || damaged || watch::make_room(folder, 2 * LEAST) == 0 {
        return Err(error);
    }
    open()
}

fn folder(database: &Path) -> &Path {
    let above = database.parent().filter(|p| !p.as_os_str().is_empty());
    above.unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::session::fault::{self, Fault, Reach, Trouble};
    use crate::session::{SessionId, testing};

    fn change(db: &mut Db, id: SessionId) -> Result<(), DbError> {
        let mut unit = db.begin(id)?;
        unit.touch(7)?;
        unit.commit()
    }

    #[test]
    fn after_a_change_that_failed_for_want_of_space_something_gives_way_once() {
        let home = tempfile::tempdir().unwrap();
        let (mut db, session) = testing::disk(home.path());
        let asked = Arc::new(AtomicU64::new(0));
        let room = asked.clone();
        db.give_way(Box::new(move |bytes| {
            assert!(bytes >= LEAST);
            room.fetch_add(1, Ordering::SeqCst);
            bytes
        }));
        change(&mut db, session.id).unwrap();
        assert_eq!(
            asked.load(Ordering::SeqCst),
            0,
            "there is room on this disk"
        );
        // At each of its statements: the begin, the change, the commit.
        for after in 1..3 {
            fault::order(Fault {
                reach: Reach::One,
                after,
                why: Trouble::Full,
            });
            let error = change(&mut db, session.id).unwrap_err();
            fault::heal();
            assert!(matches!(error, DbError::Full), "{after}: {error}");
            assert_eq!(asked.swap(0, Ordering::SeqCst), 0);
            change(&mut db, session.id).unwrap();
            assert_eq!(asked.swap(0, Ordering::SeqCst), 1, "{after}");
            change(&mut db, session.id).unwrap();
            assert_eq!(asked.load(Ordering::SeqCst), 0, "{after}");
        }
    }
}
