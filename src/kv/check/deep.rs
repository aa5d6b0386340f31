//! Segments to be evaluated again and compared: which, and what it takes.

use crate::ledger::{Digest, Token};

use crate::kv::error::Error;
use crate::kv::index::connection::Edge;
use crate::kv::index::graph::{Graph, Item};
use crate::kv::record::read;
use crate::kv::record::runs::{self, Run};
use crate::kv::store::handle::Live;

/// A stored segment with the text before it.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// The segment.
    pub edge: Edge,
    /// The tokens of [0, p1).
    pub tokens: Vec<Token>,
    /// How its tokens and those before it were evaluated, as far back as that was kept without a
    /// gap; nothing where not even its own are.
    pub runs: Vec<Run>,
    /// The soft fingerprint it was written under.
    pub soft: Digest,
}

/// At most `most` segments that a chain from position 0 leads to, spread evenly over all of them in
/// the order of their positions.
pub(in crate::kv) fn sampled(live: &Live, most: usize) -> Result<Vec<Sampled>, Error> {
    let graph = {
        let index = live.asked();
        let models = index.models()?;
        let own = models.iter().find(|m| m.id == live.model());
        match own {
            Some(model) => Graph::load(&index, model)?,
            None => return Ok(Vec::new()),
        }
    };
    let mut items: Vec<Item> = (0..graph.edges.len())
        .filter(|i| graph.is_anchored(graph.edges[*i].from))
        .collect();
    items.sort_by_key(|i| (graph.edges[*i].p0, graph.edges[*i].to));
    let count = items.len().min(most);
    let chosen = (0..count).map(|i| items[i * items.len() / count]);
    chosen.map(|item| one(live, &graph, item)).collect()
}

fn one(live: &Live, graph: &Graph, item: Item) -> Result<Sampled, Error> {
    let edge = graph.edges[item].clone();
    let (header, last, mut runs) = read::edge_head(&live.files, &live.limits, &edge)?;
    let mut parts = vec![last];
    let (mut from, mut at) = (edge.from, edge.p0);
    // Anchored: some whole edge leads to each start but position 0. Positions fall, so it ends
    // whatever the rows say.
    let before = |digest: Digest, at: usize| {
        let ending = graph.ending(digest).iter().map(|i| &graph.edges[*i]);
        let ending = ending.filter(|e| e.p1 == at && e.p0 < at);
        ending
            .filter(|e| graph.is_anchored(e.from))
            .min_by_key(|e| e.p0)
    };
    let mut kept = !runs.is_empty();
    while let Some(previous) = before(from, at) {
        let (_, tokens, earlier) = read::edge_head(&live.files, &live.limits, previous)?;
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
    Ok(Sampled {
        edge,
        tokens,
        runs,
        soft: header.soft,
    })
}
