//! What the conversation in the slot needs. It is never evicted for the quota, and never merged before
//! an owner pins it.

use std::collections::HashSet;

use crate::kv::index::models::ModelId;
use crate::kv::record::put::Record;
use crate::ledger::Digest;

/// What an eviction must leave.
#[derive(Default)]
pub(in crate::kv) struct InUse {
    /// Owners whose conversations stay whole.
    pub(in crate::kv) owners: HashSet<String>,
    /// Ends of what was put for a model since the last pin.
    pub(in crate::kv) fresh: Option<(ModelId, Vec<Digest>)>,
}

/// The writer's record of the conversation in the slot.
#[derive(Default)]
pub(in crate::kv) struct CurrentOwner {
    /// The owner that pinned or put last. Only one: there is one slot, and a process that serves many
    /// conversations could otherwise evict nothing.
    owner: Option<String>,
    /// Ends of what was put since the last pin: no owner holds them yet.
    fresh: Vec<Digest>,
}

impl CurrentOwner {
    /// A record was stored.
    pub(in crate::kv) fn put(&mut self, record: &Record) {
        self.fresh.push(record.to);
        if !record.owner.is_empty() {
            self.owner = Some(record.owner.clone());
        }
    }

    /// An owner ends its turn: its conversation is the one in the slot.
    pub(in crate::kv) fn set(&mut self, owner: &str) {
        self.owner = Some(owner.to_owned());
    }

    /// The owner's pin holds all that was put.
    pub(in crate::kv) fn all_is_pinned(&mut self) {
        self.fresh.clear();
    }

    /// An owner is forgotten.
    pub(in crate::kv) fn forget(&mut self, owner: &str) {
        self.owner.take_if(|current| current == owner);
    }

    /// Ends of what was put since the last pin.
    pub(in crate::kv) fn fresh(&self) -> &[Digest] {
        &self.fresh
    }

    /// All of it, for an eviction.
    pub(in crate::kv) fn in_use(&self, model: ModelId) -> InUse {
        InUse {
            owners: self.owner.iter().cloned().collect(),
            fresh: Some((model, self.fresh.clone())),
        }
    }
}
