//! What the conversation in the slot needs: the records that its owner reaches, and the *fresh* records. A
//! record is fresh if it was put after the last successful `Store::pin` of any owner (one at whose digest
//! something was stored). The writer thread remembers both from job to job. An eviction does not remove
//! records in use, except when npast.db has no disk space left, and a merge removes no joint at the end of
//! a fresh record. Invariant: a fresh record is in use even if no owner reaches it yet.

use std::collections::HashSet;

use crate::kv::index::models::ModelId;
use crate::kv::record::put::PendingRecord;
use crate::ledger::Digest;

/// What an eviction must not remove.
#[derive(Default)]
pub(in crate::kv) struct InUse {
    /// Owners of which everything that they reach must stay.
    pub(in crate::kv) owners: HashSet<String>,
    /// A model, and the digests at the ends of its fresh records.
    pub(in crate::kv) fresh: Option<(ModelId, Vec<Digest>)>,
}

/// The owner whose conversation is in the slot, as far as the writer thread knows.
#[derive(Default)]
pub(in crate::kv) struct CurrentOwner {
    /// The owner of the latest pin or put. It is only one, because there is one slot. If all owners of a
    /// process with many conversations counted, nothing could be evicted.
    owner: Option<String>,
    /// The digests at the ends of the records of the fresh records, which perhaps no owner reaches yet.
    fresh: Vec<Digest>,
}

impl CurrentOwner {
    /// A put was done.
    pub(in crate::kv) fn put(&mut self, record: &PendingRecord) {
        self.fresh.push(record.to);
        if !record.owner.is_empty() {
            self.owner = Some(record.owner.clone());
        }
    }

    /// An owner ends its turn: its conversation is the one in the slot.
    pub(in crate::kv) fn set(&mut self, owner: &str) {
        self.owner = Some(owner.to_owned());
    }

    /// The owner reaches, by its new pin, everything that was put: no record is fresh any more.
    pub(in crate::kv) fn all_is_pinned(&mut self) {
        self.fresh.clear();
    }

    /// An owner was removed.
    pub(in crate::kv) fn forget(&mut self, owner: &str) {
        self.owner.take_if(|current| current == owner);
    }

    /// The digests at the ends of the fresh records.
    pub(in crate::kv) fn fresh(&self) -> &[Digest] {
        &self.fresh
    }

    /// What an eviction must not remove.
    pub(in crate::kv) fn in_use(&self, model: ModelId) -> InUse {
        InUse {
            owners: self.owner.iter().cloned().collect(),
            fresh: Some((model, self.fresh.clone())),
        }
    }
}
