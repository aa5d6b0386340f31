//! Tokens that a session decoded and that its ledger does not have now: branches that it left, and messages
//! that were withdrawn. When the ledger follows such a path again, the tokens are not new.

use rusqlite::{OptionalExtension, params};

use super::{Db, Result, SessionId, Unit, Why};
use crate::ledger::{Digest, Token};

/// Withdrawn messages that are remembered, the last ones.
const WITHDRAWN: usize = 16;

/// A way that goes off from the ledger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredPath {
    /// Tokens of the ledger that it follows; all of them were decoded if any of its own were.
    pub at: usize,
    /// Its own tokens, as far as they were decoded; may begin as the ledger goes on.
    pub tokens: Vec<Token>,
    /// Why it was left; `None` when its message was withdrawn.
    pub why: Option<Why>,
}

/// A branch's row: its parent, where it goes off, and its decoded tokens.
struct BranchRow {
    id: i64,
    parent: Option<i64>,
    at: usize,
    prefix: Vec<u8>,
    why: Option<Why>,
    tokens: Vec<Token>,
}

impl Db {
    /// How many of the ledger's first tokens were decoded; `None` where a session is older than this
    /// count.
    pub fn decoded(&self, id: SessionId) -> Result<Option<usize>> {
        let mut query = self
            .conn
            .prepare_cached("SELECT decoded FROM sessions WHERE id = ?")?;
        Ok(query.query_row([id.0], |r| r.get(0)).optional()?.flatten())
    }

    /// The ways that go off from a ledger of this session. One whose beginning was rewritten since is
    /// left out. Costs O(ledger and branches).
    pub fn ways(&self, id: SessionId, ledger: &[Token]) -> Result<Vec<StoredPath>> {
        let mut rows = self.branch_rows(id)?;
        rows.extend(self.withdrawn_rows(id)?);
        let ends: Vec<usize> = rows.iter().map(|row| row.at).collect();
        let digests = Digest::of_prefixes(ledger, &ends);
        let mut ways = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            let mut way = StoredPath {
                at: row.at,
                tokens: row.tokens.clone(),
                why: row.why,
            };
            let mut root = i;
            // A branch of a branch: its parent's tokens come first. Parents have lower numbers or are
            // not in a circle; one that is not found has nothing to say.
            let mut steps = rows.len();
            let whole = loop {
                let Some(parent) = rows[root].parent else {
                    break digests[root].is_some_and(|d| d.0[..] == rows[root].prefix);
                };
                let above = rows.iter().position(|r| r.id == parent && r.id != 0);
                let Some(above) = above.filter(|_| steps > 0) else {
                    break false;
                };
                steps -= 1;
                let own = way.at.checked_sub(rows[above].at);
                let Some(before) = own.and_then(|own| rows[above].tokens.get(..own)) else {
                    break false;
                };
                way.tokens.splice(0..0, before.iter().copied());
                way.at = rows[above].at;
                root = above;
            };
            if whole && !way.tokens.is_empty() {
                ways.push(way);
            }
        }
        Ok(ways)
    }

    fn branch_rows(&self, id: SessionId) -> Result<Vec<BranchRow>> {
        let mut query = self.conn.prepare_cached(
            "SELECT id, parent, at, prefix, why, tokens,
                 coalesce(decoded, length(tokens) / 4 - pending)
             FROM branches WHERE session = ?",
        )?;
        let rows = query.query_map([id.0], |r| {
            let bytes: Vec<u8> = r.get(5)?;
            let mut tokens = Token::from_bytes(&bytes).unwrap_or_default();
            tokens.truncate(r.get(6)?);
            Ok(BranchRow {
                id: r.get(0)?,
                parent: r.get(1)?,
                at: r.get(2)?,
                prefix: r.get(3)?,
                why: Why::parse(&r.get::<_, String>(4)?),
                tokens,
            })
        })?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }

    fn withdrawn_rows(&self, id: SessionId) -> Result<Vec<BranchRow>> {
        let mut query = self
            .conn
            .prepare_cached("SELECT at, prefix, tokens FROM ways WHERE session = ?")?;
        let rows = query.query_map([id.0], |r| {
            let bytes: Vec<u8> = r.get(2)?;
            Ok(BranchRow {
                id: 0,
                parent: None,
                at: r.get(0)?,
                prefix: r.get(1)?,
                why: None,
                tokens: Token::from_bytes(&bytes).unwrap_or_default(),
            })
        })?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }
}

impl Unit<'_> {
    /// Says how many of the ledger's first tokens were decoded.
    pub fn set_decoded(&mut self, len: usize) -> Result<()> {
        self.step(|unit| {
            unit.tx
                .prepare_cached("UPDATE sessions SET decoded = ? WHERE id = ?")?
                .execute(params![len, unit.session.0])?;
            Ok(())
        })
    }

    /// Remembers tokens that were decoded after the ledger's first `ledger.len()` and are withdrawn.
    pub fn add_way(&mut self, ledger: &[Token], tokens: &[Token]) -> Result<()> {
        self.step(|unit| {
            let session = unit.session.0;
            unit.tx
                .prepare_cached(
                    "INSERT INTO ways (session, at, prefix, tokens) VALUES (?, ?, ?, ?)",
                )?
                .execute(params![
                    session,
                    ledger.len(),
                    Digest::of(&Token::to_bytes(ledger)).0,
                    Token::to_bytes(tokens)
                ])?;
            unit.tx
                .prepare_cached(
                    "DELETE FROM ways WHERE session = ?1 AND id <= coalesce(
                         (SELECT id FROM ways WHERE session = ?1 ORDER BY id DESC
                          LIMIT 1 OFFSET ?2), 0)",
                )?
                .execute(params![session, WITHDRAWN])?;
            Ok(())
        })
    }

    /// After tokens were cut off: what is left of the decoded ones.
    pub(super) fn cut_decoded(&mut self, len: usize) -> Result<()> {
        self.tx
            .prepare_cached("UPDATE sessions SET decoded = min(decoded, ?) WHERE id = ?")?
            .execute(params![len, self.session.0])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{CutPoint, MessageState, testing};

    fn t(range: std::ops::Range<i32>) -> Vec<Token> {
        range.map(Token).collect()
    }

    fn way(at: usize, tokens: std::ops::Range<i32>, why: Option<Why>) -> StoredPath {
        let tokens = t(tokens);
        StoredPath { at, tokens, why }
    }

    #[test]
    fn ways_are_found_along_branches_of_branches_and_withdrawn_messages() {
        let home = tempfile::tempdir().unwrap();
        let (mut db, session) = testing::disk(home.path());
        let id = session.id;
        let mut unit = db.begin(id).unwrap();
        unit.append_tokens(4, &t(10..30)).unwrap();
        let body = serde_json::json!({});
        let first = unit
            .add_message("user", &body, MessageState::Answered)
            .unwrap();
        unit.add_message("user", &body, MessageState::Answered)
            .unwrap();
        unit.set_decoded(22).unwrap();
        unit.commit().unwrap();
        assert_eq!(db.decoded(id).unwrap(), Some(22));

        let mut unit = db.begin(id).unwrap();
        let cut = CutPoint {
            after: Some(first),
            at: 19,
            pending: 0,
        };
        let undone = unit.abandon(cut, Why::Undo).unwrap();
        unit.commit().unwrap();
        assert_eq!(db.decoded(id).unwrap(), Some(19));
        let ledger = db.ledger(id).unwrap();
        let expected = [way(19, 25..28, Some(Why::Undo))];
        assert_eq!(db.ways(id, &ledger).unwrap(), expected);

        // The message before it: the first branch goes off from the second one then.
        let mut unit = db.begin(id).unwrap();
        let cut = CutPoint {
            after: None,
            at: 9,
            ..cut
        };
        let edited = unit.abandon(cut, Why::Edit).unwrap();
        unit.commit().unwrap();
        let ledger = db.ledger(id).unwrap();
        let mut ways = db.ways(id, &ledger).unwrap();
        ways.sort_by_key(|w| w.tokens.len());
        let both = [
            way(9, 15..25, Some(Why::Edit)),
            way(9, 15..28, Some(Why::Undo)),
        ];
        assert_eq!(ways, both);

        for n in 0..20 {
            let mut unit = db.begin(id).unwrap();
            unit.add_way(&ledger, &t(100 + n..105 + n)).unwrap();
            unit.commit().unwrap();
        }
        let ways = db.ways(id, &ledger).unwrap();
        assert_eq!(ways.iter().filter(|w| w.why.is_none()).count(), WITHDRAWN);
        assert!(ways.contains(&way(9, 119..124, None)));
        assert!(!ways.contains(&way(9, 103..108, None)));

        // What they follow was rewritten.
        let mut other = ledger.clone();
        other[5] = Token(99);
        assert_eq!(db.ways(id, &other).unwrap(), []);

        // What is put back was decoded.
        for branch in [edited, undone] {
            let mut unit = db.begin(id).unwrap();
            unit.reattach(branch).unwrap();
            unit.commit().unwrap();
        }
        assert_eq!(db.decoded(id).unwrap(), Some(22));
    }
}
