//! The writer's sense of what is in use: whose conversation the slot has, what was written since it
//! was pinned, and when the folder has grown past its quota.

use std::collections::HashSet;
use std::io;

use crate::ledger::Digest;

use crate::kv::error::Error;
use crate::kv::record::put::Record;
use crate::kv::store::handle::Live;
use crate::kv::write::evict::{self, Collected, InUse, Trouble, Want};
use crate::kv::write::give_way::quarantined;
use crate::kv::write::merge::{Merged, Merger};
use crate::kv::write::writer::Failure;

/// This part of the quota is made free beyond what is needed, or each turn would look at everything.
const SLACK: u64 = 32;

/// Owned by the writer thread.
#[derive(Default)]
pub(in crate::kv) struct Keeper {
    /// Who pinned or put last: there is one slot. Were it all who did in this run, a process that
    /// serves many conversations would never make room.
    owner: Option<String>,
    /// Ends of what was put since the last pin.
    fresh: Vec<Digest>,
    /// What was left when the quota could not be reached: trying again is of use only when the
    /// folder has grown.
    stuck: Option<u64>,
    told: bool,
    /// So many bytes the disk lacked when nothing more could go.
    full: Option<u64>,
    /// Places on the way to what was pinned, while a rebuild's pins are looked for there.
    walked: HashSet<Digest>,
    /// How often the index had been made anew when they were walked.
    remakes: u32,
    pub(in crate::kv) merger: Merger,
}

impl Keeper {
    pub(in crate::kv) fn put(&mut self, record: &Record) {
        self.fresh.push(record.to);
        if !record.owner.is_empty() {
            self.owner = Some(record.owner.clone());
        }
    }

    /// The end of an owner's turn: its pin moves, and its conversation is the one in use.
    pub(in crate::kv) fn pin(
        &mut self,
        live: &Live,
        owner: &str,
        digest: Digest,
    ) -> Result<(), Failure> {
        self.owner = Some(owner.to_owned());
        if self.hold(live, owner, digest)? {
            self.fresh.clear();
        }
        Ok(())
    }

    /// Moves an owner's pin; whose conversation is in use stays as it is, and so does what nobody
    /// holds yet: a fork is made beside the conversation in the slot. One at which nothing is stored
    /// does not replace one that holds something: a turn that could not be written must not let go
    /// of those before it. Whether something is stored there.
    pub(in crate::kv) fn hold(
        &mut self,
        live: &Live,
        owner: &str,
        digest: Digest,
    ) -> Result<bool, Failure> {
        let index = live.index();
        if self.remakes != live.remakes.count() {
            // New pins of a rebuild may be where was walked before.
            self.remakes = live.remakes.count();
            self.walked.clear();
        }
        let stored = index.at_once(|| {
            // Where segments are stored, a snapshot that none leads to is of use to nobody.
            let stored = match index.has_edges(live.model())? {
                true => index.has_end(live.model(), digest)?,
                false => index.has_at(live.model(), digest)?,
            };
            if stored || !index.has_pin(live.model(), owner)? {
                index.pin(live.model(), owner, digest)?;
            }
            if index.has_unclaimed(live.model())? {
                index.claim(live.model(), digest, &mut self.walked)?;
            }
            Ok(stored)
        })?;
        if stored {
            self.merger.note(owner, digest);
        }
        Ok(stored)
    }

    pub(in crate::kv) fn unpin(&mut self, owner: &str) {
        self.owner.take_if(|used| used == owner);
        self.stuck = None;
    }

    /// One merge, if one is due.
    pub(in crate::kv) fn merge(&mut self, live: &Live) -> Result<Option<Merged>, Failure> {
        let merged = self.merger.step(live, &self.fresh)?;
        if let Some(merged) = merged {
            tracing::debug!(?merged, "kv merged");
        }
        Ok(merged)
    }

    /// All that nobody reaches, and what the quota asks for.
    pub(in crate::kv) fn collect(&mut self, live: &Live) -> Result<Collected, Error> {
        let done = live.sound(|| self.run(live, Want::Unreached, live.quota));
        done.map(|(collected, _)| collected)
            .map_err(|trouble| match trouble {
                Trouble::Io(source) => Error::Folder {
                    path: live.files.folder.clone(),
                    source,
                },
                Trouble::Index(error) => Error::Index(error),
            })
    }

    /// At the end of a turn: removes what is too much, if anything is. What goes wrong here is said
    /// once; the turn is stored all the same.
    pub(in crate::kv) fn mind_the_quota(&mut self, live: &Live) {
        let total = live.sound(|| live.index().total()).unwrap_or(0);
        let tried = self
            .stuck
            .map_or(live.quota, |left| left.saturating_add(live.quota / 16));
        if total <= tried {
            return;
        }
        let most = live.quota - live.quota / SLACK;
        match live.sound(|| self.run(live, Want::Quota, most)) {
            Ok((collected, left)) => {
                tracing::info!(?collected, left, "kv collected");
                self.stuck = (left > live.quota).then_some(left);
                if left > live.quota && !self.told {
                    self.told = true;
                    live.notices.add(
                        format!(
                            "The conversations in use take {} MiB of KV, the quota is {} MiB; they are kept.",
                            left >> 20,
                            live.quota >> 20,
                        ),
                        "Nothing to do while there is space; `npast kv status` shows what takes it.",
                    );
                }
            }
            Err(trouble) => {
                let error = match trouble {
                    Trouble::Io(error) => error.to_string(),
                    Trouble::Index(error) => error.to_string(),
                };
                live.notices.add_once(
                    "collect",
                    format!("Old KV could not be removed: {error}."),
                    "Check the disk of the data folder; it is tried again at the end of a turn.",
                );
            }
        }
    }

    /// Before a record of so many bytes is written: what the disk keeps for messages stays free. What
    /// is of least use goes for it, as for the quota; where that is not enough, nothing is written.
    pub(in crate::kv) fn leave_the_reserve(
        &mut self,
        live: &Live,
        bytes: u64,
    ) -> Result<(), Failure> {
        let lacks = || {
            let space = live.files.storage.space(&live.files.folder)?;
            let need = (2 * space.reserve()).saturating_add(bytes);
            Some(need.saturating_sub(space.free)).filter(|lacks| *lacks > 0)
        };
        let Some(lack) = lacks() else {
            self.full = None;
            return Ok(());
        };
        if self.full != Some(lack) {
            self.less(live, lack, self.in_use(live));
        }
        self.full = lacks();
        match self.full {
            None => Ok(()),
            Some(_) => {
                let what = "the rest of the disk is kept for messages";
                Err(io::Error::new(io::ErrorKind::StorageFull, what).into())
            }
        }
    }

    /// Gives way to what cannot be made again: what is of least use first, what is in use at last.
    pub(in crate::kv) fn make_room(&mut self, live: &Live, bytes: u64) -> Collected {
        let mut done = quarantined(live.place.root(), bytes);
        for used in [self.in_use(live), InUse::default()] {
            if done.bytes < bytes {
                let more = self.less(live, bytes - done.bytes, used);
                done.files += more.files;
                done.bytes += more.bytes;
            }
        }
        if done.files > 0 {
            // What is in use may be among it: whoever has boundaries in mind asks again.
            live.lost();
            live.notices.add_once(
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

    /// Removes so many bytes, if there are as many that are not in use.
    fn less(&mut self, live: &Live, bytes: u64, used: InUse) -> Collected {
        let total = live.sound(|| live.index().total()).unwrap_or(0);
        let most = total.saturating_sub(bytes);
        match live.sound(|| self.collect_to(live, Want::Quota, most, &used)) {
            Ok((collected, _)) => collected,
            Err(trouble) => {
                let error = match trouble {
                    Trouble::Io(error) => error.to_string(),
                    Trouble::Index(error) => error.to_string(),
                };
                tracing::warn!(error, "KV does not give way");
                Collected::default()
            }
        }
    }

    fn in_use(&self, live: &Live) -> InUse {
        InUse {
            owners: self.owner.iter().cloned().collect(),
            fresh: Some((live.model(), self.fresh.clone())),
        }
    }

    fn run(&mut self, live: &Live, want: Want, most: u64) -> Result<(Collected, u64), Trouble> {
        let used = self.in_use(live);
        self.collect_to(live, want, most, &used)
    }

    fn collect_to(
        &mut self,
        live: &Live,
        want: Want,
        most: u64,
        used: &InUse,
    ) -> Result<(Collected, u64), Trouble> {
        // Pins may move back to places that were walked.
        self.walked.clear();
        evict::collect(&live.index, &live.files, most, want, used)
    }
}
