//! All that the engine thread owns: the context, the record of what it holds, the store, and what of a turn
//! is not on disk yet. The other files change it, each for one purpose; `handle` has the thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::memory::SlotMemory;
use super::options::{SlotOptions, segment_tokens};
use super::resident::Resident;
use super::rows::PromptRows;
use super::saved::StateEnd;
use super::side::ScratchWork;
use crate::kv::{Changes, Store};
use crate::llama::Model;

pub(super) struct SlotEngine {
    pub memory: SlotMemory,
    pub store: Store,
    pub resident: Resident,
    pub model: Arc<Model>,
    pub limit: usize,
    pub ubatch: usize,
    /// [`SlotOptions::restore_budget`].
    pub restore_budget: usize,
    /// [`segment_tokens`] of this memory.
    pub segment: usize,
    /// Length at which an SWA window is in canonical layout already: it was just put back.
    pub canonical: Option<usize>,
    pub rows: PromptRows,
    /// [`Store::changes`] when the marks of what is stored were last held against it.
    pub changes: Changes,
    /// The last turn's state was stored and has no sample yet.
    pub unsampled: bool,
    /// A state that is in RAM alone, because its turn may go on. Where a state is hundreds of MiB, one a
    /// turn is written, not one a call (docs/kv-format.md).
    pub unsettled: Option<StateEnd>,
    /// The latest pin that the store was asked for.
    pub pinned: Option<StateEnd>,
    /// Bytes of snapshots that were stored between calls; the next outcome counts them.
    pub settled: u64,
    /// Side work that scratch holds.
    pub side: Option<ScratchWork>,
}

impl SlotEngine {
    /// An engine whose context holds nothing. `limit` is the conversation's, in tokens.
    pub fn new(
        model: &Arc<Model>,
        memory: SlotMemory,
        store: Store,
        options: &SlotOptions,
        limit: usize,
    ) -> SlotEngine {
        SlotEngine {
            resident: Resident::new(store.fingerprint().hard, options.snapshot_budget),
            store,
            model: model.clone(),
            limit,
            ubatch: options.context.ubatch,
            restore_budget: options.restore_budget,
            segment: segment_tokens(memory.token_bytes()),
            memory,
            canonical: None,
            rows: PromptRows::default(),
            changes: Changes::default(),
            unsampled: false,
            unsettled: None,
            pinned: None,
            settled: 0,
            side: None,
        }
    }
}

/// Milliseconds since an instant.
pub(super) fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

pub(super) fn cancelled(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}
