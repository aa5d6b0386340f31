//! Joints: the digests at which one segment ends and the next one begins. A joint is *plain* when only
//! these two segments need it: no other segment ends or begins there, no node stands there, and the joint
//! is nobody's pin or turn node. This file has the statements that ask whether a joint is plain, and those
//! that replace rows of `edge` when a merge removes a joint or a split adds one. The writer thread uses
//! them. Invariant: each replacement is one transaction, so it never leaves a gap in a chain.

use rusqlite::{Connection, params};

use crate::kv::record::item::Edge;
use crate::ledger::Digest;

use super::edges::{Edges, NewEdge};
use super::models::ModelId;
use super::table::SqlResult;
use super::totals::Totals;
use super::transaction::{at_once, begin};

const IS_PLAIN: &str = "SELECT (SELECT count(*) FROM edge WHERE model = ?1 AND \"to\" = ?2) = 1
    AND (SELECT count(*) FROM edge WHERE model = ?1 AND \"from\" = ?2) = 1
    AND NOT EXISTS (SELECT 1 FROM node WHERE model = ?1 AND digest = ?2)
    AND NOT EXISTS (SELECT 1 FROM pin WHERE model = ?1 AND digest = ?2)
    AND NOT EXISTS (SELECT 1 FROM turn WHERE model = ?1 AND digest = ?2)";
const IS_STORED: &str = "SELECT 1 FROM edge WHERE model = ?1 AND \"to\" = ?2
    UNION ALL SELECT 1 FROM node WHERE model = ?1 AND digest = ?2";

/// The statements of a merge and of the end of a turn, each with a text that its query plan must contain.
#[cfg(test)]
pub(in crate::kv) const SEARCHES: [(&str, &str); 2] =
    [(IS_PLAIN, "SEARCH"), (IS_STORED, "(model=? AND to=?)")];

/// The statements about joints, for one model.
pub(in crate::kv) struct Joints<'a> {
    db: &'a Connection,
    model: ModelId,
}

impl<'a> Joints<'a> {
    pub(in crate::kv) fn new(db: &'a Connection, model: ModelId) -> Joints<'a> {
        Joints { db, model }
    }

    /// True when the joint is plain: exactly one edge ends at the digest, exactly one begins there, and no
    /// node, pin or turn node has this digest.
    pub(in crate::kv) fn is_plain(&self, at: Digest) -> SqlResult<bool> {
        self.db
            .prepare_cached(IS_PLAIN)?
            .query_row(params![self.model.0, at.0], |r| r.get(0))
    }

    /// True when an edge ends at the digest, or a node has it.
    pub(in crate::kv) fn is_stored(&self, digest: Digest) -> SqlResult<bool> {
        self.db
            .prepare_cached(IS_STORED)?
            .exists(params![self.model.0, digest.0])
    }

    /// Replaces the rows of neighbouring edges by the row of the one edge with all of their positions.
    /// Returns false, and changes nothing, when one of the edges has no row any more or a joint between
    /// them is not plain any more.
    pub(in crate::kv) fn merge(&self, parts: &[Edge], whole: &NewEdge<'_>) -> SqlResult<bool> {
        let edges = Edges::new(self.db, self.model);
        at_once(self.db, || {
            for (i, part) in parts.iter().enumerate() {
                let there = edges.has(part.from, part.to)?;
                if !there || (i > 0 && !self.is_plain(part.from)?) {
                    return Ok(false);
                }
            }
            edges.add(whole)?;
            for part in parts {
                edges.remove(part)?;
            }
            Totals::new(self.db).add_merged(self.model, whole.bytes)?;
            Ok(true)
        })
    }

    /// Replaces the row of an edge by the rows of its two parts. `publish` renames the files of the parts
    /// to their final names; it runs inside the transaction. Returns false, and changes nothing, when the
    /// edge has no row any more or a part is stored already.
    pub(in crate::kv) fn split<E: From<rusqlite::Error>>(
        &self,
        whole: &Edge,
        parts: &[NewEdge<'_>; 2],
        publish: impl FnOnce() -> Result<(), E>,
    ) -> Result<bool, E> {
        let edges = Edges::new(self.db, self.model);
        let tx = begin(self.db)?;
        if !edges.has(whole.from, whole.to)? {
            return Ok(false);
        }
        for part in parts {
            if edges.has(part.from, part.to)? {
                return Ok(false);
            }
        }
        publish()?;
        for part in parts {
            edges.add(part)?;
        }
        edges.remove(whole)?;
        tx.commit()?;
        Ok(true)
    }
}
