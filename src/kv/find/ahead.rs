//! Finds what is stored ahead: a new segment is about to be stored from position p0 on, and some of its
//! tokens may be stored already in another segment that begins at D(p0). Among these stored segments, the
//! search finds the one that has the longest common beginning with the new segment. (The thread in
//! `read_ahead` and its limit `Limits::ahead_bytes` have nothing to do with this.)
//!
//! The slot calls it (`Store::ahead`) before it stores a segment. For the tokens of the common beginning,
//! the slot replaces its own KV by the stored bytes, and then stores only the tokens after them as a new
//! segment. The writer thread calls it again when it stores that segment, because another process may have
//! stored these tokens in the meantime.
//!
//! This keeps one rule of the store (docs/kv-format.md, One version): two stored chains with the same
//! tokens in [0, p) have the same bytes there. Without the rule, a restarted process could restore other
//! bytes than the bytes that a process without a restart has in its slot, and its logits would differ in
//! their last bits.

use crate::kv::index::connection::Index;
use crate::kv::index::edges::{EdgeRow, MOST_ALIKE};
use crate::kv::index::table::SqlResult;
use crate::kv::open::store::OpenStore;
use crate::kv::record::item::Edge;
use crate::kv::record::read;
use crate::ledger::{Digest, Token, common_prefix};

/// Looks at the stored segments that begin at `from`, which is D(p0), and compares them with `tokens`,
/// the tokens from p0 on. Returns the segment with the longest common beginning, and the position at
/// which this beginning ends. `None` if no segment has the first token. `index` is one of the two
/// connections of `store`.
pub(in crate::kv) fn ahead(
    store: &OpenStore,
    index: &Index,
    (from, p0): (Digest, usize),
    tokens: &[Token],
) -> SqlResult<Option<(Edge, usize)>> {
    let mut best: Option<(Edge, usize)> = None;
    let mut files = 0;
    let candidates = index.edges(store.model()).candidates(from, p0, tokens)?;
    for EdgeRow { edge, head, .. } in candidates {
        let len = edge.p1.saturating_sub(edge.p0);
        let mut same = common_prefix(&head, tokens);
        // The index row has the first tokens of the segment; the other tokens are in its file.
        if same == head.len() && same < len.min(tokens.len()) {
            files += 1;
            if files > MOST_ALIKE {
                continue;
            }
            // A file that cannot be read is not used here. A restore that reads all of it gets the error.
            let Ok(stored) = read::tokens(&store.files, &store.limits, &edge) else {
                continue;
            };
            same = common_prefix(&stored, tokens);
        }
        let more = best.as_ref().is_none_or(|(_, upto)| p0 + same > *upto);
        if same > 0 && edge.p0 == p0 && more {
            best = Some((edge, p0 + same));
        }
    }
    Ok(best)
}
