//! Keeps stored KV within its quota, and the disk's reserve free for messages.

use std::io;

use crate::kv::error::Error;
use crate::kv::open::index::IndexOwner;
use crate::kv::open::store::OpenStore;

use super::evict::{self, Collected, EvictError, EvictWhat};
use super::failure::WriteFailure;
use super::in_use::{CurrentOwner, InUse};
use super::oldest::empty_quarantine;
use super::pins::PinWriter;

/// An eviction frees this part of the quota more than it must, or every turn would need one.
const SLACK: u64 = 32;

/// What earlier evictions found. Owned by the writer thread.
#[derive(Default)]
pub(in crate::kv) struct DiskRoom {
    /// Bytes that were left when the quota could not be reached: only when the folder has grown a new
    /// attempt can help.
    stuck: Option<u64>,
    /// The user was told that what is in use is above the quota.
    reported: bool,
    /// Bytes that the disk lacked when nothing more could be evicted.
    lacking: Option<u64>,
}

/// What an eviction needs of the writer.
pub(in crate::kv) struct Evicting<'a> {
    pub(in crate::kv) store: &'a OpenStore,
    pub(in crate::kv) current: &'a CurrentOwner,
    pub(in crate::kv) pins: &'a mut PinWriter,
}

impl Evicting<'_> {
    /// Removes files until the others fit into `most` bytes; leaves what the conversation in the slot
    /// needs. Also returns the bytes that are left.
    fn evict(&mut self, what: EvictWhat, most: u64) -> Result<(Collected, u64), EvictError> {
        let used = self.current.in_use(self.store.model());
        self.evict_all_but(what, most, &used)
    }

    fn evict_all_but(
        &mut self,
        what: EvictWhat,
        most: u64,
        used: &InUse,
    ) -> Result<(Collected, u64), EvictError> {
        let store = self.store;
        self.pins.pins_may_move();
        store.sound(|| evict::evict(&store.index, &store.files, most, what, used))
    }

    /// Removes `bytes` bytes, if that many are not in use. A failure is logged.
    fn free(&mut self, bytes: u64, used: &InUse) -> Collected {
        let most = self.total().saturating_sub(bytes);
        match self.evict_all_but(EvictWhat::OverQuota, most, used) {
            Ok((collected, _)) => collected,
            Err(error) => {
                tracing::warn!(%error, "stored KV cannot be evicted");
                Collected::default()
            }
        }
    }

    /// Bytes of all files; 0 when the index does not say.
    fn total(&self) -> u64 {
        let total = self.store.sound(|| self.store.index().totals().bytes());
        total.unwrap_or(0)
    }
}

impl DiskRoom {
    /// Removes all that no owner reaches, and what is above the quota.
    pub(in crate::kv) fn collect(&self, mut on: Evicting<'_>) -> Result<Collected, Error> {
        let store = on.store;
        let done = on.evict(EvictWhat::Unreached, store.quota);
        done.map(|(collected, _)| collected)
            .map_err(|error| error.at(&store.files.folder))
    }

    /// An owner is forgotten: what it held can be evicted.
    pub(in crate::kv) fn owner_forgotten(&mut self) {
        self.stuck = None;
    }

    /// At the end of a turn: removes what is above the quota. A failure is reported once; the turn is
    /// stored all the same.
    pub(in crate::kv) fn keep_quota(&mut self, mut on: Evicting<'_>) {
        let (quota, notices) = (on.store.quota, &on.store.notices);
        let most = match self.stuck {
            Some(left) => left.saturating_add(quota / 16),
            None => quota,
        };
        if on.total() <= most {
            return;
        }
        match on.evict(EvictWhat::OverQuota, quota - quota / SLACK) {
            Ok((collected, left)) => {
                tracing::info!(?collected, left, "kv collected");
                self.stuck = (left > quota).then_some(left);
                if left > quota && !self.reported {
                    self.reported = true;
                    notices.add(
                        format!(
                            "The conversations in use take {} MiB of KV, the quota is {} MiB; they are kept.",
                            left >> 20,
                            quota >> 20,
                        ),
                        "Nothing to do while there is space; `npast kv status` shows what takes it.",
                    );
                }
            }
            Err(error) => notices.add_once(
                "collect",
                format!("Old KV could not be removed: {error}."),
                "Check the disk of the data folder; it is tried again at the end of a turn.",
            ),
        }
    }

    /// Before a record of `bytes` bytes is written: keeps what the disk reserves for messages free.
    /// Evicts as for the quota; where that is not enough the record is not written.
    ///
    /// # Errors
    /// The disk counts as full.
    pub(in crate::kv) fn keep_reserve(
        &mut self,
        mut on: Evicting<'_>,
        bytes: u64,
    ) -> Result<(), WriteFailure> {
        let files = &on.store.files;
        let lacks = || {
            let space = files.storage.space(&files.folder)?;
            let need = (2 * space.reserve()).saturating_add(bytes);
            Some(need.saturating_sub(space.free)).filter(|lacks| *lacks > 0)
        };
        let Some(lack) = lacks() else {
            self.lacking = None;
            return Ok(());
        };
        if self.lacking != Some(lack) {
            let used = on.current.in_use(on.store.model());
            on.free(lack, &used);
        }
        self.lacking = lacks();
        match self.lacking {
            None => Ok(()),
            Some(_) => {
                let what = "the rest of the disk is kept for messages";
                Err(io::Error::new(io::ErrorKind::StorageFull, what).into())
            }
        }
    }

    /// Frees `bytes` bytes for messages, which cannot be made again: what is least useful is evicted
    /// first, what is in use last.
    pub(in crate::kv) fn make_room(&self, mut on: Evicting<'_>, bytes: u64) -> Collected {
        let store = on.store;
        let mut done = empty_quarantine(store.index.location().root(), bytes);
        for used in [on.current.in_use(store.model()), InUse::default()] {
            if done.bytes < bytes {
                let more = on.free(bytes - done.bytes, &used);
                done.files += more.files;
                done.bytes += more.bytes;
            }
        }
        if done.files > 0 {
            // Segments in use may be among them: callers that know their boundaries look them up again.
            store.changes.add_lost();
            store.notices.add_once(
                "room",
                format!(
                    "The disk is nearly full: {} KV files ({} MiB) were removed, so that messages can \
                     be stored.",
                    done.files,
                    done.bytes.div_ceil(1 << 20),
                ),
                "Free some space; what was removed is evaluated again when it is needed.",
            );
        }
        done
    }
}
