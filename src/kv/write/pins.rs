//! Moves the pin of an owner, when the slot calls `Store::pin` or the agent calls `Store::hold`; the
//! writer thread does it. (`index::pins` has the SQL of the table, `store::pins` the methods for callers.)
//! After a rebuild of the index, it also removes the unclaimed pins on the way to an owner's new pin,
//! because the owner itself reaches these records now. Invariant: if an owner has a pin already, and
//! nothing is stored at the new digest, the pin stays where it is.

use std::collections::HashSet;

use crate::kv::index::table::SqlResult;
use crate::kv::open::store::OpenStore;
use crate::ledger::Digest;

/// Remembers where the search for unclaimed pins has been, so that each part of a chain is searched once.
#[derive(Default)]
pub(in crate::kv) struct PinWriter {
    /// The digests that the search has visited. The next search, which goes back from the new pin, stops
    /// there.
    walked: HashSet<Digest>,
    /// How often the index had been rebuilt when the digests in `walked` were visited.
    rebuilds: u32,
}

impl PinWriter {
    /// Moves the pin of an owner to `digest`, and removes the unclaimed pins on the way to it. Returns
    /// whether something is stored at `digest`. If nothing is, a pin that the owner already has stays
    /// where it is: when a turn could not be written, the records of the turns before it must stay
    /// reached.
    pub(in crate::kv) fn pin(
        &mut self,
        store: &OpenStore,
        owner: &str,
        digest: Digest,
    ) -> SqlResult<bool> {
        let index = store.index();
        if self.rebuilds != store.index.rebuilds() {
            // The rebuild may have made unclaimed pins at digests that were visited before.
            self.rebuilds = store.index.rebuilds();
            self.walked.clear();
        }
        let model = store.model();
        index.at_once(|| {
            // If segments are stored, a snapshot to which no segment leads is of no use.
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

    /// An eviction may move unclaimed pins back to digests that were visited.
    pub(in crate::kv) fn pins_may_move(&mut self) {
        self.walked.clear();
    }
}
