//! Decides which segments of a chain are merged into one. `merge` calls [`plan`] for each chain that has
//! grown. The result depends only on the sizes of the segments, and on which joints between them may be
//! removed. A conversation of a year of short turns has thousands of small segments; merged into a few
//! large ones, they are read as fast as the segments of a single long prompt. Invariant: the number of
//! merges that write the same byte again is bounded (see [`plan`]).

use std::ops::Range;

use crate::kv::record::item::Edge;

/// Small edges that follow each other are merged when together they weigh at least this many bytes.
const WHOLE: u64 = 8 << 20;
/// An edge of at least this weight is not merged. It is less than [`WHOLE`], because a merge drops the
/// headers of its parts: the merged edge must not be small again.
const SMALL: u64 = WHOLE / 2;
/// The minimum weight of a token in bytes. Some models have little KV per token (or none by position);
/// with this weight their merged edges have a bound too: 65,536 tokens are 8 MiB.
const TOKEN_WEIGHT: u64 = 128;
/// Edges that together weigh less than [`WHOLE`] are merged when together they weigh at least this many
/// times the heaviest of them. So whenever a byte is written again, the new edge is at least 8 times as
/// heavy as the edge it was in.
const GROWTH: u64 = 8;

/// An edge of a chain.
#[derive(Clone, Copy, Debug)]
pub(in crate::kv) struct ChainLink {
    pub(in crate::kv) weight: u64,
    /// True when the edge may be merged with the one before it: their joint is plain (see
    /// `index::joints`), and no fresh record (see `in_use`) ends there.
    pub(in crate::kv) joined: bool,
}

/// True for an edge that a merge may take.
pub(in crate::kv) fn is_small(edge: &Edge) -> bool {
    weight(edge) < SMALL
}

/// The weight of an edge: the length of its file in bytes, but at least [`TOKEN_WEIGHT`] for each token.
pub(in crate::kv) fn weight(edge: &Edge) -> u64 {
    edge.bytes.max((edge.p1 - edge.p0) as u64 * TOKEN_WEIGHT)
}

/// The edges of a chain that should become one edge, if there are any: edges that together weigh
/// [`WHOLE`], or [`GROWTH`] times the heaviest of them. A merge takes less than [`WHOLE`] + [`SMALL`]
/// bytes, because it stops at the edge that reaches [`WHOLE`].
///
/// Example: a byte is in an edge of 16 KiB. Each merge puts the byte into an edge that is at least 8
/// times as heavy (128 KiB, then 1 MiB), or into an edge of at least 8 MiB, which is not merged again. In
/// general, a byte of an edge of `s` bytes is written again at most log8(WHOLE / s) + 1 times: 4 times in
/// the example.
pub(in crate::kv) fn plan(chain: &[ChainLink]) -> Option<Range<usize>> {
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

/// [`plan`] for a part of the chain in which all joints may be removed.
fn within(chain: &[ChainLink], stretch: Range<usize>) -> Option<Range<usize>> {
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
        // No sequence of edges with the heaviest one in it weighs enough; the sequences before and after
        // it may.
        let at = links.iter().position(|l| l.weight == heaviest).unwrap_or(0) + stretch.start;
        open.push(stretch.start..at);
        open.push(at + 1..stretch.end);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Merges until nothing is left to merge. Returns the sizes of the edges after that, and how often
    /// the bytes of each first edge were written again.
    fn settle(sizes: &[u64]) -> (Vec<u64>, Vec<u32>) {
        // For each edge: the range of the first edges that it was made of.
        let mut edges: Vec<Range<usize>> = (0..sizes.len()).map(|i| i..i + 1).collect();
        let mut rewritten = vec![0; sizes.len()];
        let weigh = |r: &Range<usize>| sizes[r.clone()].iter().sum::<u64>();
        loop {
            let links: Vec<ChainLink> = edges
                .iter()
                .map(|e| ChainLink {
                    weight: weigh(e),
                    joined: e.start > 0,
                })
                .collect();
            let Some(run) = plan(&links) else { break };
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
        // The same, with one segment added after another.
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
        let link = |weight, joined| ChainLink { weight, joined };
        let none = [WHOLE, 1, WHOLE].map(|w| link(w, true));
        assert_eq!(plan(&none), None);
        let mut links = [link(1 << 10, true); 20];
        assert_eq!(plan(&links), Some(0..20));
        links[9].joined = false;
        assert_eq!(plan(&links), Some(0..9));
        links[3].joined = false;
        links[16].joined = false;
        assert_eq!(plan(&links), None, "3, 6, 7 and 4 of the same size");
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
                // The merged edges: their size, and the number of first edges that they were made of.
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
            // Between two large edges, and at the end, only few small ones are left.
            let mut small = 0;
            for (size, _) in &left {
                small = if *size < SMALL { small + 1 } else { 0 };
                prop_assert!(small <= 70, "{small} small ones in a row");
            }
        }
    }
}
