//! What is stored, asked and read: on a connection of its own, so that no question waits for what is
//! being written.

use std::io::Read;
use std::sync::Arc;

use serde_json::Value;

use crate::ledger::{Digest, Running, Token};

use crate::kv::error::Error;
use crate::kv::find::lookup::{self, Found};
use crate::kv::find::read_ahead::Chain;
use crate::kv::index::connection::{Edge, Node, Usage};
use crate::kv::model::fingerprint;
use crate::kv::record::read::{self, Segment, Snapshot};
use crate::kv::store::handle::{Live, Store, soft_name};
use crate::kv::write::merge;

/// Bytes of the file of a soft fingerprint that a reader accepts.
const MOST_SOFT: u64 = 1 << 20;

impl Store {
    /// What is durable for the longest prefix of `target`; `digests(p)` is D(p) of the target for
    /// 0 ≤ p ≤ its length, and is asked for few positions, each once. Puts still in the queue are
    /// not seen: [`Store::flush`] first where that matters. To restore up to some node, look up
    /// the target cut there: the chain of the whole target may step over that position.
    pub fn lookup(
        &self,
        target: &[Token],
        digests: &dyn Fn(usize) -> Digest,
    ) -> Result<Found, Error> {
        match self.live() {
            Some(live) => {
                live.queue.stir();
                let (found, rows) = live.sound(|| lookup::lookup(live, target, digests))?;
                tracing::debug!(rows, edges = found.edges.len(), "kv lookup");
                Ok(found)
            }
            None => Ok(Found::default()),
        }
    }

    /// Reads an edge and proves all of it, against the target's tokens and digests too. An error
    /// for which [`Error::is_damage`] holds wants [`Store::quarantine_edge`].
    pub fn read_segment(&self, edge: &Edge, target: &[Token]) -> Result<Segment, Error> {
        self.read_first_rows(edge, edge.p1, target)
    }

    /// [`Store::read_segment`] for an edge of which only the rows of [p0, m) are wanted, because
    /// the target goes another way after m. The payload is the whole edge's.
    pub fn read_first_rows(
        &self,
        edge: &Edge,
        m: usize,
        target: &[Token],
    ) -> Result<Segment, Error> {
        let live = self.live().ok_or(Error::Stopped)?;
        live.queue.stir();
        let hard = live.fingerprint.hard;
        let wanted = read::Wanted {
            edge,
            target,
            upto: m,
        };
        let mut before = Running::new(hard);
        let buffer = Vec::new();
        read::segment(
            &live.files,
            hard,
            &live.limits,
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
        let live = self.inner.live.clone().ok_or(Error::Stopped)?;
        Chain::start(live, edges, target)
    }

    /// Reads a node and proves all of it. Errors as for [`Store::read_segment`].
    pub fn read_snapshot(&self, node: &Node) -> Result<Snapshot, Error> {
        let live = self.live().ok_or(Error::Stopped)?;
        live.queue.stir();
        read::snapshot(&live.files, live.fingerprint.hard, &live.limits, node)
    }

    /// What is foreign about files written under another soft fingerprint, in words: "made with
    /// threads 2, this run has 1".
    pub fn made_elsewhere(&self, soft: Digest) -> String {
        let facts = self.live().and_then(|live| {
            let (input, len) = live.files.open(&soft_name(soft)).ok()?;
            let mut bytes = Vec::new();
            let known = len <= MOST_SOFT;
            known.then(|| input.take(MOST_SOFT).read_to_end(&mut bytes).ok())??;
            let facts: Value = serde_json::from_slice(&bytes).ok()?;
            fingerprint::differs(&self.inner.fingerprint.soft, &facts)
        });
        facts.unwrap_or_else(|| "made by another build or machine".to_owned())
    }

    /// What the state at a digest gave when it was made: [`Store::put_sample`] of this soft
    /// fingerprint, or else of the last one.
    pub fn sample(&self, digest: Digest) -> Option<Vec<f32>> {
        let live = self.live()?;
        let found = live.sound(|| live.asked().sample(live.model(), digest, live.soft));
        found.ok().flatten()
    }

    /// Whether the state at a digest, made under another soft fingerprint, was found right under
    /// this one.
    pub fn agrees(&self, digest: Digest) -> bool {
        self.live().is_some_and(|l| {
            let found = l.sound(|| l.asked().agrees(l.model(), digest, l.soft));
            found.unwrap_or(false)
        })
    }

    /// True when the edge is stored, so that exporting it again can be spared.
    pub fn has_segment(&self, from: Digest, to: Digest) -> bool {
        self.live().is_some_and(|l| {
            l.sound(|| l.asked().has_edge(l.model(), from, to))
                .unwrap_or(false)
        })
    }

    /// True when a segment ends at `digest`: enough to know where the chain up to there is whole.
    pub fn is_end(&self, digest: Digest) -> bool {
        self.live().is_none_or(|l| {
            l.sound(|| l.asked().has_end(l.model(), digest))
                .unwrap_or(false)
        })
    }

    /// True when whole segments lead from position 0 to `digest`, the end of one of them; O(chain).
    /// What waits for the writer does not count.
    pub fn is_whole(&self, digest: Digest) -> bool {
        let chain = |live: &Live| live.sound(|| merge::chain(&live.asked(), live.model(), digest));
        self.live()
            .is_none_or(|live| !chain(live).unwrap_or_default().is_empty())
    }

    /// True when the node is stored.
    pub fn has_snapshot(&self, digest: Digest) -> bool {
        self.live().is_some_and(|l| {
            l.sound(|| l.asked().has_node(l.model(), digest))
                .unwrap_or(false)
        })
    }

    /// What is stored for this fingerprint; nothing if the index cannot say.
    pub fn usage(&self) -> Usage {
        self.live()
            .and_then(|l| l.sound(|| l.asked().usage(l.model())).ok())
            .unwrap_or_default()
    }

    /// Why nothing was found for an owner that has pinned before: its KV belongs to another
    /// fingerprint, and this is the first fact that differs. `None` when that is not the reason.
    pub fn why_nothing(&self, owner: &str) -> Option<String> {
        let live = self.live()?;
        let facts = live.sound(|| live.asked().other_facts(live.model(), owner));
        let facts = facts.ok()??;
        let facts: Value = serde_json::from_str(&facts).ok()?;
        let differs = live.fingerprint.differs(&facts)?;
        Some(format!("KV of this conversation was {differs}"))
    }

    /// Rows that a lookup reads.
    #[cfg(test)]
    pub(in crate::kv) fn rows_of(
        &self,
        target: &[Token],
        digests: &dyn Fn(usize) -> Digest,
    ) -> usize {
        self.live()
            .map_or(0, |live| lookup::lookup(live, target, digests).unwrap().1)
    }
}
