//! The files of one fingerprint: their names, the commit of one file, quarantine, and removing what crashed
//! writes left. What is in a file does not matter here.
//!
//! The commit is atomic replacement through [`Storage`]: crash tests stop it between any two operations,
//! which `durable::replace` does not let them do.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::kv::error::Error;
use crate::ledger::Digest;

use super::format::RecordKind;
use super::storage::Storage;

/// The name of an edge's or node's file; it follows from what the file holds.
pub(in crate::kv) fn name(kind: RecordKind, from: Digest, to: Digest) -> String {
    let mut bytes = [0u8; 65];
    bytes[0] = kind as u8;
    bytes[1..33].copy_from_slice(&from.0);
    bytes[33..].copy_from_slice(&to.0);
    format!("{}.{}", Digest::of(&bytes).hex(), kind.ending())
}

/// True for names that [`name`] makes.
pub(in crate::kv) fn is_record(name: &str) -> bool {
    name.split_once('.').is_some_and(|(stem, ending)| {
        [RecordKind::Edge, RecordKind::Node]
            .iter()
            .any(|k| k.ending() == ending)
            && Digest::from_hex(stem).is_some()
    })
}

/// The most files in quarantine/.
pub(in crate::kv) const MOST_QUARANTINED: usize = 64;
/// Their most bytes.
const MOST_QUARANTINED_BYTES: u64 = 1 << 30;

/// Two stores in one process must not choose the same temporary name.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// One fingerprint's folder.
#[derive(Clone)]
pub(in crate::kv) struct Files {
    pub(in crate::kv) storage: Arc<dyn Storage>,
    pub(in crate::kv) folder: PathBuf,
    versioned: PathBuf,
    quarantine: PathBuf,
}

impl Files {
    /// The folder `<root>/v1/<short>`; nothing is created yet.
    pub(in crate::kv) fn new(storage: Arc<dyn Storage>, root: &Path, short: &str) -> Files {
        Files {
            storage,
            folder: root.join("v1").join(short),
            versioned: root.join("v1"),
            quarantine: root.join("quarantine"),
        }
    }

    /// The folder of another fingerprint beside this one.
    pub(in crate::kv) fn of(&self, short: &str) -> Files {
        Files {
            folder: self.versioned.join(short),
            ..self.clone()
        }
    }

    /// Writes `parts` one after another as the file `name`: temporary file, fsync, rename, fsync
    /// of the folder. On an error nothing is left behind.
    pub(in crate::kv) fn commit(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        self.prepare(name, parts)?.publish()
    }

    /// Writes `parts` one after another into a durable temporary file, which [`RecordDraft::publish`] makes
    /// the file `name`. On an error nothing is left behind.
    pub(in crate::kv) fn prepare(
        &self,
        name: &str,
        parts: &[&[u8]],
    ) -> io::Result<RecordDraft<'_>> {
        let count = WRITES.fetch_add(1, Ordering::Relaxed);
        let temporary = format!("{name}.{}.{count}.tmp", std::process::id());
        let draft = RecordDraft {
            temporary: Some(self.folder.join(temporary)),
            place: self.folder.join(name),
            files: self,
        };
        if let Some(path) = &draft.temporary {
            self.write(path, parts)?;
        }
        Ok(draft)
    }

    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        let mut file = self.storage.create(path)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync()
    }

    pub(in crate::kv) fn open(&self, name: &str) -> io::Result<(Box<dyn Read>, u64)> {
        self.storage.open(&self.folder.join(name))
    }

    pub(in crate::kv) fn list(&self) -> io::Result<Vec<String>> {
        self.storage.list(&self.folder)
    }

    /// Removes a file; one that is gone already is no error.
    pub(in crate::kv) fn remove(&self, name: &str) -> io::Result<()> {
        match self.storage.remove(&self.folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Moves a file to quarantine/; removes it where it cannot be moved.
    pub(in crate::kv) fn quarantine(&self, name: &str) -> io::Result<()> {
        let place = self.folder.join(name);
        let moved = self
            .storage
            .make_folder(&self.quarantine)
            .and_then(|()| self.storage.rename(&place, &self.quarantine.join(name)));
        match moved {
            Ok(()) => self.trim(name)?,
            Err(_) => self.remove(name)?,
        }
        // Without the syncs a power cut may bring the file back, to be refused and reported again.
        self.storage.sync_folder(&self.quarantine)?;
        self.storage.sync_folder(&self.folder)
    }

    /// Empties quarantine/; returns how many files it removed.
    pub(in crate::kv) fn empty_quarantine(&self) -> io::Result<u64> {
        let mut removed = 0;
        for name in self.storage.list(&self.quarantine)? {
            self.storage.remove(&self.quarantine.join(name))?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Removes files from quarantine/ until it is within its bounds, in the order of their names; the one
    /// named `newest`, which was moved there last, only at the end.
    fn trim(&self, newest: &str) -> io::Result<()> {
        let mut names = self.storage.list(&self.quarantine)?;
        names.sort_by_key(|name| name == newest);
        let mut sizes = Vec::new();
        for name in &names {
            // A file that cannot be opened counts as empty.
            let opened = self.storage.open(&self.quarantine.join(name));
            sizes.push(opened.map_or(0, |(_, len)| len));
        }
        let mut bytes: u64 = sizes.iter().sum();
        let mut count = names.len();
        for (name, size) in names.iter().zip(sizes) {
            if count <= MOST_QUARANTINED && bytes <= MOST_QUARANTINED_BYTES {
                break;
            }
            self.storage.remove(&self.quarantine.join(name))?;
            count -= 1;
            bytes -= size;
        }
        Ok(())
    }

    /// Removes what crashed writes left. Only for a process that has the folder to itself: the unfinished
    /// files of another one are in use.
    pub(in crate::kv) fn sweep(&self) -> io::Result<usize> {
        let mut swept = 0;
        for name in self.list()?.iter().filter(|n| n.ends_with(".tmp")) {
            self.remove(name)?;
            swept += 1;
        }
        Ok(swept)
    }

    /// Proves that the folder can be written: then "KV not saved" is said at the start, and not after the
    /// first turn.
    pub(in crate::kv) fn probe(&self) -> io::Result<()> {
        let count = WRITES.fetch_add(1, Ordering::Relaxed);
        let path = self
            .folder
            .join(format!("probe.{}.{count}.tmp", std::process::id()));
        drop(self.storage.create(&path)?);
        self.storage.remove(&path)
    }
}

/// A durable temporary file that does not have its final name yet. It is removed when this is dropped.
pub(in crate::kv) struct RecordDraft<'a> {
    files: &'a Files,
    temporary: Option<PathBuf>,
    place: PathBuf,
}

impl RecordDraft<'_> {
    /// Gives the file its name, in the place of a file that has it.
    pub(in crate::kv) fn publish(mut self) -> io::Result<()> {
        let Files {
            storage, folder, ..
        } = self.files;
        if let Some(temporary) = &self.temporary {
            storage.rename(temporary, &self.place)?;
            self.temporary = None;
        }
        storage.sync_folder(folder).inspect_err(|_| {
            let _ = storage.remove(&self.place);
        })
    }
}

impl Drop for RecordDraft<'_> {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = self.files.storage.remove(temporary);
        }
    }
}

/// The folders of all fingerprints in a KV folder.
pub(in crate::kv) fn folders(
    storage: &Arc<dyn Storage>,
    root: &Path,
) -> Result<Vec<String>, Error> {
    let versioned = root.join("v1");
    let mut names = storage
        .list(&versioned)
        .map_err(Error::folder(&versioned))?;
    names.retain(|n| n.len() == 16 && n.bytes().all(|b| b.is_ascii_hexdigit()));
    Ok(names)
}

/// Removes what crashed writes left, under every fingerprint. Only for a process that has the KV
/// folder to itself.
pub(in crate::kv) fn sweep_all(storage: &Arc<dyn Storage>, root: &Path) -> Result<(), Error> {
    for folder in folders(storage, root)? {
        let files = Files::new(storage.clone(), root, &folder);
        let swept = files.sweep().map_err(Error::folder(&files.folder))?;
        if swept > 0 {
            tracing::info!(swept, "unfinished kv files removed");
        }
    }
    Ok(())
}
