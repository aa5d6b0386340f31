//! An identity for the tensor data of a model, as a hexadecimal text. It is one of the hard facts, and
//! `agent/engine.rs` asks for it at each start.
//!
//! The identity must change when the data changes anywhere, for example when an interrupted download has
//! left zeros in the file. A hash of a few samples per tensor (`Tensors::samples`) is cheap, but does not
//! notice this. A hash of all data notices it, but takes a minute for tens of gigabytes, which is too long
//! for every start. So all data of a model is hashed once. The list `weights.json` then has, for each
//! model, the attributes of its files, the samples, the hash and the identity. At a start the model is
//! looked up in it:
//! - The samples and all attributes of the files are the same as in the list: the model keeps its
//!   identity.
//! - The samples, the sizes and the times of modification are the same, and for each file the path or the
//!   inode is: it is probably the same model. It keeps its identity, and its data is hashed again.
//! - Otherwise the model is new. It is *small* if its data is at most 512 MiB. The identity of a small
//!   model is the hash of its data. The identity of a large model is a hash of the samples and the
//!   attributes, because its data is not hashed yet.
//!
//! The data of a small model is hashed before the start continues, that of a large model by a background
//! thread. When all data is hashed, the identity changes in two cases only: if the list had another hash
//! for these files, the new hash becomes the identity; if the list has another model with the same hash,
//! the identity of that model is used. For a large model this happens in the list: the running process
//! keeps the identity with which it has started, and the next start uses the changed one.
//!
//! Invariant: two models get the same identity only if their attributes or the hashes of their data say
//! that they have the same data. (If the files cannot be read here, the samples alone are the identity.)

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::durable::{self, Attributes, Links};
use crate::kv::record::storage::{Disk, Storage, private_file};

/// The maximum number of bytes that are hashed before the start continues: this takes half a second, and
/// the model loader then finds these bytes in the page cache.
const AT_ONCE: u64 = 512 << 20;
/// The number of bytes of a piece. The hash of each piece is stored, so a process that ends early does
/// not lose its work.
const PIECE: u64 = 64 << 20;
/// The number of bytes that are read at a time.
const STEP: usize = 1 << 20;
/// After each read the background thread sleeps three times as long as the read and its hash took: it
/// uses a quarter of one core and does not slow down decoding.
const REST: u32 = 3;
/// The maximum number of models in the list; the oldest entries are removed.
const MOST: usize = 64;
/// The maximum length of `weights.json` in bytes; a reader takes a longer file for an empty list.
const MOST_BYTES: u64 = 16 << 20;

/// A part of a model's tensor data: the number of the file, the offset in it, and the length, both in
/// bytes.
pub type TensorRange = (usize, u64, u64);

/// The files of a model, and where the data of its tensors is in them, ordered by the names of the
/// tensors.
#[derive(Clone, Debug)]
pub struct Tensors {
    /// The files of the model.
    pub files: Vec<PathBuf>,
    /// The data of all tensors.
    pub ranges: Vec<TensorRange>,
    /// The hash of names, shapes, types and samples of the tensors, in hexadecimal. Files in which this
    /// hash differs are never taken for the same model.
    pub samples: String,
}

/// The identity of a model's tensor data. While this value exists, a background thread hashes the data if
/// it is not hashed yet.
pub struct Weights {
    id: String,
    stop: Arc<AtomicBool>,
    hashing: Option<JoinHandle<Option<ModelChanged>>>,
}

/// A sentence for the user, and a sentence that says what to do.
pub type ModelChanged = (String, String);

/// The attributes that the file system has for a file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
struct FileStamp {
    path: String,
    size: u64,
    modified: (i64, i64),
    inode: u64,
    changed: (i64, i64),
}

impl FileStamp {
    fn of(path: &Path) -> io::Result<FileStamp> {
        let meta = fs::metadata(path)?;
        let path = fs::canonicalize(path)?;
        Ok(FileStamp {
            path: path.to_string_lossy().into_owned(),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            inode: meta.ino(),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }

    /// Whether `other` is probably the same file: size and time of change are equal, and the path or the
    /// inode is. (A moved file keeps its inode; some file systems number their inodes again at each
    /// mount.)
    fn is_like(&self, other: &FileStamp) -> bool {
        (self.size, self.modified) == (other.size, other.modified)
            && (self.path == other.path || self.inode == other.inode)
    }
}

/// A model in the list.
#[derive(Clone, Serialize, Deserialize, Debug)]
struct KnownModel {
    files: Vec<FileStamp>,
    samples: String,
    /// The identity of its tensor data.
    id: String,
    /// The hashes of its first pieces, while not all pieces are hashed.
    pieces: Vec<String>,
    /// The hash of all its data, when all pieces are hashed.
    whole: Option<String>,
    /// The hash of the file that was known before under these attributes, if this file may be another
    /// one. It is compared when this file is hashed.
    was: Option<String>,
}

/// The list of all models that were seen, as `weights.json` has it. The list is a cache.
#[derive(Default, Serialize, Deserialize)]
struct KnownModels {
    models: Vec<KnownModel>,
}

/// Where the list is, and how the data is hashed: immediately up to `at_once` bytes, in pieces of `piece`
/// bytes.
#[derive(Clone)]
pub(in crate::kv) struct Hashing {
    pub(in crate::kv) dir: PathBuf,
    pub(in crate::kv) at_once: u64,
    pub(in crate::kv) piece: u64,
}

impl Weights {
    /// Finds or makes the identity of a model's tensor data; `dir` is the KV folder. If something cannot
    /// be read or written, a later start finds no stored KV at worst.
    pub fn of(dir: &Path, tensors: &Tensors) -> Weights {
        let plan = Hashing {
            dir: dir.to_path_buf(),
            at_once: AT_ONCE,
            piece: PIECE,
        };
        Weights::by(&plan, tensors)
    }

    /// [`Weights::of`] with other sizes, for tests.
    pub(in crate::kv) fn by(plan: &Hashing, tensors: &Tensors) -> Weights {
        let stop = Arc::new(AtomicBool::new(false));
        let look = look(plan, tensors).unwrap_or_else(|error| {
            tracing::warn!(%error, "the model's bytes are known by samples alone");
            (tensors.samples.clone(), None)
        });
        let (id, files) = look;
        let hashing = files.and_then(|files| {
            let (plan, tensors, stop) = (plan.clone(), tensors.clone(), stop.clone());
            let work = move || {
                let hashed = hash_on(&plan, &tensors, &files, &stop);
                hashed.unwrap_or_else(|error| {
                    tracing::warn!(%error, "the model's bytes are not hashed");
                    None
                })
            };
            let thread = thread::Builder::new().name("npast-weights".to_owned());
            thread.spawn(work).ok()
        });
        Weights { id, stop, hashing }
    }

    /// The identity, in hexadecimal. As far as is known, two files with the same identity have the same
    /// data.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the background thread found, when it has ended: a sentence for the user, and a sentence that
    /// says what to do.
    pub fn told(&mut self) -> Option<ModelChanged> {
        match &self.hashing {
            Some(thread) if thread.is_finished() => self.wait(),
            _ => None,
        }
    }

    /// Waits until the background thread has ended; also returns what it found.
    pub(in crate::kv) fn wait(&mut self) -> Option<ModelChanged> {
        self.hashing.take().and_then(|t| t.join().ok().flatten())
    }
}

impl Drop for Weights {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.hashing.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// The identity of a model's tensor data; also its files, if they must be hashed in the background.
fn look(plan: &Hashing, tensors: &Tensors) -> io::Result<(String, Option<Vec<FileStamp>>)> {
    let files: Vec<FileStamp> = tensors
        .files
        .iter()
        .map(|path| FileStamp::of(path))
        .collect::<io::Result<_>>()?;
    let bytes: u64 = tensors.ranges.iter().map(|(_, _, len)| len).sum();
    let mut entry = {
        let list = load(plan);
        let like = |e: &&KnownModel| {
            let mut pairs = e.files.iter().zip(&files);
            e.samples == tensors.samples
                && e.files.len() == files.len()
                && pairs.all(|(then, now)| then.is_like(now))
        };
        match list.models.iter().rfind(like) {
            Some(entry) if entry.files == files => entry.clone(),
            // It is probably the same file. The hash of its data will decide.
            Some(entry) => KnownModel {
                files: files.clone(),
                pieces: Vec::new(),
                whole: None,
                was: entry.whole.clone().or(entry.was.clone()),
                ..entry.clone()
            },
            None => KnownModel {
                id: provisional(&files, &tensors.samples),
                files: files.clone(),
                samples: tensors.samples.clone(),
                pieces: Vec::new(),
                whole: None,
                was: None,
            },
        }
    };
    let new = entry.pieces.is_empty() && entry.whole.is_none();
    if entry.whole.is_none() && bytes <= plan.at_once {
        let data = Data::open(tensors)?;
        while let Some(piece) = data.piece(plan, entry.pieces.len(), &mut || true)? {
            entry.pieces.push(piece);
        }
        // A file that is hashed when it is seen for the first time has its hash as its identity.
        let unseen = !load(plan).models.iter().any(|e| e.id == entry.id);
        if unseen {
            entry.id = whole(&entry.pieces);
        }
        change(plan, |list| settle(list, &mut entry));
        return Ok((entry.id, None));
    }
    if new {
        change(plan, |list| list.put(entry.clone()));
    }
    let files = entry.whole.is_none().then_some(files);
    Ok((entry.id, files))
}

/// The identity of data that is not hashed yet: a hash of the file attributes and the samples.
fn provisional(files: &[FileStamp], samples: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(samples.as_bytes());
    for file in files {
        hasher.update(format!("{file:?}").as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// The hash of all pieces.
fn whole(pieces: &[String]) -> String {
    blake3::hash(pieces.concat().as_bytes())
        .to_hex()
        .to_string()
}

/// Hashes the pieces that are not hashed yet, and stores the hash of each piece in the list.
fn hash_on(
    plan: &Hashing,
    tensors: &Tensors,
    files: &[FileStamp],
    stop: &AtomicBool,
) -> io::Result<Option<ModelChanged>> {
    let data = Data::open(tensors)?;
    let known = |list: &KnownModels| list.models.iter().find(|e| e.files == files).cloned();
    let Some(mut entry) = known(&load(plan)) else {
        return Ok(None);
    };
    let mut since = Instant::now();
    let mut rest = || {
        thread::park_timeout(since.elapsed() * REST);
        since = Instant::now();
        !stop.load(Ordering::Relaxed)
    };
    loop {
        let piece = data.piece(plan, entry.pieces.len(), &mut rest)?;
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        // If a file was replaced while it was read, the hash belongs to no file.
        for (path, file) in tensors.files.iter().zip(files) {
            if FileStamp::of(path)? != *file {
                return Ok(None);
            }
        }
        let Some(piece) = piece else {
            break;
        };
        entry.pieces.push(piece);
        change(plan, |list| list.put(entry.clone()));
    }
    Ok(change(plan, |list| settle(list, &mut entry)))
}

/// Called when all pieces are hashed. Decides which identity the data has from now on (for a background
/// hash: from the next start on), and returns a message for the user if the file is not the one it was
/// taken for.
fn settle(list: &mut KnownModels, entry: &mut KnownModel) -> Option<ModelChanged> {
    let hash = whole(&entry.pieces);
    entry.pieces.clear();
    entry.whole = Some(hash.clone());
    let was = entry.was.take();
    let mut changed = None;
    if was.is_some_and(|was| was != hash) {
        entry.id.clone_from(&hash);
        changed = Some((
            "The model file is another one than the one that stored KV was made with, though size, \
             time and samples are the same."
                .to_owned(),
            "Start again: KV that was stored under it is not used any more; its tokens are evaluated again."
                .to_owned(),
        ));
    }
    let same = |e: &&KnownModel| e.whole.as_ref() == Some(&hash) && e.samples == entry.samples;
    if let Some(other) = list.models.iter().find(same) {
        entry.id.clone_from(&other.id);
    }
    list.put(entry.clone());
    changed
}

impl KnownModels {
    /// Adds an entry, and removes the entry of the same files.
    fn put(&mut self, entry: KnownModel) {
        let same = |e: &KnownModel| {
            let mut pairs = e.files.iter().zip(&entry.files);
            e.files.len() == entry.files.len()
                && e.samples == entry.samples
                && pairs.all(|(one, other)| one.is_like(other))
        };
        self.models.retain(|e| !same(e));
        self.models.push(entry);
        let more = self.models.len().saturating_sub(MOST);
        self.models.drain(..more);
    }
}

/// Reads the list; a list that cannot be read counts as empty.
fn load(plan: &Hashing) -> KnownModels {
    let path = plan.dir.join("weights.json");
    let small = fs::metadata(&path).is_ok_and(|m| m.len() <= MOST_BYTES);
    let text = small.then(|| fs::read_to_string(&path).ok()).flatten();
    text.and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

/// Changes the list while holding `weights.lock`, so that one process at a time changes it.
fn change<T>(plan: &Hashing, change: impl FnOnce(&mut KnownModels) -> T) -> T {
    let _lock = Disk
        .make_folder(&plan.dir)
        .and_then(|()| private_file(&plan.dir.join("weights.lock")))
        .and_then(|file| file.lock().map(|()| file));
    let mut list = load(plan);
    let done = change(&mut list);
    let write = || -> Result<(), String> {
        let text = serde_json::to_string(&list).map_err(|e| e.to_string())?;
        let path = plan.dir.join("weights.json");
        let replaced = durable::replace(&path, text.as_bytes(), Attributes::Private, Links::Refuse);
        replaced.map_err(|e| e.to_string())
    };
    if let Err(error) = write() {
        tracing::warn!(%error, "weights.json is not written");
    }
    done
}

/// The data of all tensors, as one sequence of bytes.
struct Data<'a> {
    files: Vec<File>,
    ranges: &'a [TensorRange],
    len: u64,
}

impl Data<'_> {
    fn open(tensors: &Tensors) -> io::Result<Data<'_>> {
        let files = tensors.files.iter().map(File::open);
        Ok(Data {
            files: files.collect::<io::Result<_>>()?,
            ranges: &tensors.ranges,
            len: tensors.ranges.iter().map(|(_, _, len)| len).sum(),
        })
    }

    /// The hash of piece number `n`. `None` after the last piece, and when `go_on` returns false; `go_on`
    /// is called after each read.
    fn piece(
        &self,
        plan: &Hashing,
        n: usize,
        go_on: &mut dyn FnMut() -> bool,
    ) -> io::Result<Option<String>> {
        let from = n as u64 * plan.piece;
        let to = self.len.min(from + plan.piece);
        if from >= to {
            return Ok(None);
        }
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; STEP];
        let mut begin = 0;
        for (file, offset, len) in self.ranges {
            let end = begin + len;
            let mut at = from.max(begin);
            while at < to.min(end) {
                let step = (to.min(end) - at).min(STEP as u64) as usize;
                let part = &mut buffer[..step];
                self.files[*file].read_exact_at(part, offset + (at - begin))?;
                hasher.update(part);
                at += step as u64;
                if !go_on() {
                    return Ok(None);
                }
            }
            begin = end;
        }
        Ok(Some(hasher.finalize().to_hex().to_string()))
    }
}
