//! What kv/index.db looks like, and how one that does not is found out before anybody reckons with
//! its rows: a file that SQLite can read may be damaged all the same.

use std::collections::BTreeMap;

use rusqlite::{Connection, ErrorCode};

use super::{holdings, samples, search, states};

const SCHEMA: i64 = 1;

/// As the first form of this schema had them; every index has these.
const TABLES: &str = "
CREATE TABLE model(id INTEGER PRIMARY KEY, hard BLOB NOT NULL UNIQUE, facts TEXT NOT NULL, soft TEXT NOT NULL);
CREATE TABLE edge(id INTEGER PRIMARY KEY, model INTEGER NOT NULL, \"from\" BLOB NOT NULL, \"to\" BLOB NOT NULL,
  p0 INTEGER NOT NULL, p1 INTEGER NOT NULL, bytes INTEGER NOT NULL, head BLOB NOT NULL, tail BLOB NOT NULL,
  UNIQUE(model, \"from\", \"to\"));
CREATE TABLE node(id INTEGER PRIMARY KEY, model INTEGER NOT NULL, digest BLOB NOT NULL, at INTEGER NOT NULL,
  bytes INTEGER NOT NULL, logits INTEGER NOT NULL, role INTEGER NOT NULL, tail BLOB NOT NULL,
  UNIQUE(model, digest));
CREATE TABLE pin(id INTEGER PRIMARY KEY, owner TEXT NOT NULL, model INTEGER NOT NULL, digest BLOB NOT NULL,
  UNIQUE(owner, model));
CREATE TABLE turn(id INTEGER PRIMARY KEY, owner TEXT NOT NULL, model INTEGER NOT NULL, digest BLOB NOT NULL,
  UNIQUE(owner, model));
CREATE INDEX pin_digest ON pin(model, digest);
CREATE INDEX turn_digest ON turn(model, digest);
PRAGMA user_version = 1;";

/// What is to be done with an index before it is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kv) enum State {
    /// Nothing.
    Whole,
    /// It is of before snapshots had owners in it: the files say whose they are.
    Older,
    /// The lengths of files in it are in doubt: their sum was another one.
    Miscounted,
    /// It has no rows yet. Its tables were made in a transaction that is still open: nobody sees them
    /// before all records have their rows.
    Empty,
}

/// Younger than the schema, and no part of what it says. `total` is changed with the rows it sums,
/// whoever changes them.
const YOUNGER: &str = "
CREATE INDEX IF NOT EXISTS edge_end ON edge(model, \"to\", p0);
DROP INDEX IF EXISTS edge_to;
CREATE TABLE IF NOT EXISTS merged(model INTEGER PRIMARY KEY, bytes INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS total(one INTEGER PRIMARY KEY CHECK (one = 1), bytes INTEGER NOT NULL);
INSERT OR IGNORE INTO total(one, bytes) VALUES (1, 0);
CREATE TRIGGER IF NOT EXISTS edge_added AFTER INSERT ON edge
  BEGIN UPDATE total SET bytes = bytes + new.bytes WHERE one = 1; END;
CREATE TRIGGER IF NOT EXISTS edge_gone AFTER DELETE ON edge
  BEGIN UPDATE total SET bytes = bytes - old.bytes WHERE one = 1; END;
CREATE TRIGGER IF NOT EXISTS node_added AFTER INSERT ON node
  BEGIN UPDATE total SET bytes = bytes + new.bytes WHERE one = 1; END;
CREATE TRIGGER IF NOT EXISTS node_gone AFTER DELETE ON node
  BEGIN UPDATE total SET bytes = bytes - old.bytes WHERE one = 1; END;";

/// True when a row says what no writer writes. Checked once, so that nobody reckons with such a
/// number later.
const UNSOUND: &str = "SELECT
  EXISTS (SELECT 1 FROM model WHERE (typeof(hard) = 'blob' AND length(hard) = 32
    AND typeof(facts) = 'text' AND typeof(soft) = 'text') IS NOT TRUE)
  OR EXISTS (SELECT 1 FROM edge WHERE (typeof(model) = 'integer'
    AND typeof(\"from\") = 'blob' AND length(\"from\") = 32 AND typeof(\"to\") = 'blob' AND length(\"to\") = 32
    AND typeof(p0) = 'integer' AND typeof(p1) = 'integer' AND 0 <= p0 AND p0 < p1 AND p1 <= 0x7fffffff
    AND typeof(bytes) = 'integer' AND bytes BETWEEN 0 AND 1 << 40
    AND typeof(head) = 'blob' AND typeof(tail) = 'blob') IS NOT TRUE)
  OR EXISTS (SELECT 1 FROM node WHERE (typeof(model) = 'integer'
    AND typeof(digest) = 'blob' AND length(digest) = 32
    AND typeof(at) = 'integer' AND at BETWEEN 0 AND 0x7fffffff
    AND typeof(bytes) = 'integer' AND bytes BETWEEN 0 AND 1 << 40
    AND logits IN (0, 1) AND typeof(role) = 'integer' AND role BETWEEN 1 AND 255
    AND typeof(tail) = 'blob') IS NOT TRUE)
  OR EXISTS (SELECT 1 FROM (SELECT owner, model, digest FROM pin UNION ALL SELECT owner, model, digest FROM turn
      UNION ALL SELECT owner, model, digest FROM state UNION ALL SELECT owner, model, digest FROM sample
      UNION ALL SELECT owner, model, digest FROM agreed)
    WHERE (typeof(owner) = 'text' AND typeof(model) = 'integer'
    AND typeof(digest) = 'blob' AND length(digest) = 32) IS NOT TRUE)
  OR EXISTS (SELECT 1 FROM (SELECT soft, numbers FROM sample UNION ALL SELECT soft, x'' FROM agreed)
    WHERE (typeof(soft) = 'blob' AND length(soft) = 32
    AND typeof(numbers) = 'blob' AND length(numbers) <= 4096 AND length(numbers) % 4 = 0) IS NOT TRUE)
  OR EXISTS (SELECT 1 FROM merged WHERE (typeof(bytes) = 'integer' AND bytes BETWEEN 0 AND 1 << 60) IS NOT TRUE)";

/// Whether `total` is not what the rows give: 0 or 1, and without a row NULL.
const MISCOUNTED: &str = "SELECT bytes IS NOT (SELECT coalesce(sum(bytes), 0) FROM edge)
  + (SELECT coalesce(sum(bytes), 0) FROM node) FROM total";
pub(in crate::kv) const COUNT: &str =
    "UPDATE total SET bytes = (SELECT coalesce(sum(bytes), 0) FROM edge)
  + (SELECT coalesce(sum(bytes), 0) FROM node)";

/// Makes the tables, or proves that they and their rows are as a writer leaves them.
pub(in crate::kv) fn prepare(db: &Connection) -> Result<State, rusqlite::Error> {
    // Another process may be making the tables at this moment: look and make in one step.
    db.execute_batch("BEGIN IMMEDIATE")?;
    let made = make(db)?;
    if made == State::Empty {
        return Ok(made);
    }
    db.execute_batch("COMMIT")?;
    let counted = check(db)?;
    if !counted {
        db.execute(COUNT, [])?;
    }
    Ok(match made {
        State::Whole if !counted => State::Miscounted,
        made => made,
    })
}

fn make(tx: &Connection) -> Result<State, rusqlite::Error> {
    let schema: i64 = tx.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    let had = objects(tx)?;
    match (schema, had.is_empty()) {
        (SCHEMA, false) => {}
        (0, true) => tx.execute_batch(TABLES)?,
        _ => return Err(damaged()),
    }
    let older = !had.is_empty() && !had.contains_key("state");
    for statements in younger() {
        tx.execute_batch(statements)?;
    }
    // Writes the first page, whatever it was. So the write-ahead log of an index in use is never empty:
    // of an empty one SQLite thinks that it is not there, and then an index whose first page is damaged
    // cannot be emptied while others have it open.
    tx.pragma_update(None, "user_version", SCHEMA)?;
    // A table that was there before is one that would have been made.
    let wanted = expected()?;
    let has = objects(tx)?;
    if wanted.iter().any(|(name, sql)| has.get(name) != Some(sql)) {
        return Err(damaged());
    }
    Ok(match (had.is_empty(), older) {
        (true, _) => State::Empty,
        (false, true) => State::Older,
        (false, false) => State::Whole,
    })
}

fn younger() -> [&'static str; 5] {
    [
        YOUNGER,
        search::INDEXES,
        states::TABLE,
        samples::TABLES,
        holdings::INDEX,
    ]
}

/// Reads every row, and holds nobody up. False when the sum of all lengths is not that of the rows.
fn check(db: &Connection) -> Result<bool, rusqlite::Error> {
    if db.query_row(UNSOUND, [], |r| r.get(0))? {
        return Err(damaged());
    }
    Ok(!db.query_row(MISCOUNTED, [], |r| r.get::<_, bool>(0))?)
}

/// Tables, indexes and triggers by name, with the statements that made them.
fn objects(db: &Connection) -> Result<BTreeMap<String, String>, rusqlite::Error> {
    db.prepare("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")?
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect()
}

fn expected() -> Result<BTreeMap<String, String>, rusqlite::Error> {
    let db = Connection::open_in_memory()?;
    db.execute_batch(TABLES)?;
    for statements in younger() {
        db.execute_batch(statements)?;
    }
    objects(&db)
}

pub(in crate::kv) fn damaged() -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, None)
}

/// True for what a sound index never answers: SQLite found a page damaged, a statement of ours does
/// not find its tables, a row is missing that is always there, or a value is of another type.
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
