//! What can go wrong with npast.db, one sentence each, with what to do about it.

use std::io;

use rusqlite::ErrorCode;

use super::name::NameError;
use super::watch;

/// What this room's calls return.
pub type Result<T> = std::result::Result<T, DbError>;

/// Why a call on the session database failed. Nothing of a failed call is stored.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// Another connection held the write lock for longer than a patience that was set, or changed
    /// what was about to be copied.
    #[error("the session database is busy: another process is writing to it")]
    Locked,
    /// The user ended the wait for another program's lock.
    #[error("another program has the session database locked, and the wait for it was ended")]
    Interrupted,
    /// The file, its folder or its file system cannot be written.
    #[error("the session database cannot be written: the file or its folder is read-only")]
    ReadOnly,
    /// No space left.
    #[error("the session database cannot grow: the disk is full")]
    Full,
    /// A session whose rows are not what npast wrote; others are not affected.
    #[error("{place} is damaged: {what}")]
    Damaged {
        /// The session.
        place: String,
        /// What was found.
        what: String,
    },
    /// A file with bytes that npast did not write, or that changed since.
    #[error("{place} is damaged: {what}")]
    Corrupt {
        /// The file.
        place: String,
        /// What was found.
        what: String,
    },
    /// The database was written by a later npast.
    #[error("{path} has format {found}, and this npast knows formats up to {known}")]
    Newer {
        /// The database file.
        path: String,
        /// Its format number.
        found: i64,
        /// The last format number known here.
        known: i64,
    },
    /// The name breaks a rule of [`super::check_name`].
    #[error(transparent)]
    Name(#[from] NameError),
    /// The name is taken.
    #[error("a session named \"{0}\" exists already")]
    Exists(String),
    /// No such session, parent or message.
    #[error("{0} is not in the session database")]
    NotFound(String),
    /// Tokens were to be appended, or cut, at a place that is not in the ledger.
    #[error(
        "session {session} holds {stored} tokens, so nothing can be appended or cut at token {at}"
    )]
    Gap {
        /// The session's id.
        session: i64,
        /// Tokens in the ledger.
        stored: usize,
        /// Where the caller believed the end, or the cut, to be.
        at: usize,
    },
    /// A cut would reach into the frozen head.
    #[error(
        "session {session} cannot be cut to {len} tokens: its first {head} are its frozen head"
    )]
    Frozen {
        /// The session's id.
        session: i64,
        /// Length of the frozen head in tokens.
        head: usize,
        /// The length of the cut.
        len: usize,
    },
    /// A branch cannot be put back.
    #[error("{0}")]
    Branch(String),
    /// There is no such job, or one already.
    #[error("{0}")]
    Job(String),
    /// A unit that would leave a conversation inconsistent; it is rolled back.
    #[error("the change to session {session} was not stored: {what}")]
    Refused {
        /// The session's id.
        session: i64,
        /// What is wrong with it.
        what: String,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl DbError {
    /// What the user can do, if anything.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            DbError::Locked => "wait until the other npast has stored its turn, then try again",
            DbError::Interrupted => {
                "end the program that has npast.db open, then try again; what was stored stays"
            }
            DbError::ReadOnly => {
                "make the data folder and npast.db writable, or set NPAST_HOME to another folder"
            }
            DbError::Full => {
                "free some space and try again; nothing that was stored before is lost"
            }
            DbError::Damaged { .. } => {
                "`npast sessions show NAME` prints what can be read of it, `npast sessions rm NAME` \
                 removes it; other sessions are not affected"
            }
            DbError::Corrupt { .. } => {
                "nothing was changed; copy the data folder to a safe place, then repair npast.db \
                 (`sqlite3 npast.db .recover` writes what can be read), or move it away to start without sessions"
            }
            DbError::Newer { .. } => {
                "use the newer npast, or set NPAST_HOME to another folder for this one"
            }
            DbError::Name(_) => "choose a short name, such as `work` or `fix-the-parser`",
            DbError::Exists(_) => "choose another name, or go on with that one by `--session NAME`",
            DbError::Job(_) => "`npast cron list` shows the jobs",
            DbError::Branch(_) => "`npast sessions show NAME --all` lists the branches",
            DbError::NotFound(_) => "`npast sessions list` shows the names",
            DbError::Gap { .. } | DbError::Frozen { .. } | DbError::Refused { .. } => {
                "this is a defect of npast; the session is as it was before"
            }
            DbError::Other(_) => return None,
        })
    }

    /// Sorts an error of the file system met while preparing `what`.
    pub(super) fn io(what: &str, error: &io::Error) -> DbError {
        use io::ErrorKind::*;
        match error.kind() {
            PermissionDenied | ReadOnlyFilesystem => DbError::ReadOnly,
            StorageFull | QuotaExceeded => DbError::Full,
            _ => DbError::Other(format!("cannot prepare {what}: {error}")),
        }
    }
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> DbError {
        let corrupt = |what: String| DbError::Corrupt {
            place: "the session database".into(),
            what,
        };
        match &error {
            rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::DatabaseBusy if watch::take_ended() => DbError::Interrupted,
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => DbError::Locked,
                ErrorCode::ReadOnly | ErrorCode::PermissionDenied => DbError::ReadOnly,
                ErrorCode::DiskFull => DbError::Full,
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => corrupt(error.to_string()),
                // What npast writes keeps the rules of its tables: the row broke them before.
                ErrorCode::ConstraintViolation if broken_row(failure.extended_code) => {
                    DbError::Damaged {
                        place: "a session".into(),
                        what: error.to_string(),
                    }
                }
                _ => DbError::Other(format!("the session database failed: {error}")),
            },
            rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::Utf8Error(..) => DbError::Damaged {
                place: "a session".into(),
                what: error.to_string(),
            },
            _ => DbError::Other(format!("the session database failed: {error}")),
        }
    }
}

/// Whether a change was refused because of a row's other columns: types, NULLs, checks.
fn broken_row(extended: i32) -> bool {
    use rusqlite::ffi;
    [
        ffi::SQLITE_CONSTRAINT_DATATYPE,
        ffi::SQLITE_CONSTRAINT_NOTNULL,
        ffi::SQLITE_CONSTRAINT_CHECK,
    ]
    .contains(&extended)
}
