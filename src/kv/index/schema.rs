//! The schema of kv/index.db, and the check of an index before it is used: a file that SQLite can read
//! may be damaged all the same.
//!
//! The index is a cache of the files. It has one version number; an index of another version is not
//! migrated but rebuilt from the files.

use std::collections::BTreeMap;

use rusqlite::{Connection, ErrorCode};

use super::table::{SqlResult, Table};
use super::totals::Totals;
use super::{edges, models, nodes, pins, samples, states, totals, turns};

/// `user_version` of the tables below. Raise it with every change of them: all indexes are then
/// rebuilt at their next open.
pub(in crate::kv) const VERSION: i64 = 2;
/// Versions that another npast may have written. A number above it is damage.
const MOST_VERSION: i64 = 99;

const TABLES: [Table; 8] = [
    models::TABLE,
    edges::TABLE,
    nodes::TABLE,
    pins::TABLE,
    turns::TABLE,
    states::TABLE,
    samples::TABLE,
    totals::TABLE,
];

/// What an index needs before it can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kv) enum Condition {
    /// Nothing.
    Sound,
    /// The sum of the file lengths was wrong, so each length in a row is in doubt.
    Miscounted,
    /// All rows. The tables were made in a transaction that is still open: no other process sees them
    /// before it is filled and committed.
    Empty,
    /// A rebuild: another version of npast made it.
    OtherVersion,
}

/// Makes the tables of a new index, or proves that an index has them and that every row is one that a
/// writer writes.
pub(in crate::kv) fn prepare(db: &Connection) -> SqlResult<Condition> {
    // Another process may be making the tables at this moment: look and make in one transaction.
    db.execute_batch("BEGIN IMMEDIATE")?;
    match make(db)? {
        Condition::Empty => return Ok(Condition::Empty),
        Condition::OtherVersion => {
            db.execute_batch("ROLLBACK")?;
            return Ok(Condition::OtherVersion);
        }
        _ => db.execute_batch("COMMIT")?,
    }
    // Each row is read once here, so that nothing computes with a damaged number later. Reading holds
    // up no other process.
    for table in &TABLES {
        let unsound = format!("SELECT EXISTS ({})", table.unsound);
        if db.query_row(&unsound, [], |r| r.get(0))? {
            return Err(damaged());
        }
    }
    let totals = Totals::new(db);
    if totals.is_right()? {
        return Ok(Condition::Sound);
    }
    totals.recount()?;
    Ok(Condition::Miscounted)
}

fn make(tx: &Connection) -> SqlResult<Condition> {
    let version: i64 = tx.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    let had = objects(tx)?;
    match (version, had.is_empty()) {
        (VERSION, false) => {}
        (0, true) => create(tx)?,
        (1..=MOST_VERSION, false) => return Ok(Condition::OtherVersion),
        _ => return Err(damaged()),
    }
    // This writes the first page, also where nothing changes, so the write-ahead log of an index in use
    // is never empty. SQLite takes an empty log for a missing one, and then could not empty an index
    // with a damaged first page while other processes have it open.
    tx.pragma_update(None, "user_version", VERSION)?;
    let has = objects(tx)?;
    if expected()?
        .iter()
        .any(|(name, sql)| has.get(name) != Some(sql))
    {
        return Err(damaged());
    }
    Ok(if had.is_empty() {
        Condition::Empty
    } else {
        Condition::Sound
    })
}

fn create(db: &Connection) -> SqlResult<()> {
    TABLES
        .iter()
        .try_for_each(|table| db.execute_batch(table.create))
}

/// Tables, indexes and triggers by name, with the statements that made them.
fn objects(db: &Connection) -> SqlResult<BTreeMap<String, String>> {
    db.prepare("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")?
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect()
}

fn expected() -> SqlResult<BTreeMap<String, String>> {
    let db = Connection::open_in_memory()?;
    create(&db)?;
    objects(&db)
}

/// The error that SQLite gives for a damaged database.
pub(in crate::kv) fn damaged() -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, None)
}

/// True for errors that a sound index never gives: SQLite found a damaged page, a statement of ours does
/// not find its tables, a row that is always there is missing, or a value has another type.
pub(in crate::kv) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error;
    match error {
        Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::TooBig
            | ErrorCode::Unknown => true,
            ErrorCode::SystemIoFailure => failure.extended_code == SHORT_READ,
            _ => false,
        },
        Error::SqlInputError { .. }
        | Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::Utf8Error(..)
        | Error::InvalidColumnType(..)
        | Error::QueryReturnedNoRows => true,
        _ => false,
    }
}

/// The file ends before the page does.
const SHORT_READ: i32 = rusqlite::ffi::SQLITE_IOERR_SHORT_READ;
