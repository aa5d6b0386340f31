//! What is stored: lookups and proven reads. They use a connection of their own, so none of them waits for
//! what is being written.

use std::sync::Arc;

use serde_json::Value;

use crate::kv::error::Error;
use crate::kv::find::ahead::ahead;
use crate::kv::find::lookup::{self, StoredPrefix};
use crate::kv::find::read_ahead::Chain;
use crate::kv::index::connection::{Index, StoreUsage};
use crate::kv::index::table::SqlResult;
use crate::kv::model::{facts, fingerprint};
use crate::kv::open::index::IndexOwner;
use crate::kv::open::store::OpenStore;
use crate::kv::record::item::{Edge, Node};
use crate::kv::record::read::{self, ProvenSegment, ProvenSnapshot};
use crate::ledger::{Digest, Running, Token};

use super::handle::Store;

impl Store {
    /// What is durable for the longest prefix of `target`; `digests(p)` is D(p) of the target for
    /// 0 ≤ p ≤ its length, and is called for few positions, once each. Records that wait for the
    /// writer are not found: call [`Store::flush`] first where that matters. To restore up to some node,
    /// look up the target cut there: the chain of the whole target may have no boundary at that
    /// position.
    pub fn lookup(
        &self,
        target: &[Token],
        digests: &dyn Fn(usize) -> Digest,
    ) -> Result<StoredPrefix, Error> {
        match self.open_store() {
            Some(open) => {
                let (found, rows) = open.sound(|| lookup::lookup(open, target, digests))?;
                tracing::debug!(rows, edges = found.edges.len(), "kv lookup");
                Ok(found)
            }
            None => Ok(StoredPrefix::default()),
        }
    }

    /// Reads an edge and proves all of it, against the target's tokens and digests too. After an error
    /// for which [`Error::is_damage`] is true, call [`Store::quarantine_edge`].
    pub fn read_segment(&self, edge: &Edge, target: &[Token]) -> Result<ProvenSegment, Error> {
        self.read_first_rows(edge, edge.p1, target)
    }

    /// [`Store::read_segment`] for an edge of which only the rows of [p0, m) are wanted, because
    /// the target has other tokens after m. The payload is the whole edge's.
    pub fn read_first_rows(
        &self,
        edge: &Edge,
        m: usize,
        target: &[Token],
    ) -> Result<ProvenSegment, Error> {
        let open = self.open_store().ok_or(Error::Stopped)?;
        let hard = open.fingerprint.hard;
        let wanted = read::WantedEdge {
            edge,
            target,
            upto: m,
        };
        let mut before = Running::new(hard);
        let buffer = Vec::new();
        read::segment(
            &open.files,
            hard,
            &open.limits,
            &wanted,
            &mut before,
            buffer,
        )
    }

    /// Reads and proves the segments of a chain in their order, on a thread of its own, ahead of the
    /// caller by at most `Limits::ahead_bytes`, with the one it has, or one segment. Each comes with
    /// the position up to which it is wanted: its p1, or less for the last. Errors as for
    /// [`Store::read_segment`], of the first segment that has one; nothing comes after it.
    ///
    /// # Errors
    /// When there is no store, or no thread.
    pub fn read_chain(
        &self,
        edges: Vec<(Edge, usize)>,
        target: Arc<[Token]>,
    ) -> Result<Chain, Error> {
        let open = self.open_store().ok_or(Error::Stopped)?;
        Chain::start(open.clone(), edges, target)
    }

    /// Reads a node and proves all of it. Errors as for [`Store::read_segment`].
    pub fn read_snapshot(&self, node: &Node) -> Result<ProvenSnapshot, Error> {
        let open = self.open_store().ok_or(Error::Stopped)?;
        read::snapshot(&open.files, open.fingerprint.hard, &open.limits, node)
    }

    /// How files differ that were written under another soft fingerprint, in words: "made with
    /// threads 2, this run has 1".
    pub fn made_elsewhere(&self, soft: Digest) -> String {
        let differs = self.open_store().and_then(|open| {
            let facts = facts::read_soft(&open.files, soft)?;
            fingerprint::differs(&open.fingerprint.soft, &facts)
        });
        differs.unwrap_or_else(|| "made by another build or machine".to_owned())
    }

    /// What the state at a digest gave when it was made: [`Store::put_sample`] of this soft
    /// fingerprint, or else of the last one.
    pub fn sample(&self, digest: Digest) -> Option<Vec<f32>> {
        self.query(|open, index| index.samples(open.model()).get(digest, open.soft))?
    }

    /// Whether the state at a digest, made under another soft fingerprint, was found right under
    /// this one.
    pub fn agrees(&self, digest: Digest) -> bool {
        self.query(|open, index| index.samples(open.model()).agrees(digest, open.soft))
            .unwrap_or(false)
    }

    /// Of the stored segments that begin at `from`, which is D(p0), the one that has the most of
    /// `tokens`, those that follow p0; and the position up to which it has them, above p0. `None`
    /// where no segment has the first token. What waits for the writer is not found.
    pub fn ahead(&self, from: Digest, p0: usize, tokens: &[Token]) -> Option<(Edge, usize)> {
        let open = self.open_store()?;
        let found = open.sound(|| ahead(open, &open.reader(), (from, p0), tokens));
        found
            .inspect_err(|error| tracing::warn!(%error, "what is stored ahead is not known"))
            .ok()?
    }

    /// The snapshot that is stored at a digest.
    pub fn node(&self, digest: Digest) -> Option<Node> {
        self.query(|open, index| index.nodes(open.model()).get(digest))?
    }

    /// True when the node is stored.
    pub fn has_snapshot(&self, digest: Digest) -> bool {
        self.query(|open, index| index.nodes(open.model()).has(digest))
            .unwrap_or(false)
    }

    /// True when the edge is stored, so that exporting it again can be spared.
    pub fn has_segment(&self, from: Digest, to: Digest) -> bool {
        self.query(|open, index| index.edges(open.model()).has(from, to))
            .unwrap_or(false)
    }

    /// True when a segment ends at `digest`: enough to know where the chain up to there is whole.
    pub fn is_end(&self, digest: Digest) -> bool {
        self.is_off()
            || self
                .query(|open, index| index.edges(open.model()).has_end(digest))
                .unwrap_or(false)
    }

    /// True when whole segments lead from position 0 to `digest`, the end of one of them; O(chain).
    /// What waits for the writer does not count.
    pub fn is_whole(&self, digest: Digest) -> bool {
        self.is_off()
            || self
                .query(|open, index| index.edges(open.model()).chain_to(digest))
                .is_some_and(|chain| !chain.is_empty())
    }

    /// What is stored for this fingerprint; nothing if the index cannot say.
    pub fn usage(&self) -> StoreUsage {
        self.query(|open, index| index.usage(open.model()))
            .unwrap_or_default()
    }

    /// Why nothing was found for an owner that has pinned before: its KV belongs to another
    /// fingerprint, and this is the first fact that differs. `None` when that is not the reason.
    pub fn why_nothing(&self, owner: &str) -> Option<String> {
        let facts =
            self.query(|open, index| index.models().facts_of_last_pin(owner, open.model()))??;
        let facts: Value = serde_json::from_str(&facts).ok()?;
        let differs = self.fingerprint().differs(&facts)?;
        Some(format!("KV of this conversation was {differs}"))
    }

    /// Asks the index; `None` when KV is not saved, and when the index fails.
    fn query<T>(&self, ask: impl Fn(&OpenStore, &Index) -> SqlResult<T>) -> Option<T> {
        let open = self.open_store()?;
        open.sound(|| ask(open, &open.reader())).ok()
    }

    /// Rows that a lookup reads.
    #[cfg(test)]
    pub(in crate::kv) fn rows_of(
        &self,
        target: &[Token],
        digests: &dyn Fn(usize) -> Digest,
    ) -> usize {
        self.open_store()
            .map_or(0, |open| lookup::lookup(open, target, digests).unwrap().1)
    }
}
