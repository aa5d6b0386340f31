//! A name for the bytes of a model's tensors, one of the hard facts. Samples of the tensors do not find a
//! hole in a copy, and hashing tens of gigabytes at each start would take a minute. So a file keeps the
//! name that it had when the file system says that it is the same file. All tensors are hashed once, small
//! models at once and large ones in the background. Files with equal hashes get the same name.

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

/// The most bytes that are hashed at once, before the start continues: half a second of work, and the
/// loader reads the same bytes next.
const AT_ONCE: u64 = 512 << 20;
/// Bytes of a piece. Hashes of pieces are stored, so a process that ends soon has not read for nothing.
const PIECE: u64 = 64 << 20;
/// Bytes that are read at a time.
const STEP: usize = 1 << 20;
/// After each read and its hash the background thread sleeps this many times as long, so that decoding is
/// not slowed down.
const REST: u32 = 3;
/// The most models in the list; the oldest are removed.
const MOST: usize = 64;
/// Bytes of the list that a reader accepts.
const MOST_BYTES: u64 = 16 << 20;

/// Tensor data of a model: in which of its files, from which offset, how many bytes.
pub type TensorRange = (usize, u64, u64);

/// The files of a model, and where in them the data of its tensors is, in the order of their names.
#[derive(Clone, Debug)]
pub struct Tensors {
    /// All files.
    pub files: Vec<PathBuf>,
    /// All data.
    pub ranges: Vec<TensorRange>,
    /// The hash of names, shapes and samples, in hexadecimal: files that differ in it are never one.
    pub samples: String,
}

/// A name for the bytes of a model's tensors. While it lives they are hashed in the background, if
/// they were not yet.
pub struct Weights {
    id: String,
    stop: Arc<AtomicBool>,
    hashing: Option<JoinHandle<Option<ModelChanged>>>,
}

/// A sentence for the user, and what to do.
pub type ModelChanged = (String, String);

/// What the file system says of a file.
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

    /// Whether it is probably the same file. It may have been moved, and some file systems number inodes
    /// again at each mount.
    fn is_like(&self, other: &FileStamp) -> bool {
        (self.size, self.modified) == (other.size, other.modified)
            && (self.path == other.path || self.inode == other.inode)
    }
}

/// A model as it was seen once.
#[derive(Clone, Serialize, Deserialize, Debug)]
struct KnownModel {
    files: Vec<FileStamp>,
    samples: String,
    /// The name of its bytes.
    id: String,
    /// Hashes of its first pieces.
    pieces: Vec<String>,
    /// The hash of all of it.
    whole: Option<String>,
    /// The hash of the file that was here before, where this one may be another: a hash proves which.
    was: Option<String>,
}

/// The list of all models that were seen; it is a cache, in `weights.json`.
#[derive(Default, Serialize, Deserialize)]
struct KnownModels {
    models: Vec<KnownModel>,
}

/// Where the list is, and what of a model is hashed when.
#[derive(Clone)]
pub(in crate::kv) struct Hashing {
    pub(in crate::kv) dir: PathBuf,
    pub(in crate::kv) at_once: u64,
    pub(in crate::kv) piece: u64,
}

impl Weights {
    /// Finds or makes the name of a model's bytes; `dir` is $NPAST_HOME/kv. What cannot be read or
    /// written costs a later start its stored KV at most.
    pub fn of(dir: &Path, tensors: &Tensors) -> Weights {
        let plan = Hashing {
            dir: dir.to_path_buf(),
            at_once: AT_ONCE,
            piece: PIECE,
        };
        Weights::by(&plan, tensors)
    }

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

    /// The name, in hexadecimal: two files with one name hold the same bytes as far as is known.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the background thread found, when it has ended: a sentence for the user, and what to do.
    pub fn told(&mut self) -> Option<ModelChanged> {
        match &self.hashing {
            Some(thread) if thread.is_finished() => self.wait(),
            _ => None,
        }
    }

    /// Waits for the background.
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

/// The name of a model's bytes, and its files if they are to be hashed in the background.
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
            // It is probably the same file; its hash will prove it.
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
        // A file whose hash was known from the start is named by the hash.
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

/// The name of bytes that are not hashed yet: a hash of what the file system says of the files.
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

/// Hashes what is left, and notes it piece by piece.
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
        // If a file was replaced meanwhile, the hash is of no file.
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

/// All pieces are hashed: decides the name of the bytes from the next start on.
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
            "Start again: KV that was stored under it is not used any more, and evaluated anew."
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
    /// Puts an entry in the place of that of the same files.
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

/// Reads the list; one that cannot be read is empty.
fn load(plan: &Hashing) -> KnownModels {
    let path = plan.dir.join("weights.json");
    let small = fs::metadata(&path).is_ok_and(|m| m.len() <= MOST_BYTES);
    let text = small.then(|| fs::read_to_string(&path).ok()).flatten();
    text.and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

/// Changes the list, one process at a time.
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

/// All tensor data one after another.
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

    /// The hash of the n-th piece; `None` after the last one, and when `go_on`, which is called after each
    /// read, returns false.
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
