//! The files of one model folder: their names, how one file is written, the quarantine, and the removal
//! of temporary files that a crashed process left. The writer thread, the readers and the opening of a
//! folder use it. This source file does not interpret the bytes of a record. Invariant: a file under its
//! final name is always complete.
//!
//! A file is written in four steps: it is written under a temporary name, flushed (fsync), renamed to its
//! final name, and the folder is flushed. All four go through [`Storage`], so that a test can simulate a
//! crash between any two of them. `durable::replace`, which writes other files of npast, does the same
//! steps directly on the file system, and a test could not stop it in between.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::kv::error::Error;
use crate::ledger::Digest;

use super::format::RecordKind;
use super::storage::Storage;

/// The file name of a record: a hash of its kind and its two digests. So a record that lies under a wrong
/// name is detected.
pub(in crate::kv) fn name(kind: RecordKind, from: Digest, to: Digest) -> String {
    let mut bytes = [0u8; 65];
    bytes[0] = kind as u8;
    bytes[1..33].copy_from_slice(&from.0);
    bytes[33..].copy_from_slice(&to.0);
    format!("{}.{}", Digest::of(&bytes).hex(), kind.ending())
}

/// True for names of the form that [`name`] makes.
pub(in crate::kv) fn is_record(name: &str) -> bool {
    name.split_once('.').is_some_and(|(stem, ending)| {
        [RecordKind::Edge, RecordKind::Node]
            .iter()
            .any(|k| k.ending() == ending)
            && Digest::from_hex(stem).is_some()
    })
}

/// The maximum number of files in quarantine.
pub(in crate::kv) const MOST_QUARANTINED: usize = 64;
/// The maximum number of bytes of all files in quarantine.
const MOST_QUARANTINED_BYTES: u64 = 1 << 30;

/// A counter for temporary names: two stores in one process must not use the same name.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// The files of one model folder.
#[derive(Clone)]
pub(in crate::kv) struct Files {
    pub(in crate::kv) storage: Arc<dyn Storage>,
    pub(in crate::kv) folder: PathBuf,
    versioned: PathBuf,
    quarantine: PathBuf,
}

impl Files {
    /// The files of the model folder `<root>/v1/<short>`, where `root` is the KV folder. Nothing is
    /// created yet.
    pub(in crate::kv) fn new(storage: Arc<dyn Storage>, root: &Path, short: &str) -> Files {
        Files {
            storage,
            folder: root.join("v1").join(short),
            versioned: root.join("v1"),
            quarantine: root.join("quarantine"),
        }
    }

    /// The files of another model folder in the same KV folder.
    pub(in crate::kv) fn of(&self, short: &str) -> Files {
        Files {
            folder: self.versioned.join(short),
            ..self.clone()
        }
    }

    /// Writes `parts` one after another as the file `name`: temporary file, fsync, rename, fsync of the
    /// folder. After an error no file is left, neither temporary nor final.
    pub(in crate::kv) fn commit(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        self.prepare(name, parts)?.publish()
    }

    /// Does the first half of [`Files::commit`]: writes `parts` into a temporary file and flushes it.
    /// [`RecordDraft::publish`] then renames it to `name`. After an error no temporary file is left.
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

    /// Creates a file, writes `parts`, and flushes it.
    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        let mut file = self.storage.create(path)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync()
    }

    /// Opens a file of the model folder; also returns its length in bytes.
    pub(in crate::kv) fn open(&self, name: &str) -> io::Result<(Box<dyn Read>, u64)> {
        self.storage.open(&self.folder.join(name))
    }

    /// The names of all files in the model folder.
    pub(in crate::kv) fn list(&self) -> io::Result<Vec<String>> {
        self.storage.list(&self.folder)
    }

    /// Removes a file. It is no error when the file does not exist.
    pub(in crate::kv) fn remove(&self, name: &str) -> io::Result<()> {
        match self.storage.remove(&self.folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Moves a file to quarantine. If it cannot be moved, it is removed.
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
        // Without these flushes a power cut could bring the file back, and it would be refused and
        // reported again.
        self.storage.sync_folder(&self.quarantine)?;
        self.storage.sync_folder(&self.folder)
    }

    /// Removes all files in quarantine, and returns how many there were.
    pub(in crate::kv) fn empty_quarantine(&self) -> io::Result<u64> {
        let mut removed = 0;
        for name in self.storage.list(&self.quarantine)? {
            self.storage.remove(&self.quarantine.join(name))?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Removes files from quarantine, in the order of their names, until both limits are kept. The file
    /// `newest`, which was just moved there, is removed last.
    fn trim(&self, newest: &str) -> io::Result<()> {
        let mut names = self.storage.list(&self.quarantine)?;
        names.sort_by_key(|name| name == newest);
        let mut sizes = Vec::new();
        for name in &names {
            // A file that cannot be opened counts as 0 bytes.
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

    /// Removes the temporary files that a crashed process left in this model folder, and returns how many
    /// there were. The caller must be the only process that uses the KV folder: another process may still
    /// be writing its temporary files.
    pub(in crate::kv) fn sweep(&self) -> io::Result<usize> {
        let mut swept = 0;
        for name in self.list()?.iter().filter(|n| n.ends_with(".tmp")) {
            self.remove(name)?;
            swept += 1;
        }
        Ok(swept)
    }

    /// Checks that files can be created in the model folder, by creating an empty one and removing it. So
    /// the user learns at the start that KV cannot be saved, and not after the first turn.
    pub(in crate::kv) fn probe(&self) -> io::Result<()> {
        let count = WRITES.fetch_add(1, Ordering::Relaxed);
        let path = self
            .folder
            .join(format!("probe.{}.{count}.tmp", std::process::id()));
        drop(self.storage.create(&path)?);
        self.storage.remove(&path)
    }
}

/// A flushed temporary file that does not have its final name yet. It is removed when this value is
/// dropped before [`RecordDraft::publish`].
pub(in crate::kv) struct RecordDraft<'a> {
    files: &'a Files,
    temporary: Option<PathBuf>,
    place: PathBuf,
}

impl RecordDraft<'_> {
    /// Renames the temporary file to its final name, replacing a file of that name, and flushes the
    /// folder. If the folder cannot be flushed, the renamed file is removed.
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

/// The names of all model folders in the KV folder `root`.
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

/// Removes the temporary files that crashed processes left in all model folders. The caller must be the
/// only process that uses the KV folder.
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
