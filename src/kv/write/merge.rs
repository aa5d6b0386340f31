//! Merging: small segments that follow each other become one file, so that a year of short turns
//! loads as fast as one long one. Which run is merged is a pure function of sizes ([`run`]); the
//! commit is that of docs/kv-format.md. Payloads are opaque here: who knows them joins them.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use crate::ledger::{Digest, Token};

use crate::kv::error::Damage;
use crate::kv::index::connection::{Edge, Index, ModelId};
use crate::kv::record::files;
use crate::kv::record::format::Kind;
use crate::kv::record::put::Record;
use crate::kv::record::read::{self, Fault};
use crate::kv::record::runs::{self, Run};
use crate::kv::store::handle::Live;
use crate::kv::write::writer::Failure;

/// A run of so many bytes is merged whatever it is made of.
const WHOLE: u64 = 8 << 20;
/// An edge of at least so many bytes is left as it is. Less than [`WHOLE`], as the parts' headers go
/// when they are merged: what was made whole must not be small again.
const SMALL: u64 = WHOLE / 2;
/// Tokens count as so many bytes at least: a model that keeps little per token gets bounded edges
/// too (65,536 tokens).
const TOKEN_WEIGHT: u64 = 128;
/// Below [`WHOLE`] a run is merged when it weighs at least so many times its heaviest edge: each
/// byte is rewritten once per factor of its growth.
const GROWTH: u64 = 8;

/// Joins payloads of neighbours.
pub trait Join: Send + Sync {
    /// The payload of all positions of `parts`, which follow each other: byte for byte what an
    /// export of the whole range gives. `None` when they are not of its layout.
    fn join(&self, parts: &[Part<'_>]) -> Option<Vec<u8>>;

    /// The payload of positions [a, b) of one that has more: byte for byte what an export of them
    /// gives. `None` when it is not of this layout, or has not all of them.
    fn cut(&self, whole: &Part<'_>, a: usize, b: usize) -> Option<Vec<u8>>;
}

/// The payload of positions [p0, p1).
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// First position.
    pub p0: usize,
    /// One past the last position.
    pub p1: usize,
    /// As it was put.
    pub payload: &'a [u8],
}

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

/// A chain's edge, and whether its start is a plain joint: nothing but the edge before ends there,
/// nothing but this edge begins there, no snapshot stands there and nobody holds it.
#[derive(Clone, Copy, Debug)]
pub(in crate::kv) struct Link {
    pub(in crate::kv) weight: u64,
    pub(in crate::kv) joined: bool,
}

/// What an edge counts.
fn weight(edge: &Edge) -> u64 {
    edge.bytes.max((edge.p1 - edge.p0) as u64 * TOKEN_WEIGHT)
}

/// The run of a chain that should be one edge, if there is one: it weighs [`WHOLE`], or
/// [`GROWTH`] times its heaviest part. So a byte of an edge of `s` bytes is written again at most
/// log8(WHOLE / s) + 1 times in its life, and a run weighs less than [`WHOLE`] + [`SMALL`].
pub(in crate::kv) fn run(chain: &[Link]) -> Option<Range<usize>> {
    let small = |i: usize| chain[i].weight < SMALL;
    let mut from = 0;
    while from < chain.len() {
        let mut to = from + 1;
        while to < chain.len() && small(from) && small(to) && chain[to].joined {
            to += 1;
        }
        if let Some(found) = within(chain, from..to) {
            return Some(found);
        }
        from = to;
    }
    None
}

/// The same within edges that may all be merged with each other.
fn within(chain: &[Link], stretch: Range<usize>) -> Option<Range<usize>> {
    let mut open = vec![stretch];
    while let Some(stretch) = open.pop() {
        if stretch.len() < 2 {
            continue;
        }
        let links = &chain[stretch.clone()];
        let total: u64 = links.iter().map(|l| l.weight).sum();
        let heaviest = links.iter().map(|l| l.weight).max().unwrap_or(0);
        if total >= WHOLE {
            let mut sum = 0;
            let enough = links.iter().position(|l| {
                sum += l.weight;
                sum >= WHOLE
            });
            let end = stretch.start + enough.unwrap_or(links.len() - 1) + 1;
            return Some(stretch.start..end);
        }
        if total >= GROWTH * heaviest {
            return Some(stretch);
        }
        // No run with the heaviest in it grows enough; those beside it may.
        let at = links.iter().position(|l| l.weight == heaviest).unwrap_or(0) + stretch.start;
        open.push(stretch.start..at);
        open.push(at + 1..stretch.end);
    }
    None
}

/// The writer's part: which chains are to be looked at, and how their payloads are joined.
#[derive(Default)]
pub(in crate::kv) struct Merger {
    join: Option<Arc<dyn Join>>,
    /// Owners and the ends of their chains, the one to look at next last.
    due: Vec<(String, Digest)>,
    /// Joints that are never merged over: parts of other builds, or of another layout.
    blocked: HashSet<Digest>,
    /// Joints beside a damaged part that is in the way as long as it cannot be taken out of use.
    /// Looked at again when an owner pins the next time: then the index could be written.
    damaged: HashSet<Digest>,
}

/// How a step went.
enum Step {
    Merged(Merged),
    /// These joints cannot be merged over.
    Blocked(Vec<Digest>),
    /// The part between these joints is damaged, and is out of use if that was possible.
    Damaged([Digest; 2]),
    /// Another process changed the chain meanwhile: when it is pinned again.
    Raced,
}

impl Merger {
    /// How payloads are joined from now on; chains that were pinned last are looked at first.
    pub(in crate::kv) fn begin(&mut self, join: Arc<dyn Join>, pins: Vec<(String, Digest)>) {
        self.join = Some(join);
        for (owner, end) in pins.iter().rev() {
            self.note(owner, *end);
        }
    }

    /// Who knows payloads, once somebody said so.
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

    /// Whether there is something to look at.
    pub(in crate::kv) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// One merge, if one is to be done on the chains that are due: at most 12 MiB are read and
    /// written. `fresh`: ends of what was put and is held by nobody yet. After a failure the chain
    /// waits until it is pinned again.
    ///
    /// It ends: each round merges, or lets a chain wait, or learns of a joint that no later round
    /// merges over.
    pub(in crate::kv) fn step(
        &mut self,
        live: &Live,
        fresh: &[Digest],
    ) -> Result<Option<Merged>, Failure> {
        let Some(join) = self.join.clone() else {
            return Ok(None);
        };
        while let Some((_, end)) = self.due.last() {
            let learned = match self.look(live, join.as_ref(), fresh, *end) {
                Ok(Some(Step::Merged(merged))) => return Ok(Some(merged)),
                Ok(Some(Step::Blocked(joints))) => add(&mut self.blocked, &joints),
                Ok(Some(Step::Damaged(joints))) => add(&mut self.damaged, &joints),
                Ok(Some(Step::Raced) | None) => false,
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

    /// Merges a run of the chain that ends at `end`; `None` when there is nothing to merge.
    fn look(
        &self,
        live: &Live,
        join: &dyn Join,
        fresh: &[Digest],
        end: Digest,
    ) -> Result<Option<Step>, Failure> {
        let edges = chain(&live.index(), live.model(), end)?;
        let stays = |at: &Digest| {
            fresh.contains(at) || self.blocked.contains(at) || self.damaged.contains(at)
        };
        match run(&links(live, &edges, &stays)?) {
            Some(run) => merge(live, join, &edges[run]).map(Some),
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

/// Merges a run of edges.
fn merge(live: &Live, join: &dyn Join, run: &[Edge]) -> Result<Step, Failure> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else {
        return Ok(Step::Raced);
    };
    let hard = live.fingerprint.hard;
    let mut soft = None;
    let mut tokens: Vec<Token> = Vec::new();
    let mut runs: Option<Vec<Run>> = None;
    let mut payloads = Vec::new();
    for (i, edge) in run.iter().enumerate() {
        let part = match read::part(&live.files, hard, &live.limits, edge) {
            Ok(part) => part,
            Err(Fault::Damage(Damage::Gone)) => return Ok(Step::Raced),
            Err(Fault::Damage(damage)) if !matches!(damage, Damage::Memory(_)) => {
                live.set_aside_edge(edge, &damage.to_string());
                return Ok(Step::Damaged([edge.from, edge.to]));
            }
            Err(Fault::Damage(damage)) => return Err(Failure::Invalid(damage)),
            Err(Fault::Io(error)) => return Err(error.into()),
        };
        // Whoever takes KV of another build asks for the soft fingerprint of all of it.
        if soft.is_some_and(|s| s != part.soft) {
            return Ok(Step::Blocked(vec![edge.from]));
        }
        soft = Some(part.soft);
        tokens.extend(part.tokens);
        runs = match i {
            0 => Some(part.runs),
            _ => runs.and_then(|earlier| runs::join(&earlier, &part.runs)),
        };
        payloads.push(part.payload);
    }
    let parts = run.iter().zip(&payloads).map(|(edge, payload)| Part {
        p0: edge.p0,
        p1: edge.p1,
        payload,
    });
    let Some(payload) = join.join(&parts.collect::<Vec<_>>()) else {
        tracing::warn!("kv segments that follow each other cannot be joined");
        return Ok(Step::Blocked(run.iter().map(|e| e.from).collect()));
    };
    drop(payloads);
    let ends = ((first.from, last.to), (first.p0, last.p1));
    let record = Record {
        runs: runs.unwrap_or_default(),
        ..Record::edge(ends.0, ends.1, tokens, payload)
    };
    let (header, sections) = record
        .encode(&record.runs, hard, soft.unwrap_or(live.soft), &live.limits)
        .map_err(Failure::Invalid)?;
    let parts = [
        &header[..],
        &sections.tokens,
        &sections.owner,
        &record.payload,
    ];
    let name = files::name(Kind::Edge, first.from, last.to);
    live.files.commit(&name, &parts)?;
    let bytes = parts.iter().map(|p| p.len() as u64).sum();
    let edge = (first.from, last.to, first.p0, last.p1);
    let swapped = live
        .index()
        .replace(live.model(), run, edge, bytes, &record.tokens)?;
    if !swapped {
        // Another process may have merged the same: then the file is its file.
        let known = live.index().has_edge(live.model(), first.from, last.to)?;
        if !known {
            live.files.remove(&name)?;
        }
        return Ok(Step::Raced);
    }
    // Who had these boundaries in mind finds one edge over them now.
    live.moved();
    for edge in run {
        let name = files::name(Kind::Edge, edge.from, edge.to);
        live.files.remove(&name)?;
    }
    live.files.storage.sync_folder(&live.files.folder)?;
    Ok(Step::Merged(Merged {
        replaced: run.len() as u64,
        written: 1,
        bytes,
    }))
}

/// The edges that lead from position 0 to `end`, by the fewest steps back; none when none do.
pub(in crate::kv) fn chain(
    index: &Index,
    model: ModelId,
    end: Digest,
) -> Result<Vec<Edge>, rusqlite::Error> {
    let mut edges: Vec<Edge> = Vec::new();
    let mut at = end;
    loop {
        let before = index.edge_to(model, at)?;
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

/// A chain as sizes and joints. What begins at position 0 is no neighbour: it ends where the frozen
/// head ends, and other sessions go on from there.
fn links(
    live: &Live,
    edges: &[Edge],
    stays: &dyn Fn(&Digest) -> bool,
) -> Result<Vec<Link>, rusqlite::Error> {
    let small = |edge: &Edge| weight(edge) < SMALL;
    let mut links = Vec::new();
    for (i, edge) in edges.iter().enumerate() {
        let pair = i > 1 && small(edge) && small(&edges[i - 1]);
        let joined =
            pair && !stays(&edge.from) && live.index().is_plain(live.model(), edge.from)?;
        links.push(Link {
            weight: weight(edge),
            joined,
        });
    }
    Ok(links)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Merges until nothing is left to merge; the sizes then, and how often each edge's bytes were
    /// written again.
    fn settle(sizes: &[u64]) -> (Vec<u64>, Vec<u32>) {
        // Each edge as the first and one past the last of what it was made of.
        let mut edges: Vec<Range<usize>> = (0..sizes.len()).map(|i| i..i + 1).collect();
        let mut rewritten = vec![0; sizes.len()];
        let weigh = |r: &Range<usize>| sizes[r.clone()].iter().sum::<u64>();
        loop {
            let links: Vec<Link> = edges
                .iter()
                .map(|e| Link {
                    weight: weigh(e),
                    joined: e.start > 0,
                })
                .collect();
            let Some(run) = run(&links) else { break };
            assert!(run.len() >= 2);
            let whole = edges[run.start].start..edges[run.end - 1].end;
            assert!(weigh(&whole) < WHOLE + SMALL, "a merge is bounded");
            rewritten[whole.clone()].iter_mut().for_each(|n| *n += 1);
            edges.splice(run, [whole]);
        }
        (edges.iter().map(weigh).collect(), rewritten)
    }

    #[test]
    fn a_thousand_small_segments_become_a_few_and_one_more_changes_little() {
        let (sizes, rewritten) = settle(&[100 << 10; 1000]);
        assert_eq!(sizes.iter().filter(|s| **s >= WHOLE).count(), 12);
        assert!(sizes.len() < 16, "{sizes:?}");
        assert_eq!(rewritten.iter().max(), Some(&1));
        // As they come, one turn after another.
        let mut sizes = Vec::new();
        for _ in 0..1000 {
            sizes.push(100 << 10);
            sizes = settle(&sizes).0;
            let small = sizes.iter().filter(|s| **s < SMALL).count();
            assert!(small <= 2 * 7, "{sizes:?}");
        }
    }

    #[test]
    fn what_is_large_or_not_joined_stays_as_it_is() {
        let link = |weight, joined| Link { weight, joined };
        let none = [WHOLE, 1, WHOLE].map(|w| link(w, true));
        assert_eq!(run(&none), None);
        let mut links = [link(1 << 10, true); 20];
        assert_eq!(run(&links), Some(0..20));
        links[9].joined = false;
        assert_eq!(run(&links), Some(0..9));
        links[3].joined = false;
        links[16].joined = false;
        assert_eq!(run(&links), None, "3, 6, 7 and 4 of the same size");
    }

    proptest! {
        #[test]
        fn what_is_left_is_little_and_bytes_are_rewritten_a_few_times(
            sizes in proptest::collection::vec((10u32..23, 0u64..1000), 1..400),
            together in any::<bool>(),
        ) {
            let sizes: Vec<u64> = sizes.iter().map(|(log, more)| (1u64 << log) + more).collect();
            let mut rewritten = vec![0u32; sizes.len()];
            let mut left: Vec<(u64, usize)> = Vec::new();
            let batches: Vec<&[u64]> = match together {
                true => vec![&sizes[..]],
                false => sizes.chunks(1).collect(),
            };
            let mut seen = 0;
            for batch in batches {
                left.extend(batch.iter().map(|s| (*s, 1)));
                seen += batch.len();
                let weights: Vec<u64> = left.iter().map(|l| l.0).collect();
                let (_, again) = settle(&weights);
                // The merged edges, and what they were made of.
                let mut next: Vec<(u64, usize)> = Vec::new();
                let mut at = 0;
                let (merged, _) = settle(&weights);
                let mut from = 0;
                for whole in merged {
                    let (mut sum, mut parts) = (0, 0);
                    while sum < whole {
                        sum += left[from].0;
                        parts += left[from].1;
                        rewritten[at..at + left[from].1].iter_mut().for_each(|n| *n += again[from]);
                        at += left[from].1;
                        from += 1;
                    }
                    next.push((sum, parts));
                }
                left = next;
            }
            prop_assert_eq!(left.iter().map(|l| l.1).sum::<usize>(), seen);
            for (size, again) in sizes.iter().zip(&rewritten) {
                let most = (WHOLE as f64 / *size as f64).log(GROWTH as f64).max(0.0) as u32 + 1;
                prop_assert!(*again <= most, "{size} bytes were written {again} times again");
            }
            // Between two whole ones, or at the end, only few small ones stay.
            let mut small = 0;
            for (size, _) in &left {
                small = if *size < SMALL { small + 1 } else { 0 };
                prop_assert!(small <= 70, "{small} small ones in a row");
            }
        }
    }
}
