//! The methods of `Store` that ask what is stored: lookups, proven reads and small questions. The slot
//! calls them before and during a restore, and when it decides what to store. They use a connection of
//! their own. Invariant: none of them waits for the writer thread, except while a damaged index is
//! rebuilt.

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
use crate::ledger::{Digest, RunningDigest, Token};

use super::handle::Store;

impl Store {
    /// Finds what is stored for the longest prefix of `target`. `digests(p)` must return D(p) of the
    /// target, for 0 ≤ p ≤ its length; it is called once each for a few positions. Records that wait for
    /// the writer thread are not found: call [`Store::flush`] first if that matters. To restore exactly
    /// up to a node, look up the target cut at the node's position: the chain for the whole target may
    /// have no boundary there.
    ///
    /// # Errors
    /// When the index fails.
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

    /// Reads an edge and proves all of it, also against the tokens and digests of the target.
    ///
    /// # Errors
    /// When the file cannot be read or is refused. If [`Error::is_damage`] is true, the caller must call
    /// [`Store::quarantine_edge`].
    pub fn read_segment(&self, edge: &Edge, target: &[Token]) -> Result<ProvenSegment, Error> {
        self.read_first_rows(edge, edge.p1, target)
    }

    /// [`Store::read_segment`] for an edge of which only the KV rows of [p0, m) are wanted, because the
    /// target has other tokens after m. The returned payload is the whole edge's.
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
        let mut before = RunningDigest::new(hard);
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

    /// Reads and proves the segments of a chain in their order, on a thread of its own. The thread is
    /// ahead of the caller by at most `Limits::ahead_bytes` (including the segment that the caller has)
    /// or by one segment. Each edge comes with the position up to which it is wanted: its p1, or less for
    /// the last edge. The first error ends the chain; errors are those of [`Store::read_segment`].
    ///
    /// # Errors
    /// When there is no store, or the thread cannot be started.
    pub fn read_chain(
        &self,
        edges: Vec<(Edge, usize)>,
        target: Arc<[Token]>,
    ) -> Result<Chain, Error> {
        let open = self.open_store().ok_or(Error::Stopped)?;
        Chain::start(open.clone(), edges, target)
    }

    /// Reads a node and proves all of it. Errors are those of [`Store::read_segment`].
    pub fn read_snapshot(&self, node: &Node) -> Result<ProvenSnapshot, Error> {
        let open = self.open_store().ok_or(Error::Stopped)?;
        read::snapshot(&open.files, open.fingerprint.hard, &open.limits, node)
    }

    /// In words, what is different in the soft fingerprint `soft` of a record and the one of this run:
    /// "made with threads 2, this run has 1".
    pub fn made_elsewhere(&self, soft: Digest) -> String {
        let differs = self.open_store().and_then(|open| {
            let facts = facts::read_soft(&open.files, soft)?;
            fingerprint::differs(&open.fingerprint.soft, &facts)
        });
        differs.unwrap_or_else(|| "made by another build or machine".to_owned())
    }

    /// The sample of the state at a digest (see [`Store::put_sample`]): the one that was computed under
    /// this soft fingerprint, or else the one that was stored last.
    pub fn sample(&self, digest: Digest) -> Option<Vec<f32>> {
        self.query(|open, index| index.samples(open.model()).get(digest, open.soft))?
    }

    /// Whether the state at a digest, which was evaluated under another soft fingerprint, was found right
    /// under this one.
    pub fn agrees(&self, digest: Digest) -> bool {
        self.query(|open, index| index.samples(open.model()).agrees(digest, open.soft))
            .unwrap_or(false)
    }

    /// Looks at the stored segments that begin at `from`, which is D(p0), and compares them with
    /// `tokens`, the tokens from p0 on. Returns the segment with the longest common beginning, and the
    /// position at which this beginning ends. `None` if no segment has the first token. Records that wait
    /// for the writer thread are not found.
    pub fn ahead(&self, from: Digest, p0: usize, tokens: &[Token]) -> Option<(Edge, usize)> {
        let open = self.open_store()?;
        let found = open.sound(|| ahead(open, &open.reader(), (from, p0), tokens));
        found
            .inspect_err(|error| tracing::warn!(%error, "what is stored ahead is not known"))
            .ok()?
    }

    /// The node that is stored at a digest.
    pub fn node(&self, digest: Digest) -> Option<Node> {
        self.query(|open, index| index.nodes(open.model()).get(digest))?
    }

    /// True when a node is stored at the digest.
    pub fn has_snapshot(&self, digest: Digest) -> bool {
        self.query(|open, index| index.nodes(open.model()).has(digest))
            .unwrap_or(false)
    }

    /// True when the owner has a pin under this model, wherever that is.
    pub fn has_pin(&self, owner: &str) -> bool {
        self.query(|open, index| index.pins(open.model()).has(owner))
            .unwrap_or(false)
    }

    /// True when the edge is stored, so that the slot need not export it again.
    pub fn has_segment(&self, from: Digest, to: Digest) -> bool {
        self.query(|open, index| index.edges(open.model()).has(from, to))
            .unwrap_or(false)
    }

    /// True when a segment ends at `digest`. It does not say whether the chain up to there is complete;
    /// see [`Store::is_whole`].
    pub fn is_end(&self, digest: Digest) -> bool {
        self.is_off()
            || self
                .query(|open, index| index.edges(open.model()).has_end(digest))
                .unwrap_or(false)
    }

    /// True when a chain of stored segments leads from position 0 to `digest`. The cost grows with the
    /// number of segments in the chain. Records that wait for the writer thread do not count.
    pub fn is_whole(&self, digest: Digest) -> bool {
        self.is_off()
            || self
                .query(|open, index| index.edges(open.model()).chain_to(digest))
                .is_some_and(|chain| !chain.is_empty())
    }

    /// How much is stored for this model; all zero if the index fails.
    pub fn usage(&self) -> StoreUsage {
        self.query(|open, index| index.usage(open.model()))
            .unwrap_or_default()
    }

    /// Why nothing was found for an owner that has pinned before: its latest pin is under another model,
    /// and this is the first hard fact that differs. `None` if that is not the reason.
    pub fn why_nothing(&self, owner: &str) -> Option<String> {
        let facts =
            self.query(|open, index| index.models().facts_of_last_pin(owner, open.model()))??;
        let facts: Value = serde_json::from_str(&facts).ok()?;
        let differs = self.fingerprint().differs(&facts)?;
        Some(format!("KV of this conversation was {differs}"))
    }

    /// Asks the index; `None` when KV is not saved and when the index fails.
    fn query<T>(&self, ask: impl Fn(&OpenStore, &Index) -> SqlResult<T>) -> Option<T> {
        let open = self.open_store()?;
        open.sound(|| ask(open, &open.reader())).ok()
    }

    /// How many index rows a lookup reads.
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
