//! Opening npast.db: private, durable, in the format of this program, also while other processes open it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::room::{self, Claim};
use super::{Db, DbError, Result, schema, watch, words};
use crate::durable::{self, private};

impl Db {
    /// Opens the database at `path`, made if it is missing: its folder 0700, the file 0600. Old
    /// formats are brought up to date. A database that may only be read opens too; writing to it
    /// fails with [`DbError::ReadOnly`]. Another program's lock is waited for: see [`super::watch`].
    ///
    /// On a full disk what can be made again gives way: see [`super::watch()`].
    pub fn open(path: &Path) -> Result<Db> {
        let mut db = room::opened(path, || Db::open_once(path))?;
        db.claim = Claim::of(path);
        Ok(db)
    }

    fn open_once(path: &Path) -> Result<Db> {
        let shown = path.display().to_string();
        if let Some(folder) = path.parent() {
            private::folder(folder)
                .map_err(|e| DbError::io(&format!("the folder {}", folder.display()), &e))?;
        }
        // A file that is there may be readable only: what opening it means is SQLite's to say.
        let empty = match fs::metadata(path) {
            Ok(file) => file.is_file() && file.len() == 0,
            Err(_) => {
                make(path)?;
                false
            }
        };
        if !empty {
            return connect(path, &shown);
        }
        // SQLite would delete it with the first write.
        let kept = keep_log(path).map_err(|e| DbError::io(&shown, &e))?;
        let db = connect(path, &shown)?;
        let kept = kept.map(|kept| {
            format!(
                "; what its write-ahead log held is kept in {}",
                kept.display()
            )
        });
        watch::say(
            &format!(
                "{shown} was an empty file, so npast starts without sessions{}",
                kept.unwrap_or_default()
            ),
            Some("if it held sessions once, end npast and put a copy of it back in its place"),
        );
        Ok(db)
    }

    /// Over an open connection.
    pub(super) fn with(conn: Connection, path: &str) -> Result<Db> {
        conn.busy_handler(Some(watch::try_again))?;
        schema::check(&conn, path, schema::STEPS)?;
        if !conn.is_readonly(rusqlite::MAIN_DB)? {
            use_wal(&conn, path)?;
        }
        // Law 5: a commit that returned is on disk. `fullfsync` is what that takes on macOS.
        conn.execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA trusted_schema = OFF;
             PRAGMA journal_size_limit = 16777216;",
        )?;
        schema::climb(&conn, path, schema::STEPS)?;
        words::mend(&conn)?;
        conn.pragma_update(None, "foreign_keys", true)?;
        Ok(Db {
            conn,
            claim: Claim::default(),
        })
    }

    /// Sets how long a lock is waited for before [`DbError::Locked`]; at first there is no end to it.
    pub fn set_patience(&self, patience: Duration) -> Result<()> {
        Ok(self.conn.busy_timeout(patience)?)
    }
}

fn connect(path: &Path, shown: &str) -> Result<Db> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|e| match DbError::from(e) {
        DbError::Other(what) => DbError::Other(format!("cannot open {shown}: {what}")),
        error => error,
    })?;
    Db::with(conn, shown)
}

/// Makes a database under another name and gives it its own when it is whole, so that an empty
/// npast.db is never one that another process is about to make. Another process may be faster.
fn make(path: &Path) -> Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let one = COUNT.fetch_add(1, Ordering::Relaxed);
    let new = beside(path, &format!(".new-{}-{one}", std::process::id()));
    let shown = path.display().to_string();
    let failed = |error: &io::Error| DbError::io(&shown, error);
    let made = private::file(&new)
        .map_err(|e| failed(&e))
        .and_then(|_| connect(&new, &shown))
        .and_then(|db| Ok(db.conn.close().map_err(|(_, error)| error)?));
    let linked = made.and_then(|()| {
        match fs::hard_link(&new, path) {
            Ok(()) => path.parent().map_or(Ok(()), durable::sync_folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // A file system without links: the other name was only for others' sake.
            Err(_) => private::file(path).map(drop),
        }
        .map_err(|e| failed(&e))
    });
    for ending in ["", "-wal", "-shm", "-journal"] {
        let _ = fs::remove_file(beside(&new, ending));
    }
    linked
}

/// Gives the write-ahead log of an empty database another name, where it holds something.
fn keep_log(path: &Path) -> io::Result<Option<PathBuf>> {
    let log = beside(path, "-wal");
    if !fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        return Ok(None);
    }
    let mut n = 1;
    loop {
        let kept = beside(path, &format!("-wal.kept-{n}"));
        if !kept.exists() {
            fs::rename(&log, &kept)?;
            return Ok(Some(kept));
        }
        n += 1;
    }
}

/// The same path with an ending.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Turns WAL on. Where two processes do this at once SQLite answers "busy" without waiting, so
/// the waiting is done here. A file system without shared memory keeps the rollback journal,
/// which is slower and as safe.
fn use_wal(conn: &Connection, path: &str) -> Result<()> {
    let mut times = 0;
    loop {
        let mode: rusqlite::Result<String> =
            conn.pragma_update_and_check(None, "journal_mode", "wal", |r| r.get(0));
        match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                tracing::warn!(path, mode, "no write-ahead log on this file system");
                return Ok(());
            }
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                // A call of SQLite's own may have ended the wait already.
                if watch::ended() || !watch::try_again(times) {
                    return Err(error.into());
                }
                times = times.saturating_add(1);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
