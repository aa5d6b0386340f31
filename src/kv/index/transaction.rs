//! Write transactions on the index. Every change that reads before it writes uses [`begin`] or
//! [`at_once`]. Invariant: such a change holds SQLite's write lock from its start.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::table::SqlResult;

/// Begins a transaction that takes SQLite's write lock immediately. If a transaction only reads at first,
/// and another process writes in the meantime, SQLite does not let it write later: it returns an error
/// immediately, without waiting.
pub(in crate::kv) fn begin(db: &Connection) -> SqlResult<Transaction<'_>> {
    Transaction::new_unchecked(db, TransactionBehavior::Immediate)
}

/// Runs `change` in one transaction, so that another connection sees either all of it or nothing. If a
/// transaction is open already (a new index is filled in one transaction), `change` becomes a part of
/// that transaction.
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
