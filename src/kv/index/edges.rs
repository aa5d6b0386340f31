//! The table `edge`: the stored segments of one model. The writer thread adds and removes rows; a lookup
//! searches them. Invariant: SQLite executes each statement of a lookup as a search in a B-tree (one of
//! the indexes that this table declares), and reads only the rows that the statement returns. So the cost
//! of a lookup hardly depends on how much else is stored.

use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use crate::kv::record::item::{Edge, EdgeId};
use crate::ledger::{Digest, Token};

use super::models::ModelId;
use super::table::{IndexTable, SqlResult};

/// `head` and `tail` are the first and the last [`FILTER_TOKENS`] tokens of a segment.
pub(in crate::kv) const TABLE: IndexTable = IndexTable {
    create: "
CREATE TABLE edge(id INTEGER PRIMARY KEY, model INTEGER NOT NULL, \"from\" BLOB NOT NULL, \"to\" BLOB NOT NULL,
  p0 INTEGER NOT NULL, p1 INTEGER NOT NULL, bytes INTEGER NOT NULL, head BLOB NOT NULL, tail BLOB NOT NULL,
  UNIQUE(model, \"from\", \"to\"));
CREATE INDEX edge_end ON edge(model, \"to\", p0);
CREATE INDEX edge_way ON edge(model, \"from\", head, p1, tail);",
    unsound: "SELECT 1 FROM edge WHERE (typeof(model) = 'integer'
      AND typeof(\"from\") = 'blob' AND length(\"from\") = 32 AND typeof(\"to\") = 'blob' AND length(\"to\") = 32
      AND typeof(p0) = 'integer' AND typeof(p1) = 'integer' AND 0 <= p0 AND p0 < p1 AND p1 <= 0x7fffffff
      AND typeof(bytes) = 'integer' AND bytes BETWEEN 0 AND 1 << 40
      AND typeof(head) = 'blob' AND typeof(tail) = 'blob') IS NOT TRUE",
};

/// The number of tokens that a row keeps from the start and from the end of a segment. A lookup compares
/// them first: that is cheaper than to compute a digest.
pub(in crate::kv) const FILTER_TOKENS: usize = 16;

/// If at most this many edges begin at one digest, a lookup looks at all of them. If more begin there, it
/// searches for those that can match.
const FEW: usize = 8;

/// The maximum number of edges that a search returns which begin at one digest and have equal first
/// tokens, and the maximum number of files that one lookup opens to compare their tokens.
pub(in crate::kv) const MOST_ALIKE: usize = 32;

const FROM: &str = "SELECT id, \"from\", \"to\", p0, p1, bytes, head, tail FROM edge
    WHERE model = ?1 AND \"from\" = ?2 LIMIT ?3";
const ALL_OF: &str = "SELECT id, \"from\", \"to\", p0, p1, bytes, head, tail FROM edge
    WHERE model = ?1 AND \"from\" = ?2 AND head = ?3 LIMIT 1";
const NEXT_END: &str = "SELECT p1 FROM edge
    WHERE model = ?1 AND \"from\" = ?2 AND head = ?3 AND p1 > ?4 AND p1 <= ?5 ORDER BY p1 LIMIT 1";
const AT_END: &str = "SELECT id, \"from\", \"to\", p0, p1, bytes, head, tail FROM edge
    WHERE model = ?1 AND \"from\" = ?2 AND head = ?3 AND p1 = ?4 AND tail = ?5";
const ALIKE: &str = "SELECT id, \"from\", \"to\", p0, p1, bytes, head, tail FROM edge
    WHERE model = ?1 AND \"from\" = ?2 AND head = ?3 ORDER BY p1 DESC LIMIT ?4";
const BELOW: &str = "SELECT id, \"from\", \"to\", p0, p1, bytes, head, tail FROM edge
    WHERE model = ?1 AND \"from\" = ?2 AND head < ?3 ORDER BY head DESC LIMIT 1";
const ABOVE: &str = "SELECT id, \"from\", \"to\", p0, p1, bytes, head, tail FROM edge
    WHERE model = ?1 AND \"from\" = ?2 AND head > ?3 ORDER BY head LIMIT 1";
const ANY: &str = "SELECT 1 FROM edge WHERE model = ?1 LIMIT 1";
const LONGEST_TO: &str = "SELECT id, \"from\", \"to\", p0, p1, bytes FROM edge
    WHERE model = ?1 AND \"to\" = ?2 ORDER BY p0 LIMIT 1";

/// The statements of a lookup and of a merge, each with a text that its query plan must contain.
#[cfg(test)]
pub(in crate::kv) const SEARCHES: [(&str, &str); 9] = [
    (FROM, "SEARCH"),
    (ALL_OF, "SEARCH"),
    (NEXT_END, "SEARCH"),
    (AT_END, "SEARCH"),
    (ALIKE, "SEARCH"),
    (BELOW, "SEARCH"),
    (ABOVE, "SEARCH"),
    (ANY, "SEARCH"),
    (LONGEST_TO, "SEARCH"),
];

/// An edge, with the first and last tokens that its row keeps.
pub(in crate::kv) struct EdgeRow {
    pub(in crate::kv) edge: Edge,
    pub(in crate::kv) head: Vec<Token>,
    pub(in crate::kv) tail: Vec<Token>,
}

/// An edge to add.
#[derive(Clone, Copy)]
pub(in crate::kv) struct NewEdge<'a> {
    /// D(p0).
    pub(in crate::kv) from: Digest,
    /// D(p1).
    pub(in crate::kv) to: Digest,
    pub(in crate::kv) p0: usize,
    pub(in crate::kv) p1: usize,
    /// The length of its record file in bytes.
    pub(in crate::kv) bytes: u64,
    /// The tokens of [p0, p1).
    pub(in crate::kv) tokens: &'a [Token],
}

/// The statements of the table, for one model.
pub(in crate::kv) struct Edges<'a> {
    db: &'a Connection,
    model: ModelId,
}

impl<'a> Edges<'a> {
    pub(in crate::kv) fn new(db: &'a Connection, model: ModelId) -> Edges<'a> {
        Edges { db, model }
    }

    /// Adds an edge. If the edge has a row already, the row is not changed.
    pub(in crate::kv) fn add(&self, edge: &NewEdge<'_>) -> SqlResult<()> {
        let head = Token::to_bytes(&edge.tokens[..edge.tokens.len().min(FILTER_TOKENS)]);
        self.db.execute(
            "INSERT INTO edge(model, \"from\", \"to\", p0, p1, bytes, head, tail)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
            params![
                self.model.0,
                edge.from.0,
                edge.to.0,
                edge.p0,
                edge.p1,
                edge.bytes,
                head,
                filter_tail(edge.tokens)
            ],
        )?;
        Ok(())
    }

    /// Removes the row of an edge. The row is found by the digests, because SQLite may give the id of a
    /// removed row to a new row.
    pub(in crate::kv) fn remove(&self, edge: &Edge) -> SqlResult<()> {
        self.db
            .prepare_cached("DELETE FROM edge WHERE model = ?1 AND \"from\" = ?2 AND \"to\" = ?3")?
            .execute(params![self.model.0, edge.from.0, edge.to.0])?;
        Ok(())
    }

    /// Corrects the file length of an edge, in bytes.
    pub(in crate::kv) fn set_bytes(&self, edge: &Edge, bytes: u64) -> SqlResult<()> {
        self.db.execute(
            "UPDATE edge SET bytes = ?4 WHERE model = ?1 AND \"from\" = ?2 AND \"to\" = ?3",
            params![self.model.0, edge.from.0, edge.to.0, bytes],
        )?;
        Ok(())
    }

    /// True when the edge has a row.
    pub(in crate::kv) fn has(&self, from: Digest, to: Digest) -> SqlResult<bool> {
        self.db
            .prepare_cached(
                "SELECT 1 FROM edge WHERE model = ?1 AND \"from\" = ?2 AND \"to\" = ?3",
            )?
            .exists(params![self.model.0, from.0, to.0])
    }

    /// True when an edge ends at the digest `to`.
    pub(in crate::kv) fn has_end(&self, to: Digest) -> SqlResult<bool> {
        self.db
            .prepare_cached("SELECT 1 FROM edge WHERE model = ?1 AND \"to\" = ?2 LIMIT 1")?
            .exists(params![self.model.0, to.0])
    }

    /// True when the model has any edge.
    pub(in crate::kv) fn any(&self) -> SqlResult<bool> {
        self.db.prepare_cached(ANY)?.exists([self.model.0])
    }

    /// All edges of the model.
    pub(in crate::kv) fn all(&self) -> SqlResult<Vec<Edge>> {
        self.db
            .prepare(
                "SELECT id, \"from\", \"to\", p0, p1, bytes, head, tail FROM edge WHERE model = ?1",
            )?
            .query_map([self.model.0], edge)?
            .collect()
    }

    /// The number of edges of the model, and the bytes of their files.
    pub(in crate::kv) fn usage(&self) -> SqlResult<(u64, u64)> {
        self.db.query_row(
            "SELECT count(*), coalesce(sum(bytes), 0) FROM edge WHERE model = ?1",
            [self.model.0],
            |r| Ok((r.get(0)?, r.get(1)?)),
        )
    }

    /// The longest edge that ends at `to`.
    pub(in crate::kv) fn longest_to(&self, to: Digest) -> SqlResult<Option<Edge>> {
        self.db
            .prepare_cached(LONGEST_TO)?
            .query_row(params![self.model.0, to.0], edge)
            .optional()
    }

    /// The chain from position 0 to `end`, found backwards: at each boundary the longest edge that ends
    /// there is taken. Empty when this walk does not arrive at position 0; shorter edges are not tried.
    pub(in crate::kv) fn chain_to(&self, end: Digest) -> SqlResult<Vec<Edge>> {
        let mut edges: Vec<Edge> = Vec::new();
        let mut at = end;
        loop {
            let before = self.longest_to(at)?;
            let follows = |e: &Edge| edges.last().is_none_or(|next| next.p0 == e.p1);
            let Some(edge) = before.filter(|e| e.p0 < e.p1 && follows(e)) else {
                return Ok(Vec::new());
            };
            at = edge.from;
            let first = edge.p0 == 0;
            edges.push(edge);
            if first {
                edges.reverse();
                return Ok(edges);
            }
        }
    }

    /// The edges that begin at `from`, which is D(p0), and may match `ahead`, the target's tokens from p0
    /// on. If at most [`FEW`] edges begin there, all are returned. If more do, the result has those that
    /// can match as a whole, and those whose first tokens match furthest.
    pub(in crate::kv) fn candidates(
        &self,
        from: Digest,
        p0: usize,
        ahead: &[Token],
    ) -> SqlResult<Vec<EdgeRow>> {
        let model = self.model.0;
        let few = self.rows(FROM, params![model, from.0, FEW + 1])?;
        if few.len() <= FEW {
            return Ok(few);
        }
        let mut found = Vec::new();
        for len in 1..FILTER_TOKENS.min(ahead.len() + 1) {
            let head = Token::to_bytes(&ahead[..len]);
            found.extend(self.rows(ALL_OF, params![model, from.0, head])?);
        }
        let head = Token::to_bytes(&ahead[..FILTER_TOKENS.min(ahead.len())]);
        let mut end = p0;
        let next = |end: usize| {
            let params = params![model, from.0, head, end, p0 + ahead.len()];
            let mut next = self.db.prepare_cached(NEXT_END)?;
            next.query_row(params, |r| r.get::<_, usize>(0)).optional()
        };
        while let Some(p1) = next(end)? {
            let tail = filter_tail(&ahead[..p1 - p0]);
            found.extend(self.rows(AT_END, params![model, from.0, head, p1, tail])?);
            end = p1;
        }
        // In the order of `head`, the edges with the longest common beginning are beside the target's own
        // first tokens: so one row before them and one row after them are enough.
        found.extend(self.rows(ALIKE, params![model, from.0, head, MOST_ALIKE])?);
        found.extend(self.rows(BELOW, params![model, from.0, head])?);
        found.extend(self.rows(ABOVE, params![model, from.0, head])?);
        found.sort_by_key(|row| (row.edge.p1, row.edge.id.0));
        found.dedup_by_key(|row| row.edge.id);
        Ok(found)
    }

    fn rows(&self, sql: &str, params: impl Params) -> SqlResult<Vec<EdgeRow>> {
        self.db
            .prepare_cached(sql)?
            .query_map(params, |row| {
                Ok(EdgeRow {
                    edge: edge(row)?,
                    head: tokens(row.get_ref(6)?.as_blob()?),
                    tail: tokens(row.get_ref(7)?.as_blob()?),
                })
            })?
            .collect()
    }
}

fn edge(row: &Row<'_>) -> SqlResult<Edge> {
    Ok(Edge {
        id: EdgeId(row.get(0)?),
        from: Digest(row.get(1)?),
        to: Digest(row.get(2)?),
        p0: row.get(3)?,
        p1: row.get(4)?,
        bytes: row.get(5)?,
    })
}

/// The last [`FILTER_TOKENS`] tokens as bytes, as a row stores them.
pub(in crate::kv) fn filter_tail(tokens: &[Token]) -> Vec<u8> {
    Token::to_bytes(&tokens[tokens.len().saturating_sub(FILTER_TOKENS)..])
}

/// The tokens that a row keeps. If the bytes are not tokens, the result is empty: then the filter accepts
/// every target, and the digest decides.
fn tokens(bytes: &[u8]) -> Vec<Token> {
    Token::from_bytes(bytes).unwrap_or_default()
}
