//! Transactions on the index. Every change that reads before it writes goes through [`at_once`].

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::table::SqlResult;

/// Begins a transaction that holds SQLite's write lock from its start. A transaction that begins by
/// reading cannot become a writing one after another process has written: SQLite refuses that at
/// once, without waiting.
pub(in crate::kv) fn begin(db: &Connection) -> SqlResult<Transaction<'_>> {
    Transaction::new_unchecked(db, TransactionBehavior::Immediate)
}

/// Runs `change` in one transaction, which no other connection sees in part. Within an open
/// transaction (a new index is filled in one) `change` becomes a part of that.
pub(in crate::kv) fn at_once<T>(
    db: &Connection,
    change: impl FnOnce() -> SqlResult<T>,
) -> SqlResult<T> {
    if !db.is_autocommit() {
        return change();
    }
    let tx = begin(db)?;
    let done = change()?;
    tx.commit()?;
    Ok(done)
}
