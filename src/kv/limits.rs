//! Bounds of the store: on memory that waits for the disk, on what a reader allocates, on the disk and
//! on waiting.

use std::path::Path;
use std::time::Duration;

use crate::durable::Space;

/// Without a setting: this, or a tenth of the disk, whichever is less.
const QUOTA: u64 = 20 << 30;

/// Bounds of the store.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes waiting for the writer; a put past it blocks until there is room. One put larger than
    /// all of it passes when nothing else waits.
    pub queue_bytes: usize,
    /// Payload bytes of one segment.
    pub segment_bytes: u64,
    /// Tokens of one segment.
    pub segment_tokens: u64,
    /// Payload bytes of one snapshot (a whole state, where only whole states work).
    pub snapshot_bytes: u64,
    /// Values of a logits row.
    pub logits: u64,
    /// Bytes of all files of the folder, of all models; `None` is 20 GiB or a tenth of the disk,
    /// whichever is less. What is in use is kept above it.
    pub quota_bytes: Option<u64>,
    /// Payload bytes that a chain's reader is ahead of its caller; one larger segment passes alone.
    pub ahead_bytes: usize,
    /// How long a change of the index waits for a change of another process. After one waited in
    /// vain, each of the next ones waits a hundredth of it, until one succeeds: so the writer is soon
    /// through with a long queue.
    pub index_wait: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            queue_bytes: 256 << 20,
            segment_bytes: 16 << 30,
            segment_tokens: 1 << 20,
            snapshot_bytes: 64 << 30,
            logits: 1 << 22,
            quota_bytes: None,
            ahead_bytes: 64 << 20,
            index_wait: Duration::from_secs(10),
        }
    }
}

/// The quota of a folder, in bytes: as `given`, else 20 GiB or a tenth of the disk that holds `dir`,
/// whichever is less.
pub fn quota(dir: &Path, given: Option<u64>) -> u64 {
    given.unwrap_or_else(|| {
        let size = Space::of(dir).map_or(u64::MAX, |disk| disk.total);
        QUOTA.min(size / 10)
    })
}
