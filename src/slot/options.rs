//! Settings of a slot, and the lengths in which a long append is stored.

use crate::llama::ContextOptions;

/// Settings of a slot.
#[derive(Clone, Debug)]
pub struct SlotOptions {
    /// The conversation's limit, in tokens; llama.cpp's context gets a reserve on top, so that a
    /// full conversation can still fork and export.
    pub limit: usize,
    /// The rest; `cells` is computed.
    pub context: ContextOptions,
    /// Bytes of snapshots kept in RAM.
    pub snapshot_budget: usize,
    /// Bytes of proven segments that a restore holds in RAM beside a conversation; what is more is
    /// read twice.
    pub restore_budget: usize,
}

impl SlotOptions {
    /// Cells of the context for a limit: an eighth more, at least 2,048.
    pub fn cells(limit: usize) -> usize {
        limit + (limit / 8).max(2048)
    }
}

/// Tokens between snapshots in a long append, where a state cannot be cut.
pub(super) const STEP: usize = 2048;

/// Tokens between forced segment ends in a long append: at most 2,048, fewer where their KV is more
/// than 8 MiB. What is put back while it is in the processor's cache, written there by the thread
/// that reads and proves, takes two thirds of the time (`scripts/bench kv`). With 4 MiB it is faster
/// still up to 10,000 tokens and no more at 100,000: llama.cpp looks at every cell of the context
/// for each segment.
pub fn segment_tokens(token_bytes: usize) -> usize {
    ((8 << 20) / token_bytes.max(1)).clamp(128, STEP)
}
