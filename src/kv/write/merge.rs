//! Merging: makes one segment of several small ones. The writer thread does one merge for each call of
//! `Store::merge_one`, which the service makes in idle time. `merge_plan` decides which segments are merged; docs/kv-format.md (Merging) has
//! the order of the steps. Invariant: a merge changes no byte of the KV that a restore gets. It removes
//! only plain joints (see `index::joints`): those that no other segment, no node, no pin and no turn node
//! needs.

use std::collections::HashSet;
use std::sync::Arc;

use crate::kv::error::Damage;
use crate::kv::index::edges::NewEdge;
use crate::kv::index::table::SqlResult;
use crate::kv::open::quarantine;
use crate::kv::open::store::OpenStore;
use crate::kv::record::files;
use crate::kv::record::item::Edge;
use crate::kv::record::put::PendingRecord;
use crate::kv::record::read::{self, ReadFault};
use crate::kv::record::runs::{self, TokenRun};
use crate::ledger::{Digest, Token};

use super::failure::WriteFailure;
use super::join::{JoinPayloads, PayloadPart};
use super::merge_plan::{ChainLink, is_small, plan, weight};

/// What merging has done.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Merged {
    /// The number of segments that were merged into others.
    pub replaced: u64,
    /// The number of segments that replaced them.
    pub written: u64,
    /// The bytes of the files that were written.
    pub bytes: u64,
}

/// One merge, and whose chain it was in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MergedChain {
    /// The owner that pinned the chain.
    pub owner: String,
    /// What was done.
    pub merged: Merged,
}

/// The chains that wait to be merged, and how their payloads are joined. Owned by the writer thread.
#[derive(Default)]
pub(in crate::kv) struct Merger {
    join: Option<Arc<dyn JoinPayloads>>,
    /// Owners, and the digests at the ends of their chains. The last entry is next.
    due: Vec<(String, Digest)>,
    /// Joints that are never removed: the segments there were written under different soft fingerprints,
    /// or their payloads cannot be joined.
    blocked: HashSet<Digest>,
    /// Joints beside a damaged segment. Such a segment may still have an index row, if it could not be
    /// taken out of use. These joints are tried again after the next pin, because a pin shows that the
    /// index can be changed.
    damaged: HashSet<Digest>,
}

/// The result of one attempt.
enum MergeStep {
    Merged(Merged),
    /// These joints can never be removed.
    Blocked(Vec<Digest>),
    /// The segment between these joints is damaged. It was moved to quarantine, if that was possible.
    Damaged([Digest; 2]),
    /// Another process has changed the chain in the meantime. The chain is looked at again after its next
    /// pin.
    Raced,
}

impl Merger {
    /// Sets how payloads are joined, and takes the chains of some pins to be merged; `pins` has the
    /// latest first, and it is merged first.
    pub(in crate::kv) fn begin(
        &mut self,
        join: Arc<dyn JoinPayloads>,
        pins: Vec<(String, Digest)>,
    ) {
        self.join = Some(join);
        for (owner, end) in pins.iter().rev() {
            self.note(owner, *end);
        }
    }

    /// How payloads are joined; `None` before [`Merger::begin`].
    pub(in crate::kv) fn join(&self) -> Option<Arc<dyn JoinPayloads>> {
        self.join.clone()
    }

    /// The chain of an owner has grown.
    pub(in crate::kv) fn note(&mut self, owner: &str, end: Digest) {
        if self.join.is_some() {
            self.damaged.clear();
            self.due.retain(|(due, _)| due != owner);
            self.due.push((owner.to_owned(), end));
        }
    }

    /// Does one merge, if a waiting chain needs one: it reads and writes at most 12 MiB. `fresh` are the
    /// digests at the ends of the fresh records (see `in_use`). After a failure the chain waits for its
    /// next pin.
    ///
    /// The loop ends, because each round merges, or removes a chain from the list, or adds a joint at
    /// which no later round merges.
    pub(in crate::kv) fn step(
        &mut self,
        store: &OpenStore,
        fresh: &[Digest],
    ) -> Result<Option<MergedChain>, WriteFailure> {
        let Some(join) = self.join.clone() else {
            return Ok(None);
        };
        while let Some((owner, end)) = self.due.last() {
            let learned = match self.look(store, join.as_ref(), fresh, *end) {
                Ok(Some(MergeStep::Merged(merged))) => {
                    let owner = owner.clone();
                    return Ok(Some(MergedChain { owner, merged }));
                }
                Ok(Some(MergeStep::Blocked(joints))) => add(&mut self.blocked, &joints),
                Ok(Some(MergeStep::Damaged(joints))) => add(&mut self.damaged, &joints),
                Ok(Some(MergeStep::Raced) | None) => false,
                Err(failure) => {
                    self.due.pop();
                    return Err(failure);
                }
            };
            if !learned {
                self.due.pop();
            }
        }
        Ok(None)
    }

    /// Merges some edges of the chain that ends at `end`; `None` if there is nothing to merge.
    fn look(
        &self,
        store: &OpenStore,
        join: &dyn JoinPayloads,
        fresh: &[Digest],
        end: Digest,
    ) -> Result<Option<MergeStep>, WriteFailure> {
        let edges = store.index().edges(store.model()).chain_to(end)?;
        let stays = |at: &Digest| {
            fresh.contains(at) || self.blocked.contains(at) || self.damaged.contains(at)
        };
        match plan(&links(store, &edges, &stays)?) {
            Some(range) => merge(store, join, &edges[range]).map(Some),
            None => Ok(None),
        }
    }
}

/// Adds joints to a set; returns whether one of them was not in it.
fn add(known: &mut HashSet<Digest>, joints: &[Digest]) -> bool {
    let before = known.len();
    known.extend(joints);
    known.len() > before
}

/// Makes one edge of edges that follow each other.
fn merge(
    store: &OpenStore,
    join: &dyn JoinPayloads,
    edges: &[Edge],
) -> Result<MergeStep, WriteFailure> {
    let (Some(first), Some(last)) = (edges.first(), edges.last()) else {
        return Ok(MergeStep::Raced);
    };
    let hard = store.fingerprint.hard;
    let mut soft = None;
    let mut tokens: Vec<Token> = Vec::new();
    let mut runs: Option<Vec<TokenRun>> = None;
    let mut payloads = Vec::new();
    for (i, edge) in edges.iter().enumerate() {
        let part = match read::part(&store.files, hard, &store.limits, edge) {
            Ok(part) => part,
            Err(ReadFault::Damage(Damage::Gone)) => return Ok(MergeStep::Raced),
            Err(ReadFault::Damage(damage)) if !matches!(damage, Damage::Memory(_)) => {
                quarantine::edge(store, edge, &damage.to_string());
                return Ok(MergeStep::Damaged([edge.from, edge.to]));
            }
            Err(ReadFault::Damage(damage)) => return Err(WriteFailure::Invalid(damage)),
            Err(ReadFault::Io(error)) => return Err(error.into()),
        };
        // A record has one soft fingerprint, by which another build decides whether it may use the KV.
        if soft.is_some_and(|s| s != part.soft) {
            return Ok(MergeStep::Blocked(vec![edge.from]));
        }
        soft = Some(part.soft);
        tokens.extend(part.tokens);
        runs = match i {
            0 => Some(part.runs),
            _ => runs.and_then(|earlier| runs::join(&earlier, &part.runs)),
        };
        payloads.push(part.payload);
    }
    let parts = edges
        .iter()
        .zip(&payloads)
        .map(|(edge, payload)| PayloadPart {
            p0: edge.p0,
            p1: edge.p1,
            payload,
        });
    let Some(payload) = join.join(&parts.collect::<Vec<_>>()) else {
        tracing::warn!("kv segments that follow each other cannot be joined");
        return Ok(MergeStep::Blocked(edges.iter().map(|e| e.from).collect()));
    };
    drop(payloads);
    let ends = ((first.from, last.to), (first.p0, last.p1));
    let record = PendingRecord {
        runs: runs.unwrap_or_default(),
        ..PendingRecord::edge(ends.0, ends.1, tokens, payload)
    };
    let (header, sections) = record
        .encode(
            &record.runs,
            hard,
            soft.unwrap_or(store.soft),
            &store.limits,
        )
        .map_err(WriteFailure::Invalid)?;
    let parts = [
        &header[..],
        &sections.tokens,
        &sections.owner,
        &record.payload,
    ];
    let name = files::name(record.kind, first.from, last.to);
    store.files.commit(&name, &parts)?;
    let bytes = parts.iter().map(|p| p.len() as u64).sum();
    let whole = NewEdge {
        from: first.from,
        to: last.to,
        p0: first.p0,
        p1: last.p1,
        bytes,
        tokens: &record.tokens,
    };
    if !store.index().joints(store.model()).merge(edges, &whole)? {
        // Another process may have made the same merge: then the file belongs to the index row that it
        // has added.
        let known = store
            .index()
            .edges(store.model())
            .has(first.from, last.to)?;
        if !known {
            store.files.remove(&name)?;
        }
        return Ok(MergeStep::Raced);
    }
    // Callers that remember boundaries between these segments ask for them again.
    store.changes.add_moved();
    for edge in edges {
        store.files.remove(&edge.name())?;
    }
    store.files.storage.sync_folder(&store.files.folder)?;
    Ok(MergeStep::Merged(Merged {
        replaced: edges.len() as u64,
        written: 1,
        bytes,
    }))
}

/// The weights of the edges of a chain, and which of their joints may be removed. The first edge is never
/// merged: it ends where the frozen head ends, and other conversations go on from there.
fn links(
    store: &OpenStore,
    edges: &[Edge],
    stays: &dyn Fn(&Digest) -> bool,
) -> SqlResult<Vec<ChainLink>> {
    let mut links = Vec::new();
    for (i, edge) in edges.iter().enumerate() {
        let pair = i > 1 && is_small(edge) && is_small(&edges[i - 1]);
        let joined = pair
            && !stays(&edge.from)
            && store.index().joints(store.model()).is_plain(edge.from)?;
        links.push(ChainLink {
            weight: weight(edge),
            joined,
        });
    }
    Ok(links)
}
