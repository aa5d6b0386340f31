//! Opening npast.db: private, durable, in the format of this program, whoever opens it besides us.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{Db, Error, Result, schema};
use crate::durable::private;

/// How long a write waits for another process's. Units are short: a longer wait is a stuck one.
const PATIENCE: Duration = Duration::from_secs(5);

impl Db {
    /// Opens the database at `path`, made if it is missing: its folder 0700, the file 0600. Old
    /// formats are brought up to date. A database that may only be read opens too; writing to it
    /// fails with [`Error::ReadOnly`].
    pub fn open(path: &Path) -> Result<Db> {
        let shown = path.display().to_string();
        if let Some(folder) = path.parent() {
            private::folder(folder)
                .map_err(|e| Error::io(&format!("the folder {}", folder.display()), &e))?;
        }
        // A file that is there may be readable only: what opening it means is SQLite's to say.
        if !path.exists() {
            private::file(path).map_err(|e| Error::io(&shown, &e))?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags).map_err(|e| match Error::from(e) {
            Error::Other(what) => Error::Other(format!("cannot open {shown}: {what}")),
            error => error,
        })?;
        Db::with(conn, &shown)
    }

    /// Over an open connection.
    pub(super) fn with(conn: Connection, path: &str) -> Result<Db> {
        conn.busy_timeout(PATIENCE)?;
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
        conn.pragma_update(None, "foreign_keys", true)?;
        Ok(Db { conn })
    }

    /// Sets how long a write waits for another process before [`Error::Locked`]; 5 s at first.
    pub fn set_patience(&self, patience: Duration) -> Result<()> {
        Ok(self.conn.busy_timeout(patience)?)
    }
}

/// Turns WAL on. Where two processes do this at once SQLite answers "busy" without waiting, so
/// the waiting is done here. A file system without shared memory keeps the rollback journal,
/// which is slower and as safe.
fn use_wal(conn: &Connection, path: &str) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let mode: rusqlite::Result<String> =
            conn.pragma_update_and_check(None, "journal_mode", "wal", |r| r.get(0));
        match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                tracing::warn!(path, mode, "no write-ahead log on this file system");
                return Ok(());
            }
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < until =>
            {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
