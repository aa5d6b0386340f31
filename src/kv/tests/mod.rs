//! The store from outside: what callers may rely on, and what damage, crashes and full disks do.

mod cost;
mod crash;
mod damage;
mod days;
mod durability;
mod first;
mod flips;
mod folder;
mod graph;
mod housekeeping;
mod lookup;
mod merging;
mod mutation;
mod questions;
mod reading;
mod share;
mod together;
mod weights;
mod writing;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::durable::Space;
use crate::kv::index::connection::Index;
use crate::kv::index::edges::NewEdge;
use crate::kv::index::models::ModelId;
use crate::kv::record::storage::{Disk, OutputFile, Storage};
use crate::ledger::{Digest, RunningDigest, Token};

/// The fingerprint of the tests' model, with one fact to vary.
fn model(cache: &str) -> Fingerprint {
    Fingerprint::new(
        json!({"cache_type": cache, "layers": 2}),
        json!({"threads": 2}),
    )
}

/// A folder and a store in it.
fn store() -> (TempDir, Store) {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    (home, store)
}

fn open(home: &TempDir) -> Store {
    Store::open(&home.path().join("kv"), model("f16"), limits()).unwrap()
}

/// The default limits.
fn limits() -> StoreLimits {
    StoreLimits::default()
}

/// Opens on a storage double.
fn open_on(home: &TempDir, storage: Arc<dyn Storage>, queue_bytes: usize) -> Result<Store, Error> {
    let limits = StoreLimits {
        queue_bytes,
        ..limits()
    };
    Store::open_on(storage, &home.path().join("kv"), model("f16"), limits)
}

/// `count` tokens that depend on `seed`.
fn text(seed: i32, count: usize) -> Vec<Token> {
    (0..count as i32).map(|i| Token(seed * 1000 + i)).collect()
}

/// D(at) of a target under the tests' model.
fn digest(target: &[Token], at: usize) -> Digest {
    let mut running = RunningDigest::new(model("f16").hard);
    running.extend(&target[..at]);
    running.digest()
}

/// A payload that says what it belongs to.
fn payload(target: &[Token], p0: usize, p1: usize) -> Vec<u8> {
    format!("kv of {p0}..{p1} {:?}", digest(target, p1)).into_bytes()
}

/// A row without a file: the edge [p0, p1) of a target.
fn add_edge(index: &Index, model: ModelId, target: &[Token], p0: usize, p1: usize) {
    let edge = NewEdge {
        from: digest(target, p0),
        to: digest(target, p1),
        p0,
        p1,
        bytes: 1000,
        tokens: &target[p0..p1],
    };
    index.edges(model).add(&edge).unwrap();
}

fn put_edge(store: &Store, target: &[Token], p0: usize, p1: usize) {
    put_edge_of(store, target, p0, p1, Vec::new());
}

fn put_edge_of(store: &Store, target: &[Token], p0: usize, p1: usize, runs: Vec<TokenRun>) {
    let put = PutSegment {
        from: digest(target, p0),
        to: digest(target, p1),
        p0,
        p1,
        tokens: target[p0..p1].to_vec(),
        payload: payload(target, p0, p1),
    };
    store.put_segment_of(put, runs);
}

/// A snapshot whose conversation has room for no older one.
fn put_node(store: &Store, target: &[Token], at: usize, role: SnapshotRole, owner: Option<&str>) {
    let past = Past {
        nodes: Vec::new(),
        kv_bytes: Some(0),
    };
    put_node_after(store, target, at, role, owner, past);
}

/// A turn's end on the way over snapshots at `before`; there is room for all that are not too near
/// each other.
fn put_turn(store: &Store, target: &[Token], before: &[usize], at: usize, owner: &str) {
    let past = Past {
        nodes: before.iter().map(|b| (*b, digest(target, *b))).collect(),
        kv_bytes: None,
    };
    put_node_after(store, target, at, SnapshotRole::Turn, Some(owner), past);
}

fn put_node_after(
    store: &Store,
    target: &[Token],
    at: usize,
    role: SnapshotRole,
    owner: Option<&str>,
    past: Past,
) {
    store.put_snapshot(PutSnapshot {
        at,
        digest: digest(target, at),
        tail: target[..at].to_vec(),
        payload: payload(target, at, at).into(),
        logits: at
            .is_multiple_of(2)
            .then(|| vec![at as f32, -1.5, f32::MIN_POSITIVE]),
        role,
        owner,
        past,
    });
}

fn find(store: &Store, target: &[Token]) -> StoredPrefix {
    store.lookup(target, &|at| digest(target, at)).unwrap()
}

/// The cuts of a chain: [(p0, p1), …].
fn cuts(found: &StoredPrefix) -> Vec<(usize, usize)> {
    found.edges.iter().map(|e| (e.p0, e.p1)).collect()
}

fn stops(found: &StoredPrefix) -> Vec<usize> {
    found.nodes.iter().map(|n| n.at).collect()
}

/// The record files of the only fingerprint, sorted by name.
fn records(home: &TempDir) -> Vec<PathBuf> {
    listed(home, |n| n.ends_with(".edge") || n.ends_with(".node"))
}

/// What is in the only fingerprint's folder and wanted.
fn listed(home: &TempDir, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for folder in std::fs::read_dir(home.path().join("kv/v1")).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let file = file.unwrap();
            if wanted(file.file_name().to_str().unwrap()) {
                paths.push(file.path());
            }
        }
    }
    paths.sort();
    paths
}

/// Numbers that are the same in every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// A real folder whose operations can be made to fail, panic or wait.
#[derive(Default)]
struct Moody {
    mood: Mutex<Mood>,
    changed: Condvar,
}

#[derive(Default)]
struct Mood {
    /// The operation that fails, and how.
    fails: Option<(&'static str, io::ErrorKind)>,
    /// Creating a record panics.
    panics: bool,
    /// Records that may still be created; more wait. `None` is no bound.
    permits: Option<usize>,
    /// What the disk says of its room; the truth without.
    space: Option<Space>,
    /// The operation that waits until it may go on, and whether one does.
    holds: Option<&'static str>,
    held: bool,
}

impl Moody {
    fn set(&self, change: impl FnOnce(&mut Mood)) {
        change(&mut self.mood.lock().unwrap());
        self.changed.notify_all();
    }

    fn may(&self, operation: &str) -> io::Result<()> {
        let mut mood = self.mood.lock().unwrap();
        while mood.holds == Some(operation) {
            mood.held = true;
            self.changed.notify_all();
            mood = self.changed.wait(mood).unwrap();
        }
        match mood.fails {
            Some((failing, kind)) if failing == operation => Err(kind.into()),
            _ => Ok(()),
        }
    }

    /// Waits until an operation is held up.
    fn wait_for_held(&self) {
        let mut mood = self.mood.lock().unwrap();
        while !mood.held {
            mood = self.changed.wait(mood).unwrap();
        }
    }

    fn wait_for_permit(&self) {
        let mut mood = self.mood.lock().unwrap();
        while mood.permits == Some(0) {
            mood = self.changed.wait(mood).unwrap();
        }
        if let Some(left) = &mut mood.permits {
            *left -= 1;
        }
        let panics = mood.panics;
        drop(mood);
        assert!(!panics, "a panic on purpose");
    }
}

/// A file of [`Moody`].
struct MoodyFile(Arc<Moody>, Box<dyn OutputFile>);

impl io::Write for MoodyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.may("write")?;
        self.1.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.1.flush()
    }
}

impl OutputFile for MoodyFile {
    fn sync(&mut self) -> io::Result<()> {
        self.0.may("sync")?;
        self.1.sync()
    }
}

impl Storage for Arc<Moody> {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        Disk.make_folder(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn OutputFile>> {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.contains(".edge.") || name.contains(".node.") {
            self.wait_for_permit();
        }
        self.may("create")?;
        Ok(Box::new(MoodyFile(self.clone(), Disk.create(path)?)))
    }
    fn open(&self, path: &Path) -> io::Result<(Box<dyn Read>, u64)> {
        self.may("open")?;
        Disk.open(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.may("rename")?;
        Disk.rename(from, to)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.may("sync_folder")?;
        Disk.sync_folder(path)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.may("remove")?;
        Disk.remove(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        Disk.list(path)
    }
    fn space(&self, path: &Path) -> Option<Space> {
        self.mood.lock().unwrap().space.or(Disk.space(path))
    }
}
