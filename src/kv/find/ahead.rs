//! One version of a prefix's KV. Two chains that agree on the tokens of [0, p) must agree on the bytes
//! of [0, p): else a process that restarts could be given other bytes than the slot holds that never
//! stopped. So who wants to store a segment first asks what is stored of its tokens, takes those
//! bytes, and stores what is new; the writer asks again when the file gets its name.

use crate::ledger::{Digest, Token, common_prefix};

use crate::kv::index::connection::{Edge, EdgeRow, Index, Node};
use crate::kv::index::search::MOST_ALIKE;
use crate::kv::record::read;
use crate::kv::store::handle::{Live, Store};

impl Store {
    /// Of the stored segments that begin at `from`, which is D(p0), the one that has the most of
    /// `tokens`, those that follow p0; and the position up to which it has them, above p0. `None`
    /// where no segment has the first one. What waits for the writer is not seen.
    pub fn ahead(&self, from: Digest, p0: usize, tokens: &[Token]) -> Option<(Edge, usize)> {
        let live = self.live()?;
        let found = live.sound(|| ahead(live, &live.asked(), (from, p0), tokens));
        found
            .inspect_err(|error| tracing::warn!(%error, "what is stored ahead is not known"))
            .ok()?
    }

    /// The snapshot that is stored at a digest.
    pub fn node(&self, digest: Digest) -> Option<Node> {
        let live = self.live()?;
        live.sound(|| live.asked().node(live.model(), digest))
            .ok()?
    }

    /// Ends of segments and places of snapshots that were handed over since the last call, and that
    /// somebody else had stored meanwhile in other bytes. Counted in `Changes::other`.
    pub fn take_others(&self) -> Vec<Digest> {
        self.live().map_or_else(Vec::new, Live::take_others)
    }
}

/// [`Store::ahead`] on either connection.
pub(in crate::kv) fn ahead(
    live: &Live,
    index: &Index,
    (from, p0): (Digest, usize),
    tokens: &[Token],
) -> Result<Option<(Edge, usize)>, rusqlite::Error> {
    let mut best: Option<(Edge, usize)> = None;
    let mut files = 0;
    for EdgeRow { edge, head, .. } in index.ways(live.model(), from, p0, tokens)? {
        let len = edge.p1.saturating_sub(edge.p0);
        let mut same = common_prefix(&head, tokens);
        // The row holds the first tokens; the others are in the file.
        if same == head.len() && same < len.min(tokens.len()) {
            files += 1;
            if files > MOST_ALIKE {
                continue;
            }
            // A file that cannot be read has nothing to take; who wants it whole is told.
            let Ok(stored) = read::tokens(&live.files, &live.limits, &edge) else {
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
