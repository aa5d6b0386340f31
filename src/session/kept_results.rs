//! Long results of tools outlive their session as long as a session that continues it may name them: the
//! table `kept_results` has, for each session that is gone, the sessions that keep its results.

use rusqlite::Transaction;

use super::{Result, SessionId};

/// The long results of a session that is being removed, and those that it kept of others, are its
/// children's. Gives the sessions that are gone and whose results nobody keeps any more.
pub(super) fn hand_on(
    tx: &Transaction<'_>,
    id: SessionId,
    children: &[i64],
) -> Result<Vec<SessionId>> {
    let mut held: Vec<i64> = tx
        .prepare("SELECT gone FROM kept_results WHERE session = ?")?
        .query_map([id.0], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    held.push(id.0);
    tx.execute("DELETE FROM kept_results WHERE session = ?", [id.0])?;
    let mut free = Vec::new();
    for gone in held {
        for child in children {
            tx.execute(
                "INSERT OR IGNORE INTO kept_results (gone, session) VALUES (?, ?)",
                [gone, *child],
            )?;
        }
        let kept = "SELECT 1 FROM kept_results WHERE gone = ?";
        if !tx.prepare_cached(kept)?.exists([gone])? {
            free.push(SessionId(gone));
        }
    }
    Ok(free)
}
