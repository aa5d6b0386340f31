//! The search index of npast.db is a cache of the messages. No message waits for it or fails because of it:
//! triggers only record what was stored or removed (table `unindexed`), and the next search brings the
//! index up to date. When the update or the search meets damage, the index is rebuilt from the messages,
//! and one notice says so.

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use super::{Result, watch};

/// All that makes the index: the view of all texts, the full-text index over it, the notes and triggers.
const INDEX: &str = include_str!("steps/words.sql");
/// The index, and where FTS5 keeps it, as plain tables.
const TABLES: [&str; 5] = [
    "words",
    "words_data",
    "words_idx",
    "words_docsize",
    "words_config",
];
/// Everything that [`INDEX`] makes besides.
const OTHERS: [(&str, &str); 5] = [
    ("VIEW", "said"),
    ("TRIGGER", "unindexed_added"),
    ("TRIGGER", "unindexed_changing"),
    ("TRIGGER", "unindexed_removed"),
    ("TABLE", "unindexed"),
];

/// Makes the index again where a part of it is gone, before it is used. Costs nothing otherwise.
pub(super) fn mend(conn: &Connection) -> Result<()> {
    if complete(conn)? || conn.is_readonly(rusqlite::MAIN_DB)? {
        return Ok(());
    }
    Ok(rebuild(conn)?)
}

/// Runs a search on an index that has every message as it is. Not within a transaction.
pub(super) fn searched<T>(
    conn: &Connection,
    search: impl Fn() -> rusqlite::Result<T>,
) -> Result<T> {
    if !complete(conn)? && !conn.is_readonly(rusqlite::MAIN_DB)? {
        rebuild(conn)?;
    }
    let current = catch_up(conn).and_then(|()| lost_words(conn));
    let current = current.and_then(|lost| match lost {
        true if !conn.is_readonly(rusqlite::MAIN_DB)? => rebuild(conn),
        _ => Ok(()),
    });
    match current.and_then(|()| search()) {
        Err(error) if damage(&error) && !conn.is_readonly(rusqlite::MAIN_DB)? => {
            rebuild(conn)?;
            Ok(search()?)
        }
        done => Ok(done?),
    }
}

/// Whether the index has lost messages without FTS5 seeing damage: words of the first and of the last
/// ones are looked up.
fn lost_words(conn: &Connection) -> rusqlite::Result<bool> {
    // One snapshot: another process may store a message, which is not in the index yet.
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Deferred)?;
    for order in ["ASC", "DESC"] {
        let mut some = tx.prepare_cached(&format!(
            "SELECT id, text FROM said WHERE id NOT IN (SELECT message FROM unindexed)
             ORDER BY id {order} LIMIT 8"
        ))?;
        let mut rows = some.query([])?;
        while let Some(row) = rows.next()? {
            let text: String = row.get("text").unwrap_or_default();
            if let Some(word) = plain_word(&text) {
                let there = tx
                    .prepare_cached("SELECT 1 FROM words WHERE words MATCH ? AND rowid = ?")?
                    .exists((word, row.get::<_, i64>("id")?))?;
                if !there {
                    return Ok(true);
                }
                break;
            }
        }
    }
    Ok(false)
}

/// A word that every tokenizer takes for one.
fn plain_word(text: &str) -> Option<String> {
    let plain = |word: &&str| word.len() < 40 && word.bytes().all(|b| b.is_ascii_alphanumeric());
    let word = text.split_ascii_whitespace().find(plain)?;
    Some(format!("\"{word}\""))
}

/// Brings the index up to date, so that nothing of what was removed is left in it.
pub(super) fn forget_removed(conn: &Connection) -> Result<()> {
    searched(conn, || Ok(()))
}

fn catch_up(conn: &Connection) -> rusqlite::Result<()> {
    let noted = conn
        .prepare_cached("SELECT 1 FROM unindexed LIMIT 1")?
        .exists([])?;
    if !noted || conn.is_readonly(rusqlite::MAIN_DB)? {
        return Ok(());
    }
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    tx.execute_batch(
        "INSERT INTO words (words, rowid, text)
             SELECT 'delete', message, old FROM unindexed WHERE old IS NOT NULL;
         INSERT INTO words (rowid, text)
             SELECT id, text FROM said WHERE id IN (SELECT message FROM unindexed);
         DELETE FROM unindexed;",
    )?;
    tx.commit()
}

/// Whether an error may come from the index: FTS5 reports damage, of tables that are gone, and of rows that
/// are there already.
fn damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::Unknown | ErrorCode::ConstraintViolation)
    )
}

/// Makes the index again from the messages, in the first of three ways that works. Each has a
/// transaction of its own: after damage in a page SQLite writes no more in the one that met it.
fn rebuild(conn: &Connection) -> rusqlite::Result<()> {
    let ways = [refill, replace, abandon];
    let mut first = None;
    for way in ways {
        let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
        match way(&tx).and_then(|()| tx.commit()) {
            Ok(()) => {
                watch::say(
                    "the search index of npast.db was damaged and was made again from the messages",
                    None,
                );
                return Ok(());
            }
            Err(error) if damage(&error) => {
                read_schema_again(conn)?;
                first.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    // Other damage than the index's: it is what keeps the index from being made.
    first.map_or(Ok(()), Err)
}

/// Whether every part of the index is there.
fn complete(conn: &Connection) -> rusqlite::Result<bool> {
    let mut part = conn.prepare_cached("SELECT 1 FROM sqlite_schema WHERE name = ?")?;
    let others = OTHERS.iter().map(|(_, name)| name);
    for name in TABLES.iter().chain(others) {
        if !part.exists([name])? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// FTS5's own way, which is enough where its tables can be emptied.
fn refill(conn: &Connection) -> rusqlite::Result<()> {
    if !complete(conn)? {
        return replace(conn);
    }
    conn.execute_batch(
        "INSERT INTO words (words) VALUES ('rebuild');
         INSERT INTO words (words, rank) VALUES ('secure-delete', 1);
         INSERT INTO words (words) VALUES ('integrity-check');
         DELETE FROM unindexed;",
    )
}

/// Another index in the place of this one. `DROP TABLE words` would open the old one first, which
/// damage can make impossible.
fn replace(conn: &Connection) -> rusqlite::Result<()> {
    take_from_schema(conn, &TABLES[..1])?;
    for table in &TABLES[1..] {
        conn.execute_batch(&format!("DROP TABLE IF EXISTS {table}"))?;
    }
    make(conn)
}

/// The same where pages of the old index are damaged, so that its tables cannot be dropped either:
/// their names are free again, and their pages stay in the file, unused.
fn abandon(conn: &Connection) -> rusqlite::Result<()> {
    take_from_schema(conn, &TABLES)?;
    make(conn)
}

fn make(conn: &Connection) -> rusqlite::Result<()> {
    for (kind, name) in OTHERS {
        conn.execute_batch(&format!("DROP {kind} IF EXISTS {name}"))?;
    }
    conn.execute_batch(INDEX)
}

fn take_from_schema(conn: &Connection, tables: &[&str]) -> rusqlite::Result<()> {
    conn.execute_batch("PRAGMA writable_schema = ON")?;
    for table in tables {
        conn.execute(
            "DELETE FROM sqlite_schema WHERE tbl_name = ? AND type IN ('table', 'index')",
            [table],
        )?;
    }
    read_schema_again(conn)
}

/// The schema can be changed by nobody from here on, and is what the file says.
fn read_schema_again(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch("PRAGMA writable_schema = RESET")
}

#[cfg(test)]
#[path = "words_tests.rs"]
mod tests;
