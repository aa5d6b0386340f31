//! The index as merging and a writer's checks need it: what ends at a digest, whether a joint is of
//! no use to anybody else, and the exchange of a run of edges for one.

use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};

use crate::ledger::{Digest, Token};

use crate::kv::index::connection::{Edge, EdgeId, Index, ModelId};
use crate::kv::write::writer::Failure;

type Result<T> = std::result::Result<T, rusqlite::Error>;

/// An edge to be noted: its ends and positions, the bytes of its file, its tokens.
pub(in crate::kv) type NewEdge<'a> = ((Digest, Digest, usize, usize), u64, &'a [Token]);

/// Statements that look at one joint; each is a search in an index.
pub(in crate::kv) const JOINT_SQL: [&str; 2] = [
    "SELECT id, \"from\", \"to\", p0, p1, bytes FROM edge
     WHERE model = ?1 AND \"to\" = ?2 ORDER BY p0 LIMIT 1",
    "SELECT (SELECT count(*) FROM edge WHERE model = ?1 AND \"to\" = ?2) = 1
     AND (SELECT count(*) FROM edge WHERE model = ?1 AND \"from\" = ?2) = 1
     AND NOT EXISTS (SELECT 1 FROM node WHERE model = ?1 AND digest = ?2)
     AND NOT EXISTS (SELECT 1 FROM pin WHERE model = ?1 AND digest = ?2)
     AND NOT EXISTS (SELECT 1 FROM turn WHERE model = ?1 AND digest = ?2)",
];

impl Index {
    /// The longest edge that ends at `to`.
    pub(in crate::kv) fn edge_to(&self, model: ModelId, to: Digest) -> Result<Option<Edge>> {
        self.db
            .prepare_cached(JOINT_SQL[0])?
            .query_row(params![model.0, to.0], |r| {
                Ok(Edge {
                    id: EdgeId(r.get(0)?),
                    from: Digest(r.get(1)?),
                    to: Digest(r.get(2)?),
                    p0: r.get(3)?,
                    p1: r.get(4)?,
                    bytes: r.get(5)?,
                })
            })
            .optional()
    }

    /// True when one edge ends at `at`, one begins there, and nothing and nobody else is there.
    pub(in crate::kv) fn is_plain(&self, model: ModelId, at: Digest) -> Result<bool> {
        self.db
            .prepare_cached(JOINT_SQL[1])?
            .query_row(params![model.0, at.0], |r| r.get(0))
    }

    /// True when a segment ends at `to`.
    pub(in crate::kv) fn has_end(&self, model: ModelId, to: Digest) -> Result<bool> {
        self.db
            .prepare_cached("SELECT 1 FROM edge WHERE model = ?1 AND \"to\" = ?2 LIMIT 1")?
            .exists(params![model.0, to.0])
    }

    /// Exchanges a run of edges for the one that holds all of it; false, and nothing is changed,
    /// when the run is not what it was.
    pub(in crate::kv) fn replace(
        &self,
        model: ModelId,
        run: &[Edge],
        edge: (Digest, Digest, usize, usize),
        bytes: u64,
        tokens: &[Token],
    ) -> Result<bool> {
        self.at_once(|| {
            for (i, old) in run.iter().enumerate() {
                let there = self.has_edge(model, old.from, old.to)?;
                if !there || (i > 0 && !self.is_plain(model, old.from)?) {
                    return Ok(false);
                }
            }
            self.add_edge(model, edge, bytes, tokens)?;
            for old in run {
                self.drop_edge(model, old)?;
            }
            self.db.execute(
                "INSERT INTO merged(model, bytes) VALUES (?1, ?2)
                 ON CONFLICT DO UPDATE SET bytes = bytes + ?2",
                params![model.0, bytes],
            )?;
            Ok(true)
        })
    }

    /// Exchanges an edge for the two parts of it; false, and nothing is changed, when it is not there
    /// any more, or one of the parts is.
    pub(in crate::kv) fn exchange(
        &self,
        model: ModelId,
        whole: &Edge,
        parts: [NewEdge<'_>; 2],
        publish: impl FnOnce() -> std::io::Result<()>,
    ) -> std::result::Result<bool, Failure> {
        let tx = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
        if !self.has_edge(model, whole.from, whole.to)? {
            return Ok(false);
        }
        for ((from, to, ..), ..) in &parts {
            if self.has_edge(model, *from, *to)? {
                return Ok(false);
            }
        }
        publish()?;
        for (edge, bytes, tokens) in parts {
            self.add_edge(model, edge, bytes, tokens)?;
        }
        self.drop_edge(model, whole)?;
        tx.commit()?;
        Ok(true)
    }

    /// Bytes that merging has written for a model since the index was made.
    pub(in crate::kv) fn merged(&self, model: ModelId) -> Result<u64> {
        let bytes = self
            .db
            .query_row(
                "SELECT bytes FROM merged WHERE model = ?1",
                [model.0],
                |r| r.get(0),
            )
            .optional()?;
        Ok(bytes.unwrap_or(0))
    }

    /// Owners and where they pinned last, the latest first.
    pub(in crate::kv) fn latest_pins(
        &self,
        model: ModelId,
        most: usize,
    ) -> Result<Vec<(String, Digest)>> {
        self.db
            .prepare("SELECT owner, digest FROM pin WHERE model = ?1 ORDER BY id DESC LIMIT ?2")?
            .query_map(params![model.0, most], |r| {
                Ok((r.get(0)?, Digest(r.get(1)?)))
            })?
            .collect()
    }
}
