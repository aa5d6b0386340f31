//! The limits of the store: how many bytes may wait for the writer thread, how large a record a reader
//! accepts, how many bytes all files may take on disk, and how long a change of the index waits for another process. The writer, the readers and
//! the eviction use them. A caller chooses them when it opens the store, and they do not change
//! afterwards.

use std::path::Path;
use std::time::Duration;

use crate::durable::Space;

/// The default quota in bytes. The default is a tenth of the disk where that is less.
const QUOTA: u64 = 20 << 30;

/// The limits of a store. All byte counts are maxima.
#[derive(Clone, Copy, Debug)]
pub struct StoreLimits {
    /// The maximum number of bytes that wait for the writer thread. A put that would exceed it blocks
    /// until there is space. One put that is larger than the limit is accepted when nothing else waits.
    pub queue_bytes: usize,
    /// The maximum payload of one segment, in bytes.
    pub segment_bytes: u64,
    /// The maximum number of tokens of one segment.
    pub segment_tokens: u64,
    /// The maximum payload of one snapshot, in bytes. For models of the class *whole* a snapshot has the
    /// whole state of the sequence.
    pub snapshot_bytes: u64,
    /// The maximum number of values of a logits row.
    pub logits: u64,
    /// The quota: the maximum number of bytes of all record files of all models. `None` means 20 GiB or a
    /// tenth of the disk, whichever is less. Records in use are kept even if they alone exceed the quota.
    pub quota_bytes: Option<u64>,
    /// For `find::read_ahead`: the maximum number of payload bytes that the reading thread of a chain may
    /// be ahead of its caller. One segment that is larger than the limit is accepted alone.
    pub ahead_bytes: usize,
    /// How long a change of the index waits while another process changes the index. After one change has
    /// waited for this long without success, each following change waits a hundredth of this time, until
    /// one change succeeds. So the writer thread does not wait this long for every job in a long queue.
    pub index_wait: Duration,
}

impl Default for StoreLimits {
    fn default() -> StoreLimits {
        StoreLimits {
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

/// The quota in bytes: `given`, or else 20 GiB or a tenth of the disk of the folder `dir`,
/// whichever is less.
pub fn quota(dir: &Path, given: Option<u64>) -> u64 {
    given.unwrap_or_else(|| {
        let size = Space::of(dir).map_or(u64::MAX, |disk| disk.total);
        QUOTA.min(size / 10)
    })
}
