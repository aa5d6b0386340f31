//! Ledger tokens as rows of at most [`CHUNK`] tokens. An append fills the last row and adds
//! rows behind it; a cut drops rows and shortens one. Both cost O(tokens touched + CHUNK), never
//! O(ledger), and commits of 64 tokens do not make a row each.

use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{self, place};
use super::{DbError, Result, SessionId};
use crate::ledger::Token;

/// Most tokens in a row: 16 KiB, four pages to write again when a reply grows by one commit.
pub(super) const CHUNK: usize = 4096;

/// Length of the ledger in tokens. Reads no tokens.
pub(super) fn length(conn: &Connection, session: SessionId) -> Result<usize> {
    match tail(conn, session)? {
        Some((start, count)) => Ok(start + count),
        None => Ok(0),
    }
}

/// Adds tokens behind token `at`, which must be the stored length.
pub(super) fn append(
    conn: &Connection,
    session: SessionId,
    at: usize,
    tokens: &[Token],
) -> Result<()> {
    let stored = tail(conn, session)?;
    let len = stored.map_or(0, |(start, count)| start + count);
    if len != at {
        return Err(DbError::Gap {
            session: session.0,
            stored: len,
            at,
        });
    }
    let mut rest = tokens;
    if let Some((start, count)) = stored
        && count < CHUNK
        && !rest.is_empty()
    {
        let (now, later) = rest.split_at(rest.len().min(CHUNK - count));
        let mut bytes = row(conn, session, start)?;
        bytes.extend(Token::to_bytes(now));
        rewrite(conn, session, start, &bytes)?;
        rest = later;
    }
    let mut start = len + tokens.len() - rest.len();
    let mut insert =
        conn.prepare_cached("INSERT INTO chunks (session, start, tokens) VALUES (?, ?, ?)")?;
    for piece in rest.chunks(CHUNK) {
        insert.execute(params![session.0, start, Token::to_bytes(piece)])?;
        start += piece.len();
    }
    Ok(())
}

/// Drops the tokens from `len` on. The caller has checked that `len` is not past the end.
pub(super) fn cut(conn: &Connection, session: SessionId, len: usize) -> Result<()> {
    conn.prepare_cached("DELETE FROM chunks WHERE session = ? AND start >= ?")?
        .execute(params![session.0, len])?;
    if let Some((start, count)) = tail(conn, session)?
        && start + count > len
    {
        let mut bytes = row(conn, session, start)?;
        bytes.truncate((len - start) * 4);
        rewrite(conn, session, start, &bytes)?;
    }
    Ok(())
}

/// The whole ledger. [`DbError::Damaged`] when rows overlap, leave a gap, or hold a broken token.
pub(super) fn read(conn: &Connection, session: SessionId) -> Result<Vec<Token>> {
    match readable(conn, session)? {
        (tokens, None) => Ok(tokens),
        (_, Some(what)) => Err(damaged(conn, session, what)),
    }
}

/// The ledger up to the first damage, and what that is.
pub(super) fn readable(
    conn: &Connection,
    session: SessionId,
) -> Result<(Vec<Token>, Option<String>)> {
    let mut query =
        conn.prepare_cached("SELECT start, tokens FROM chunks WHERE session = ? ORDER BY start")?;
    let mut rows = query.query([session.0])?;
    let mut tokens = Vec::new();
    while let Some(row) = rows.next()? {
        let (Ok(start), Ok(bytes)) = (row.get::<_, i64>(0), row.get_ref(1)?.as_blob()) else {
            let what = format!("the ledger chunk behind token {} is none", tokens.len());
            return Ok((tokens, Some(what)));
        };
        if usize::try_from(start) != Ok(tokens.len()) {
            let what = format!(
                "a ledger chunk begins at token {start}, not {}",
                tokens.len()
            );
            return Ok((tokens, Some(what)));
        }
        if let Some(what) = wrong_length(start, bytes.len() as i64) {
            return Ok((tokens, Some(what)));
        }
        tokens.extend(Token::from_bytes(bytes).unwrap_or_default());
    }
    Ok((tokens, None))
}

/// An error that names the session.
pub(super) fn damaged(conn: &Connection, session: SessionId, what: String) -> DbError {
    let name: rusqlite::Result<Option<String>> = conn
        .query_row("SELECT name FROM sessions WHERE id = ?", [session.0], |r| {
            r.get(0)
        })
        .optional();
    rows::damaged(&place(session, name.ok().flatten().as_deref()), what)
}

/// An error of a query about one session: a column that is not of its type is damage of that one.
pub(super) fn of(
    conn: &Connection,
    session: SessionId,
    what: &str,
    error: rusqlite::Error,
) -> DbError {
    match error {
        rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::Utf8Error(..) => damaged(conn, session, what.to_owned()),
        error => error.into(),
    }
}

/// Start and token count of the last chunk.
fn tail(conn: &Connection, session: SessionId) -> Result<Option<(usize, usize)>> {
    let last: Option<(i64, i64)> = conn
        .prepare_cached(
            "SELECT start, length(tokens) FROM chunks WHERE session = ? ORDER BY start DESC LIMIT 1",
        )?
        .query_row([session.0], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()
        .map_err(|error| of(conn, session, "the ledger's last chunk cannot be read", error))?;
    let Some((start, bytes)) = last else {
        return Ok(None);
    };
    if let Some(what) = wrong_length(start, bytes) {
        return Err(damaged(conn, session, what));
    }
    // A position fits in 32 bits in llama.cpp, so a larger one is damage and not a long ledger.
    if !(0..=i64::from(i32::MAX)).contains(&start) {
        let what = format!("a ledger chunk begins at token {start}");
        return Err(damaged(conn, session, what));
    }
    Ok(Some((start as usize, bytes as usize / 4)))
}

fn wrong_length(start: i64, bytes: i64) -> Option<String> {
    let good = bytes > 0 && bytes % 4 == 0 && bytes <= CHUNK as i64 * 4;
    (!good).then(|| format!("the ledger chunk at token {start} has {bytes} bytes"))
}

fn row(conn: &Connection, session: SessionId, start: usize) -> Result<Vec<u8>> {
    Ok(conn
        .prepare_cached("SELECT tokens FROM chunks WHERE session = ? AND start = ?")?
        .query_row(params![session.0, start], |r| r.get(0))?)
}

fn rewrite(conn: &Connection, session: SessionId, start: usize, bytes: &[u8]) -> Result<()> {
    conn.prepare_cached("UPDATE chunks SET tokens = ? WHERE session = ? AND start = ?")?
        .execute(params![bytes, session.0, start])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing;
    use proptest::prelude::*;

    fn counted(n: usize) -> Vec<Token> {
        (0..n as i32).map(Token).collect()
    }

    fn rows(conn: &Connection) -> usize {
        conn.query_row("SELECT count(*) FROM chunks", [], |r| r.get(0))
            .unwrap()
    }

    #[test]
    fn a_cut_at_every_boundary_leaves_the_tokens_before_it() {
        let all = counted(3 * CHUNK + 5);
        for boundary in [0, CHUNK, 2 * CHUNK, 3 * CHUNK, all.len()] {
            for len in boundary.saturating_sub(1)..=(boundary + 1).min(all.len()) {
                let (conn, id) = testing::memory();
                append(&conn, id, 0, &all).unwrap();
                cut(&conn, id, len).unwrap();
                assert_eq!(length(&conn, id).unwrap(), len);
                assert_eq!(rows(&conn), len.div_ceil(CHUNK));
                append(&conn, id, len, &[Token(-7); 3]).unwrap();
                let tokens = read(&conn, id).unwrap();
                assert_eq!(tokens[..len], all[..len]);
                assert_eq!(tokens[len..], [Token(-7); 3]);
            }
        }
    }

    #[test]
    fn an_append_to_a_long_ledger_touches_one_row() {
        let (conn, id) = testing::memory();
        append(&conn, id, 0, &counted(100_000)).unwrap();
        let before = conn.total_changes();
        append(&conn, id, 100_000, &counted(64)).unwrap();
        assert_eq!(conn.total_changes() - before, 1);
        for _ in 0..1000 {
            append(&conn, id, length(&conn, id).unwrap(), &counted(64)).unwrap();
        }
        assert_eq!(rows(&conn), length(&conn, id).unwrap().div_ceil(CHUNK));
    }

    #[test]
    fn an_append_that_is_not_at_the_end_is_refused() {
        let (conn, id) = testing::memory();
        append(&conn, id, 0, &counted(10)).unwrap();
        for at in [0, 9, 11] {
            let error = append(&conn, id, at, &counted(1)).unwrap_err();
            assert!(matches!(error, DbError::Gap { stored: 10, at: a, .. } if a == at));
        }
        assert_eq!(read(&conn, id).unwrap(), counted(10));
    }

    #[test]
    fn a_damaged_ledger_is_refused_by_name() {
        let table = [
            (
                "UPDATE chunks SET start = start + 1 WHERE start = 4096",
                "begins at token 4097, not 4096",
            ),
            (
                "DELETE FROM chunks WHERE start = 0",
                "begins at token 4096, not 0",
            ),
            (
                "UPDATE chunks SET tokens = x'010203' WHERE start = 8192",
                "at token 8192 has 3 bytes",
            ),
            (
                "UPDATE chunks SET tokens = x'' WHERE start = 8192",
                "at token 8192 has 0 bytes",
            ),
            (
                "UPDATE chunks SET tokens = zeroblob(16388) WHERE start = 0",
                "at token 0 has 16388 bytes",
            ),
            (
                "UPDATE chunks SET start = -4 WHERE start = 0",
                "begins at token -4, not 0",
            ),
        ];
        for (damage, what) in table {
            let (conn, id) = testing::memory();
            append(&conn, id, 0, &counted(3 * CHUNK)).unwrap();
            conn.execute(damage, []).unwrap();
            let error = read(&conn, id).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
            assert!(
                error.starts_with("session \"work\" (id 1) is damaged: "),
                "{error}"
            );
        }
        let (conn, id) = testing::memory();
        append(&conn, id, 0, &counted(5)).unwrap();
        conn.execute("UPDATE chunks SET start = 9223372036854775807", [])
            .unwrap();
        assert!(matches!(length(&conn, id), Err(DbError::Damaged { .. })));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Append(usize),
        Cut(f64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1usize..200).prop_map(Step::Append),
            2 => (1usize..3 * CHUNK).prop_map(Step::Append),
            2 => (0.0..=1.0f64).prop_map(Step::Cut),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn appends_and_cuts_in_any_order_equal_a_plain_list(steps in prop::collection::vec(step(), 1..30)) {
            let (conn, id) = testing::memory();
            let mut model: Vec<Token> = Vec::new();
            let mut next = 0;
            for step in steps {
                match step {
                    Step::Append(n) => {
                        let new: Vec<Token> = (next..next + n as i32).map(Token).collect();
                        next += n as i32;
                        append(&conn, id, model.len(), &new).unwrap();
                        model.extend(new);
                    }
                    Step::Cut(part) => {
                        let len = (model.len() as f64 * part) as usize;
                        cut(&conn, id, len).unwrap();
                        model.truncate(len);
                    }
                }
                prop_assert_eq!(length(&conn, id).unwrap(), model.len());
                prop_assert_eq!(rows(&conn), model.len().div_ceil(CHUNK));
            }
            prop_assert_eq!(read(&conn, id).unwrap(), model);
        }
    }
}
