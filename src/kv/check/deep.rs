//! Chooses segments for `npast kv verify --deep`, and collects what the slot needs to evaluate them
//! again: the tokens from position 0 to the end of the segment, and the runs. The slot compares the
//! resulting bytes with the stored ones. Invariant: only segments to which a chain leads from position 0
//! are chosen.

use crate::kv::error::Error;
use crate::kv::index::graph::{Graph, GraphItem};
use crate::kv::open::store::OpenStore;
use crate::kv::record::item::Edge;
use crate::kv::record::read;
use crate::kv::record::runs::{self, TokenRun};
use crate::ledger::{Digest, Token};

/// A chosen segment, with all tokens before it.
#[derive(Clone, Debug)]
pub struct SampledSegment {
    /// The segment.
    pub edge: Edge,
    /// The tokens of [0, p1).
    pub tokens: Vec<Token>,
    /// The runs of the segment, and those of the segments before it, as far back as they follow each
    /// other without a gap. Empty if the segment itself has no runs.
    pub runs: Vec<TokenRun>,
    /// The digest of the soft fingerprint under which the segment was written.
    pub soft: Digest,
}

/// Chooses at most `most` segments to which a chain leads from position 0. They are spread evenly over
/// all of them, in the order of their positions.
pub(in crate::kv) fn sampled(store: &OpenStore, most: usize) -> Result<Vec<SampledSegment>, Error> {
    let graph = {
        let index = store.reader();
        let Some(model) = index.models().get(store.model())? else {
            return Ok(Vec::new());
        };
        Graph::load(&index, &model)?
    };
    let mut items: Vec<GraphItem> = (0..graph.edges.len())
        .filter(|i| graph.is_anchored(graph.edges[*i].from))
        .collect();
    items.sort_by_key(|i| (graph.edges[*i].p0, graph.edges[*i].to));
    let count = items.len().min(most);
    let chosen = (0..count).map(|i| items[i * items.len() / count]);
    chosen.map(|item| one(store, &graph, item)).collect()
}

/// Reads the tokens and runs for one chosen segment.
fn one(store: &OpenStore, graph: &Graph, item: GraphItem) -> Result<SampledSegment, Error> {
    let edge = graph.edges[item].clone();
    let (header, last, mut runs) = read::edge_head(&store.files, &store.limits, &edge)?;
    let mut parts = vec![last];
    let (mut from, mut at) = (edge.from, edge.p0);
    // A chain leads from position 0 to the edge, so an edge ends at each boundary before it, except at
    // position 0. Each step goes to a lower position, so the walk ends even if index rows are wrong.
    let before = |digest: Digest, at: usize| {
        let ending = graph.ending(digest).iter().map(|i| &graph.edges[*i]);
        let ending = ending.filter(|e| e.p1 == at && e.p0 < at);
        ending
            .filter(|e| graph.is_anchored(e.from))
            .min_by_key(|e| e.p0)
    };
    let mut kept = !runs.is_empty();
    while let Some(previous) = before(from, at) {
        let (_, tokens, earlier) = read::edge_head(&store.files, &store.limits, previous)?;
        parts.push(tokens);
        (from, at) = (previous.from, previous.p0);
        let all = runs::join(&earlier, &runs).filter(|_| kept);
        kept = all.is_some();
        runs = all.unwrap_or(runs);
    }
    parts.reverse();
    let tokens = parts.concat();
    if tokens.len() != edge.p1 {
        runs.clear();
    }
    Ok(SampledSegment {
        edge,
        tokens,
        runs,
        soft: header.soft,
    })
}
