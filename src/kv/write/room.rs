//! Keeps stored KV within its quota, and keeps disk space free for npast.db, which has the messages.
//! The writer thread calls it at the end of a turn, before each record is written, and when npast.db asks
//! for space. Invariant: a put is not written if it would leave less free space than twice the part of
//! the disk that is reserved for npast.db (`Space::reserve`).

use std::io;

use crate::kv::error::Error;
use crate::kv::open::index::IndexOwner;
use crate::kv::open::store::OpenStore;

use super::evict::{self, Collected, EvictError, EvictWhat};
use super::failure::WriteFailure;
use super::in_use::{CurrentOwner, InUse};
use super::oldest::empty_quarantine;
use super::pins::PinWriter;

/// An eviction for the quota goes on until 1/32 of the quota is free. Otherwise every turn would need an
/// eviction.
const SLACK: u64 = 32;

/// What earlier evictions have found. The writer thread owns this value.
#[derive(Default)]
pub(in crate::kv) struct DiskRoom {
    /// The bytes that were left when the quota could not be reached, because the rest was in use. A new
    /// attempt is made only after the store has grown by 1/16 of the quota.
    stuck: Option<u64>,
    /// True when the user was told that the records in use are larger than the quota.
    reported: bool,
    /// The bytes that were still missing on the disk when nothing more could be evicted.
    lacking: Option<u64>,
}

/// The parts of the writer thread that an eviction needs.
pub(in crate::kv) struct Evicting<'a> {
    pub(in crate::kv) store: &'a OpenStore,
    pub(in crate::kv) current: &'a CurrentOwner,
    pub(in crate::kv) pins: &'a mut PinWriter,
}

impl Evicting<'_> {
    /// Removes records until the others take at most `most` bytes; keeps what the conversation in the
    /// slot needs. Also returns the bytes that are left.
    fn evict(&mut self, what: EvictWhat, most: u64) -> Result<(Collected, u64), EvictError> {
        let used = self.current.in_use(self.store.model());
        self.evict_all_but(what, most, &used)
    }

    /// [`Evicting::evict`] with another set of records in use.
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

    /// Removes records of `bytes` bytes, if so many are not in use. A failure is written to the log.
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

    /// The bytes of all record files; 0 if the index fails.
    fn total(&self) -> u64 {
        let total = self.store.sound(|| self.store.index().totals().bytes());
        total.unwrap_or(0)
    }
}

impl DiskRoom {
    /// Garbage collection: removes every record that no owner reaches, and then what is above the quota.
    pub(in crate::kv) fn collect(&self, mut on: Evicting<'_>) -> Result<Collected, Error> {
        let store = on.store;
        let done = on.evict(EvictWhat::Unreached, store.quota);
        done.map(|(collected, _)| collected)
            .map_err(|error| error.at(&store.files.folder))
    }

    /// An owner was removed, so the records that only it reached can be evicted now.
    pub(in crate::kv) fn owner_forgotten(&mut self) {
        self.stuck = None;
    }

    /// At the end of a turn: removes what is above the quota. A failure is reported once, and the turn
    /// stays stored.
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

    /// Before a record of `bytes` bytes is written: keeps the disk space for npast.db free. Evicts as for
    /// the quota; if that does not free enough, the record is not written.
    ///
    /// # Errors
    /// An error that says that the disk is full.
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

    /// Frees `bytes` bytes for npast.db: a message cannot be made again, stored KV can. Files in
    /// quarantine go first, then the records that are least useful, and at last records in use.
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
            // Segments in use may have been removed: callers that remember their boundaries ask for them
            // again.
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
