//! Moves owners' pins, and takes over what a rebuild of the index pinned in nobody's name.

use std::collections::HashSet;

use crate::kv::index::table::SqlResult;
use crate::kv::open::store::OpenStore;
use crate::ledger::Digest;

/// The writer's walk over chains to unclaimed pins.
#[derive(Default)]
pub(in crate::kv) struct PinWriter {
    /// Digests that the walk has visited: it stops there the next time.
    walked: HashSet<Digest>,
    /// How often the index had been rebuilt when they were visited.
    rebuilds: u32,
}

impl PinWriter {
    /// Moves an owner's pin to `digest`, and claims unclaimed pins on the way to it. Returns whether
    /// something is stored there. If nothing is, a pin that the owner has stays where it is: a turn
    /// that could not be written must not give up the turns before it.
    pub(in crate::kv) fn pin(
        &mut self,
        store: &OpenStore,
        owner: &str,
        digest: Digest,
    ) -> SqlResult<bool> {
        let index = store.index();
        if self.rebuilds != store.index.rebuilds() {
            // The rebuild may have put pins where the walk was before.
            self.rebuilds = store.index.rebuilds();
            self.walked.clear();
        }
        let model = store.model();
        index.at_once(|| {
            // Where segments are stored, a snapshot that no segment leads to is of no use.
            let edges = index.edges(model);
            let stored = if edges.any()? {
                edges.has_end(digest)?
            } else {
                index.joints(model).is_stored(digest)?
            };
            let pins = index.pins(model);
            if stored || !pins.has(owner)? {
                pins.set(owner, digest)?;
            }
            if pins.has_unclaimed()? {
                pins.claim(digest, &mut self.walked)?;
            }
            Ok(stored)
        })
    }

    /// An eviction may move pins back to digests that the walk has visited.
    pub(in crate::kv) fn pins_may_move(&mut self) {
        self.walked.clear();
    }
}
