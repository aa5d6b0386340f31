//! The notices about npast.db, and how long npast waits for a lock. Another program that has
//! npast.db locked costs time and never a message: npast waits for as long as it takes, says so once
//! when the wait is no longer a short one, and ends the wait when the user wants it.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long a wait lasts before it is reported, and before Ctrl-C ends it: other writers of npast are done
/// in much less.
#[cfg(not(test))]
const SILENT: Duration = Duration::from_secs(3);
#[cfg(test)]
const SILENT: Duration = Duration::from_millis(30);

/// Milliseconds between two tries; later ones are as far apart as the last.
const PAUSES: [u64; 10] = [1, 2, 5, 10, 15, 20, 25, 25, 50, 100];

/// The program around this library. Its methods are called on the thread that uses the database, while
/// a call of that thread waits or works.
pub trait Watcher: Send + Sync {
    /// Something the user should know, once: a sentence, and what to do.
    fn notice(&self, text: &str, hint: Option<&str>);

    /// Whether the user wants to stop what runs.
    fn stop_asked(&self) -> bool;

    /// The disk of the data folder is full: something that can be made again goes, if there is any.
    /// Frees up to `bytes` bytes and returns how many became free.
    fn make_room(&self, folder: &Path, bytes: u64) -> u64 {
        let _ = (folder, bytes);
        0
    }
}

/// One for the process: SQLite calls a plain function while it waits, which knows no connection.
static WATCHER: OnceLock<Box<dyn Watcher>> = OnceLock::new();

/// Says who watches all databases of this process; the first call counts. Without a watcher notices go
/// to the log, and a wait has no end but the lock's.
pub fn watch(watcher: Box<dyn Watcher>) {
    let _ = WATCHER.set(watcher);
}

fn watched<T>(ask: impl FnOnce(&dyn Watcher) -> T) -> Option<T> {
    #[cfg(test)]
    if let Some(own) = super::testing::watcher() {
        return Some(ask(&*own));
    }
    WATCHER.get().map(|watcher| ask(&**watcher))
}

/// Gives a notice to whoever watches.
pub(super) fn say(text: &str, hint: Option<&str>) {
    if watched(|watcher| watcher.notice(text, hint)).is_none() {
        tracing::warn!("{text}");
    }
}

/// Asks whoever watches for room on the disk.
pub(super) fn make_room(folder: &Path, bytes: u64) -> u64 {
    watched(|watcher| watcher.make_room(folder, bytes)).unwrap_or(0)
}

/// One wait for one lock.
struct Wait {
    since: Instant,
    /// The user had stopped something before the wait began, and not the wait: that was about something
    /// else, such as a reply.
    asked_before: bool,
    said: bool,
}

thread_local! {
    static WAIT: RefCell<Option<Wait>> = const { RefCell::new(None) };
    static ENDED: Cell<bool> = const { Cell::new(false) };
    /// The request to stop that stands now has ended a wait; it ends those that follow too.
    static GIVEN_UP: Cell<bool> = const { Cell::new(false) };
}

/// SQLite's busy handler: sleeps a little, and says whether the lock is tried once more. `times` counts
/// the calls for this lock, from 0.
pub(super) fn try_again(times: i32) -> bool {
    let asked = watched(|watcher| watcher.stop_asked()).unwrap_or(false);
    let given_up = asked && GIVEN_UP.get();
    let goes_on = WAIT.with_borrow_mut(|wait| {
        let wait = match wait {
            Some(wait) if times > 0 => wait,
            _ => wait.insert(Wait {
                since: Instant::now(),
                asked_before: asked && !given_up,
                said: false,
            }),
        };
        wait.goes_on(wait.since.elapsed(), asked)
    });
    ENDED.set(!goes_on);
    GIVEN_UP.set(given_up || !goes_on);
    if goes_on {
        let pause = usize::try_from(times).ok().and_then(|n| PAUSES.get(n));
        let pause = pause.unwrap_or(&PAUSES[PAUSES.len() - 1]);
        std::thread::sleep(Duration::from_millis(*pause));
    }
    goes_on
}

impl Wait {
    fn goes_on(&mut self, waited: Duration, asked: bool) -> bool {
        if waited < SILENT {
            return true;
        }
        if asked && !self.asked_before {
            return false;
        }
        if !self.said {
            self.said = true;
            say(
                "another program has npast.db locked: npast waits for it",
                Some("end that program, or wait; Ctrl-C ends the wait, and what is stored stays"),
            );
        }
        true
    }
}

/// Whether the last wait of this thread was ended by the user.
pub(super) fn ended() -> bool {
    ENDED.get()
}

/// The same, once.
pub(super) fn take_ended() -> bool {
    ENDED.take()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::session::testing::{Ear, disk, new};
    use crate::session::{CutPoint, Db, DbError};

    type Write = fn(&mut Db) -> Result<(), DbError>;

    /// What changes npast.db, each once, on a connection of its own.
    fn writes() -> Vec<(&'static str, Write)> {
        fn work(db: &Db) -> crate::session::SessionId {
            db.id_of("work").unwrap().unwrap()
        }
        vec![
            ("begin", |db| {
                let id = work(db);
                let mut unit = db.begin(id)?;
                unit.touch(1)?;
                unit.commit()
            }),
            ("create", |db| db.create(&new("other")).map(drop)),
            ("rename", |db| db.rename(work(db), "renamed")),
            ("remove", |db| db.remove(work(db)).map(drop)),
            ("fork", |db| {
                let cut = CutPoint {
                    after: None,
                    at: 4,
                    pending: 0,
                };
                db.fork(work(db), "fork", cut, &[]).map(drop)
            }),
        ]
    }

    #[test]
    fn every_write_waits_for_another_programs_lock_and_says_so_once_while_it_waits() {
        for (what, write) in writes() {
            let home = tempfile::tempdir().unwrap();
            let (mut other, session) = disk(home.path());
            let (heard, said) = channel();
            let path = home.path().join("npast.db");
            let unit = other.begin(session.id).unwrap();
            std::thread::scope(|scope| {
                let writer = scope.spawn(move || {
                    let ear = Ear::here();
                    ear.tell(heard);
                    let mut db = Db::open(&path).unwrap();
                    let done = write(&mut db);
                    (done.map_err(|e| e.to_string()), ear.notices().len())
                });
                let notice = said
                    .recv()
                    .unwrap_or_else(|_| panic!("{what} did not wait"));
                assert!(notice.contains("another program"), "{what}: {notice}");
                unit.commit().unwrap();
                assert_eq!(writer.join().unwrap(), (Ok(()), 1), "{what}");
            });
        }
    }

    #[test]
    fn a_request_to_stop_ends_a_wait_that_was_said_and_changes_nothing() {
        for (what, write) in writes() {
            let home = tempfile::tempdir().unwrap();
            let (mut other, session) = disk(home.path());
            let unit = other.begin(session.id).unwrap();
            let ear = Ear::here();
            ear.stop_when_told();
            let mut db = Db::open(&home.path().join("npast.db")).unwrap();
            // The second time there is no notice: the request of the user still counts.
            for _ in 0..2 {
                let error = write(&mut db).unwrap_err();
                assert!(matches!(error, DbError::Interrupted), "{what}: {error}");
                assert!(error.hint().is_some());
                assert_eq!(ear.notices().len(), 1, "{what}");
            }
            drop(unit);
            write(&mut db).unwrap_or_else(|e| panic!("{what}: {e}"));
        }
    }

    #[test]
    fn a_request_from_before_a_wait_does_not_end_it() {
        let mut wait = Wait {
            since: Instant::now(),
            asked_before: true,
            said: false,
        };
        assert!(wait.goes_on(SILENT * 1000, true));
        wait.asked_before = false;
        assert!(wait.goes_on(SILENT * 1000, false));
        assert!(wait.goes_on(SILENT / 2, true), "a short wait is not ended");
        assert!(!wait.goes_on(SILENT, true));
    }

    /// SQLite refuses at once a write of a transaction that has read, when another has written since.
    #[test]
    fn a_transaction_that_may_write_has_the_lock_before_it_reads() {
        let home = tempfile::tempdir().unwrap();
        let (mut other, session) = disk(home.path());
        other.set_patience(Duration::from_millis(5)).unwrap();
        let db = Db::open(&home.path().join("npast.db")).unwrap();
        let tx = db.write().unwrap();
        let count = "SELECT count(*) FROM sessions";
        let sessions: i64 = tx.query_row(count, [], |row| row.get(0)).unwrap();
        assert_eq!(sessions, 1);
        assert!(matches!(other.begin(session.id), Err(DbError::Locked)));
        assert!(matches!(other.remove(session.id), Err(DbError::Locked)));
        tx.execute("UPDATE sessions SET used_ms = 1", []).unwrap();
        tx.commit().unwrap();
        other.remove(session.id).unwrap();
    }
}
