//! How much space a disk has, and how much of it is reserved for messages. npast can go on storing messages
//! on a disk that something else has nearly filled: caches do not use the reserve, and are evicted when the
//! reserve is touched.

use std::path::Path;

/// The reserve: some dozen turns of messages, and npast.db's own write-ahead log.
const RESERVE: u64 = 16 << 20;

/// The room on the disk that holds a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// Bytes that this user may still write.
    pub free: u64,
    /// Bytes of the whole disk.
    pub total: u64,
}

impl Space {
    /// The disk that holds `path`; nothing where the system does not say.
    pub fn of(path: &Path) -> Option<Space> {
        let disk = rustix::fs::statvfs(path).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Some(Space {
            free: bytes(disk.f_bavail),
            total: bytes(disk.f_blocks),
        })
    }

    /// Bytes that are kept for what cannot be made again: at most an eighth of the disk.
    pub fn reserve(&self) -> u64 {
        RESERVE.min(self.total / 8)
    }
}
