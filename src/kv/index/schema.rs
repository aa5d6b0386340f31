//! The schema of the index, and the check of an index before it is used: SQLite may be able to read a
//! database that is damaged. The index is a cache, and its schema has one version number; an index of
//! another version is not migrated but rebuilt from the record files. Used at each open. Invariant: after
//! [`prepare`] has returned `Sound`, every row has values that npast writes.

use std::collections::BTreeMap;

use rusqlite::{Connection, ErrorCode};

use super::table::{IndexTable, SqlResult};
use super::totals::Totals;
use super::{edges, models, nodes, pins, samples, states, totals, turns};

/// The `user_version` of the tables below. Raise it with every change of a table: every index is then
/// rebuilt at its next open.
pub(in crate::kv) const VERSION: i64 = 2;
/// The highest number that is taken for a version of npast. A higher `user_version` is taken for damage.
const MOST_VERSION: i64 = 99;

const TABLES: [IndexTable; 8] = [
    models::TABLE,
    edges::TABLE,
    nodes::TABLE,
    pins::TABLE,
    turns::TABLE,
    states::TABLE,
    samples::TABLE,
    totals::TABLE,
];

/// What must be done to an index before it can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kv) enum Condition {
    /// Nothing: it is complete and right.
    Sound,
    /// The file lengths in the rows must be read from the files again, because their sum was not the
    /// stored total.
    Miscounted,
    /// All rows must be added. The empty tables were created in a transaction that is still open: other
    /// processes see them only after the caller has filled them and committed.
    Empty,
    /// It must be rebuilt, because another version of npast has made it.
    OtherVersion,
}

/// Creates the tables of a new index, or checks that an existing index has them and that every row has
/// values that npast writes.
pub(in crate::kv) fn prepare(db: &Connection) -> SqlResult<Condition> {
    // Another process may be creating the tables at this moment, so looking and creating are one
    // transaction.
    db.execute_batch("BEGIN IMMEDIATE")?;
    match make(db)? {
        Condition::Empty => return Ok(Condition::Empty),
        Condition::OtherVersion => {
            db.execute_batch("ROLLBACK")?;
            return Ok(Condition::OtherVersion);
        }
        _ => db.execute_batch("COMMIT")?,
    }
    // Every row is read once here, so that no later code computes with a damaged number. Reading blocks
    // no other process.
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

/// Creates the tables if there are none, and checks the statements that created them.
fn make(tx: &Connection) -> SqlResult<Condition> {
    let version: i64 = tx.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    let had = objects(tx)?;
    match (version, had.is_empty()) {
        (VERSION, false) => {}
        (0, true) => create(tx)?,
        (1..=MOST_VERSION, false) => return Ok(Condition::OtherVersion),
        _ => return Err(damaged()),
    }
    // This writes the first page of the database, even if nothing changes, so the write-ahead log of an
    // open index is never empty. SQLite treats an empty log like a missing one, and could then not empty
    // an index with a damaged first page while other processes have it open.
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

/// The tables, indexes and triggers by name, with the statements that created them.
fn objects(db: &Connection) -> SqlResult<BTreeMap<String, String>> {
    db.prepare("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")?
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect()
}

/// The tables, indexes and triggers that an index of this version has.
fn expected() -> SqlResult<BTreeMap<String, String>> {
    let db = Connection::open_in_memory()?;
    create(&db)?;
    objects(&db)
}

/// The error that SQLite returns for a damaged database.
pub(in crate::kv) fn damaged() -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, None)
}

/// True for an error that an undamaged index never causes: SQLite found a damaged page, a statement does
/// not find its tables, a row that always exists is missing, or a value has the wrong type.
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

/// SQLite's error code for a file that ends in the middle of a page.
const SHORT_READ: i32 = rusqlite::ffi::SQLITE_IOERR_SHORT_READ;
