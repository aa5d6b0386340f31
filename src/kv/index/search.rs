//! The index as a lookup asks it. Each statement is a search that reads the rows it gives and no
//! others, so that what a lookup costs does not depend on how much is stored beside the target.

use rusqlite::{OptionalExtension, Params, params};

use crate::ledger::{Digest, Token};

use crate::kv::index::connection::{
    EdgeRow, GLANCE, Index, ModelId, Node, edge_row, glance, node_row,
};

type Result<T> = std::result::Result<T, rusqlite::Error>;

/// Edges from one place that are all looked at; where more begin, only those that can match.
const FEW: usize = 8;

/// Edges from a place with equal first tokens that are looked into for the longest match.
pub(in crate::kv) const MOST_ALIKE: usize = 32;

/// The statements, by what they find.
pub(in crate::kv) mod sql {
    pub(in crate::kv) const FROM: &str =
        "SELECT id, \"from\", \"to\", p0, p1, bytes, head, tail FROM edge
        WHERE model = ?1 AND \"from\" = ?2 LIMIT ?3";
    pub(in crate::kv) const ALL_OF: &str =
        "SELECT id, \"from\", \"to\", p0, p1, bytes, head, tail FROM edge
        WHERE model = ?1 AND \"from\" = ?2 AND head = ?3 LIMIT 1";
    pub(in crate::kv) const NEXT_END: &str = "SELECT p1 FROM edge
        WHERE model = ?1 AND \"from\" = ?2 AND head = ?3 AND p1 > ?4 AND p1 <= ?5 ORDER BY p1 LIMIT 1";
    pub(in crate::kv) const AT_END: &str =
        "SELECT id, \"from\", \"to\", p0, p1, bytes, head, tail FROM edge
        WHERE model = ?1 AND \"from\" = ?2 AND head = ?3 AND p1 = ?4 AND tail = ?5";
    pub(in crate::kv) const ALIKE: &str =
        "SELECT id, \"from\", \"to\", p0, p1, bytes, head, tail FROM edge
        WHERE model = ?1 AND \"from\" = ?2 AND head = ?3 ORDER BY p1 DESC LIMIT ?4";
    pub(in crate::kv) const BELOW: &str =
        "SELECT id, \"from\", \"to\", p0, p1, bytes, head, tail FROM edge
        WHERE model = ?1 AND \"from\" = ?2 AND head < ?3 ORDER BY head DESC LIMIT 1";
    pub(in crate::kv) const ABOVE: &str =
        "SELECT id, \"from\", \"to\", p0, p1, bytes, head, tail FROM edge
        WHERE model = ?1 AND \"from\" = ?2 AND head > ?3 ORDER BY head LIMIT 1";
    pub(in crate::kv) const NODE: &str = "SELECT id, digest, at, bytes, logits FROM node
        WHERE model = ?1 AND digest = ?2";
    pub(in crate::kv) const NEXT_NODE: &str = "SELECT at FROM node
        WHERE model = ?1 AND at > ?2 AND at <= ?3 ORDER BY at LIMIT 1";
    pub(in crate::kv) const NODES_AT: &str = "SELECT id, digest, at, bytes, logits FROM node
        WHERE model = ?1 AND at = ?2 AND tail = ?3";
    pub(in crate::kv) const ANY_EDGE: &str = "SELECT 1 FROM edge WHERE model = ?1 LIMIT 1";

    #[cfg(test)]
    pub(in crate::kv) const ALL: [&str; 11] = [
        FROM, ALL_OF, NEXT_END, AT_END, ALIKE, BELOW, ABOVE, NODE, NEXT_NODE, NODES_AT, ANY_EDGE,
    ];
}

/// What an index needs for these; younger than the schema, and no part of what it says.
pub(in crate::kv) const INDEXES: &str = "
CREATE INDEX IF NOT EXISTS edge_way ON edge(model, \"from\", head, p1, tail);
CREATE INDEX IF NOT EXISTS node_way ON node(model, at, tail);
DROP INDEX IF EXISTS node_at;";

impl Index {
    /// The edges that start at `from`, which is D(p0), and may match the tokens that follow it: all
    /// of them where there are few. Else those that end as these tokens do there, and, of those that
    /// do not, the ones that match longest.
    pub(in crate::kv) fn ways(
        &self,
        model: ModelId,
        from: Digest,
        p0: usize,
        ahead: &[Token],
    ) -> Result<Vec<EdgeRow>> {
        let few = self.edges(sql::FROM, params![model.0, from.0, FEW + 1])?;
        if few.len() <= FEW {
            return Ok(few);
        }
        let mut found = Vec::new();
        for len in 1..GLANCE.min(ahead.len() + 1) {
            let head = Token::to_bytes(&ahead[..len]);
            found.extend(self.edges(sql::ALL_OF, params![model.0, from.0, head])?);
        }
        let head = Token::to_bytes(&ahead[..GLANCE.min(ahead.len())]);
        let mut end = p0;
        let next = |end: usize| {
            let params = params![model.0, from.0, head, end, p0 + ahead.len()];
            let mut next = self.db.prepare_cached(sql::NEXT_END)?;
            next.query_row(params, |r| r.get::<_, usize>(0)).optional()
        };
        while let Some(p1) = next(end)? {
            let tail = glance(&ahead[..p1 - p0]);
            found.extend(self.edges(sql::AT_END, params![model.0, from.0, head, p1, tail])?);
            end = p1;
        }
        // Of all heads in their order, one of the two beside the target's shares the most with it.
        found.extend(self.edges(sql::ALIKE, params![model.0, from.0, head, MOST_ALIKE])?);
        found.extend(self.edges(sql::BELOW, params![model.0, from.0, head])?);
        found.extend(self.edges(sql::ABOVE, params![model.0, from.0, head])?);
        found.sort_by_key(|row| (row.edge.p1, row.edge.id.0));
        found.dedup_by_key(|row| row.edge.id);
        Ok(found)
    }

    fn edges(&self, sql: &str, params: impl Params) -> Result<Vec<EdgeRow>> {
        self.db
            .prepare_cached(sql)?
            .query_map(params, edge_row)?
            .collect()
    }

    /// The node at a digest.
    pub(in crate::kv) fn node(&self, model: ModelId, digest: Digest) -> Result<Option<Node>> {
        self.db
            .prepare_cached(sql::NODE)?
            .query_row(params![model.0, digest.0], node_row)
            .optional()
    }

    /// The nodes whose last tokens are the target's there, ascending: where only whole states are
    /// stored, and nothing leads from one to the next.
    pub(in crate::kv) fn nodes_along(&self, model: ModelId, target: &[Token]) -> Result<Vec<Node>> {
        let mut found = Vec::new();
        let mut at = -1;
        let mut next = self.db.prepare_cached(sql::NEXT_NODE)?;
        let mut nodes = self.db.prepare_cached(sql::NODES_AT)?;
        while let Some(here) = next
            .query_row(params![model.0, at, target.len()], |r| r.get::<_, usize>(0))
            .optional()?
        {
            let tail = glance(&target[..here]);
            for node in nodes.query_map(params![model.0, here, tail], node_row)? {
                found.push(node?);
            }
            at = here as i64;
        }
        Ok(found)
    }

    /// True when segments are stored for a model.
    pub(in crate::kv) fn has_edges(&self, model: ModelId) -> Result<bool> {
        self.db.prepare_cached(sql::ANY_EDGE)?.exists([model.0])
    }
}
