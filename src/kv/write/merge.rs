//! Merging: one segment is made of several small ones. `merge_plan` decides which; the order of the steps is
//! in docs/kv-format.md. The writer does it when it is told to: whoever knows that nobody waits asks for one
//! merge after the other.

use std::collections::HashSet;
use std::sync::Arc;

use crate::kv::error::Damage;
use crate::kv::index::edges::NewEdge;
use crate::kv::index::table::SqlResult;
use crate::kv::open::quarantine;
use crate::kv::open::store::OpenStore;
use crate::kv::record::files;
use crate::kv::record::item::Edge;
use crate::kv::record::put::Record;
use crate::kv::record::read::{self, ReadFault};
use crate::kv::record::runs::{self, TokenRun};
use crate::ledger::{Digest, Token};

use super::failure::WriteFailure;
use super::join::{Join, PayloadPart};
use super::merge_plan::{ChainLink, is_small, plan, weight};

/// What merging did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Merged {
    /// Segments that are gone.
    pub replaced: u64,
    /// Segments that took their place.
    pub written: u64,
    /// Bytes of these.
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
    join: Option<Arc<dyn Join>>,
    /// Owners and the ends of their chains; the last one is next.
    due: Vec<(String, Digest)>,
    /// Joints that are never merged over: the parts are of different builds, or cannot be joined.
    blocked: HashSet<Digest>,
    /// Joints beside a damaged part that could not be taken out of use. They are tried again after the
    /// next pin, which shows that the index can be written.
    damaged: HashSet<Digest>,
}

/// How a step ended.
enum MergeStep {
    Merged(Merged),
    /// These joints can never be merged over.
    Blocked(Vec<Digest>),
    /// The part between these joints is damaged. It went to quarantine if that was possible.
    Damaged([Digest; 2]),
    /// Another process changed the chain meanwhile: it waits until it is pinned again.
    Raced,
}

impl Merger {
    /// Sets how payloads are joined, and takes chains to merge; those that were pinned last come first.
    pub(in crate::kv) fn begin(&mut self, join: Arc<dyn Join>, pins: Vec<(String, Digest)>) {
        self.join = Some(join);
        for (owner, end) in pins.iter().rev() {
            self.note(owner, *end);
        }
    }

    /// How payloads are joined, once that is set.
    pub(in crate::kv) fn join(&self) -> Option<Arc<dyn Join>> {
        self.join.clone()
    }

    /// An owner's chain has grown.
    pub(in crate::kv) fn note(&mut self, owner: &str, end: Digest) {
        if self.join.is_some() {
            self.damaged.clear();
            self.due.retain(|(due, _)| due != owner);
            self.due.push((owner.to_owned(), end));
        }
    }

    /// Does one merge, if a waiting chain needs one: it reads and writes at most 12 MiB. `fresh` are the
    /// ends of what was put since the last pin. After a failure the chain waits until it is pinned
    /// again.
    ///
    /// The loop ends: each round merges, or removes a chain from the queue, or adds a joint that no later
    /// round merges over.
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

    /// Merges edges of the chain that ends at `end`; `None` when there is nothing to merge.
    fn look(
        &self,
        store: &OpenStore,
        join: &dyn Join,
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

/// Adds joints to a set; whether one of them is new there.
fn add(known: &mut HashSet<Digest>, joints: &[Digest]) -> bool {
    let before = known.len();
    known.extend(joints);
    known.len() > before
}

/// Makes one edge of edges that follow each other.
fn merge(store: &OpenStore, join: &dyn Join, edges: &[Edge]) -> Result<MergeStep, WriteFailure> {
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
        // A record has one soft fingerprint, which is compared when another build takes its KV.
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
    let record = Record {
        runs: runs.unwrap_or_default(),
        ..Record::edge(ends.0, ends.1, tokens, payload)
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
        // Another process may have merged the same: then the file is its file.
        let known = store
            .index()
            .edges(store.model())
            .has(first.from, last.to)?;
        if !known {
            store.files.remove(&name)?;
        }
        return Ok(MergeStep::Raced);
    }
    // Callers that know the boundaries between the parts look them up again.
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

/// A chain's weights and joints. The first edge is not merged with the next: it ends where the frozen
/// head ends, and other conversations continue from there.
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
