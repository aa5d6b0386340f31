//! One version of a prefix's KV. Two stored chains with the same tokens in [0, p) must have the same
//! bytes there. Otherwise a restarted process could restore other bytes than a process has that never
//! stopped. So the slot looks up what is stored of a segment's tokens before it stores the segment, takes
//! those bytes, and stores only what is new. The writer looks again when it gives the file its name.

use crate::kv::index::connection::Index;
use crate::kv::index::edges::{EdgeRow, MOST_ALIKE};
use crate::kv::index::table::SqlResult;
use crate::kv::open::store::OpenStore;
use crate::kv::record::item::Edge;
use crate::kv::record::read;
use crate::ledger::{Digest, Token, common_prefix};

/// Of the stored segments that begin at `from`, which is D(p0), the one that has the most of `tokens`,
/// those that follow p0; and the position up to which it has them, above p0. `None` where no segment
/// has the first token. `index` is one of the store's two connections.
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
        // The row holds the first tokens; the others are in the file.
        if same == head.len() && same < len.min(tokens.len()) {
            files += 1;
            if files > MOST_ALIKE {
                continue;
            }
            // From a file that cannot be read nothing is taken. Reading it whole gives the error.
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
