//! A small KV folder, put together anew for each input: two conversations that share a prefix, with
//! snapshots and pins. What is found in it is held against what was put.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use crate::kv::{Edge, Fingerprint, KvFolder, Node, PutSegment, PutSnapshot, StoreLimits};
use crate::kv::{SnapshotRole, Store};
use crate::ledger::{Digest, RunningDigest, Token};

/// Where conversations are cut.
const CUTS: [usize; 4] = [0, 20, 35, 50];
/// Records: one shared segment, two of each conversation, two snapshots.
pub const RECORDS: usize = 7;

/// The files of a folder as they were written, and a place to put them again.
pub struct Place {
    files: Vec<(PathBuf, Vec<u8>)>,
    home: TempDir,
}

pub fn print() -> Fingerprint {
    let facts = json!({"cache type": "f16", "layers": 2});
    Fingerprint::new(facts, json!({"threads": 2}))
}

/// One of two conversations; the first 20 tokens are the same.
pub fn text(seed: i32) -> Vec<Token> {
    let own = (20..50).map(|i| Token(seed * 1000 + i));
    (0..20).map(Token).chain(own).collect()
}

pub fn digest(target: &[Token], at: usize) -> Digest {
    let mut running = RunningDigest::new(print().hard);
    running.extend(&target[..at]);
    running.digest()
}

/// What the KV of [p0, p1) is here.
pub fn payload(target: &[Token], p0: usize, p1: usize) -> Vec<u8> {
    format!("kv of {p0}..{p1} {:?}", digest(target, p1)).into_bytes()
}

fn fill(store: &Store) {
    for seed in [1, 2] {
        let target = text(seed);
        let owner = format!("session-{seed}");
        for cut in CUTS.windows(2) {
            let (p0, p1) = (cut[0], cut[1]);
            store.put_segment(PutSegment {
                from: digest(&target, p0),
                to: digest(&target, p1),
                p0,
                p1,
                tokens: target[p0..p1].to_vec(),
                payload: payload(&target, p0, p1),
            });
        }
        store.put_snapshot(PutSnapshot {
            at: 50,
            digest: digest(&target, 50),
            tail: target.clone(),
            payload: payload(&target, 50, 50).into(),
            logits: Some(vec![1.0, -2.0]),
            role: SnapshotRole::Turn,
            owner: Some(&owner),
            past: Default::default(),
        });
        store.pin(&owner, digest(&target, 50));
        store.put_sample(&owner, digest(&target, 50), vec![1.0, 2.0]);
        store.agree(&owner, digest(&target, 50));
    }
    store.flush().expect("a flush");
}

/// A temporary folder in memory where there is one: each input makes dozens of files.
fn memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a folder")
}

impl Default for Place {
    fn default() -> Place {
        let made = memory();
        fill(&Store::open(made.path(), print(), StoreLimits::default()).expect("a store"));
        let mut files = Vec::new();
        gather(made.path(), Path::new(""), &mut files);
        assert!(files.iter().any(|(path, _)| path.ends_with("index.db")));
        Place {
            files,
            home: memory(),
        }
    }
}

fn gather(root: &Path, below: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(root.join(below)).expect("a folder") {
        let entry = entry.expect("an entry");
        let path = below.join(entry.file_name());
        match entry.file_type().expect("a kind").is_dir() {
            true => gather(root, &path, files),
            false => files.push((path.clone(), fs::read(root.join(&path)).expect("a file"))),
        }
    }
}

impl Place {
    pub fn dir(&self) -> PathBuf {
        self.home.path().join("kv")
    }

    /// The file of this name as it was written.
    pub fn written(&self, name: &str) -> (&Path, &[u8]) {
        let found = self.files.iter().find(|(path, _)| path.ends_with(name));
        let (path, bytes) = found.expect("it was written");
        (path, bytes)
    }

    /// All files as they were written, but for those that `instead` gives.
    pub fn lay(&self, instead: &[(&Path, &[u8])]) {
        let dir = self.dir();
        let _ = fs::remove_dir_all(&dir);
        for (path, bytes) in &self.files {
            let other = instead.iter().find(|(p, _)| p == path);
            let path = dir.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, other.map_or(&bytes[..], |(_, bytes)| bytes)).expect("a file");
        }
    }

    /// Records that are there, wherever they lie.
    pub fn records(&self) -> usize {
        let mut files = Vec::new();
        gather(&self.dir(), Path::new(""), &mut files);
        let record = |p: &Path| p.extension().is_some_and(|e| e == "edge" || e == "node");
        files.iter().filter(|(path, _)| record(path)).count()
    }

    /// Opens the folder in every way, and holds all that is offered against what was put. Gives the
    /// tokens that are offered of each conversation, where it could be opened at all.
    pub fn examine(&self) -> Option<[usize; 2]> {
        let opened = Store::open(&self.dir(), print(), StoreLimits::default());
        assert!(self.records() >= RECORDS, "opening lost a record");
        let found = opened.ok().map(|store| {
            let reach = [1, 2].map(|seed| reach(&store, &text(seed)));
            store.flush().expect("a living writer");
            let _ = store.collect();
            store.flush().expect("a living writer");
            reach
        });
        if let Ok(Some(folder)) = KvFolder::open(&self.dir(), StoreLimits::default()) {
            let _ = folder.status();
            let proven = folder.verify().map(|v| v.bad.len());
            assert_eq!(proven.unwrap_or(0), 0, "a file of ours was refused");
            let _ = folder.collect();
            let _ = folder.forget("session-1", &text(1));
        }
        found
    }
}

/// How far a conversation can be restored; what is read for it is what was put.
fn reach(store: &Store, target: &[Token]) -> usize {
    let Ok(found) = store.lookup(target, &|at| digest(target, at)) else {
        return 0;
    };
    let mut end = 0;
    for edge in &found.edges {
        let Edge { p0, p1, .. } = *edge;
        match store.read_segment(edge, target) {
            Ok(segment) => assert_eq!(segment.payload, payload(target, p0, p1)),
            Err(_) => break,
        }
        assert_eq!(end, p0, "a chain without a gap");
        end = p1;
    }
    if let Some((edge, m)) = &found.partial
        && let Ok(segment) = store.read_first_rows(edge, *m, target)
    {
        assert!((segment.p0..=segment.p1).contains(m));
    }
    for node in &found.nodes {
        let Node { at, .. } = *node;
        if let Ok(snapshot) = store.read_snapshot(node) {
            assert_eq!(*snapshot.payload, payload(target, at, at));
        }
    }
    end
}
