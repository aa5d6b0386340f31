//! Ordinary bad days: a clock that jumps, a folder that was copied, became read-only or vanished, an
//! index that somebody deleted while it was in use. Said once, nothing lost, and it goes on.

use std::fs;
use std::time::{Duration, SystemTime};

use super::*;

/// A chain of five edges with a snapshot at its end.
fn talk(store: &Store, owner: &str, target: &[Token]) {
    for p0 in (0..50).step_by(10) {
        put_edge(store, target, p0, p0 + 10);
    }
    put_node(store, target, 50, SnapshotRole::Turn, Some(owner));
    store.pin(owner, digest(target, 50));
}

fn is_there(store: &Store, target: &[Token]) {
    let found = find(store, target);
    assert_eq!(found.edges.last().map(|e| e.p1), Some(50));
    assert_eq!(stops(&found), [50]);
    for edge in &found.edges {
        store.read_segment(edge, target).unwrap();
    }
    store.read_snapshot(&found.nodes[0]).unwrap();
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &place),
            false => drop(fs::copy(entry.path(), place).unwrap()),
        }
    }
}

#[test]
fn what_the_clock_says_changes_neither_what_is_found_nor_what_goes_first() {
    let home = TempDir::new().unwrap();
    let targets = [2, 3, 4].map(|seed| text(seed, 50));
    let full = {
        let store = open(&home);
        for (owner, target) in ["first", "second", "third"].iter().zip(&targets) {
            talk(&store, owner, target);
        }
        store.flush().unwrap();
        store.usage().bytes
    };
    // The newest files from 1970, the oldest from tomorrow.
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    let mut times = [tomorrow, SystemTime::now(), SystemTime::UNIX_EPOCH]
        .into_iter()
        .cycle();
    for path in listed(&home, |_| true) {
        let file = fs::File::options().append(true).open(path).unwrap();
        file.set_modified(times.next().unwrap()).unwrap();
    }
    let limits = StoreLimits {
        quota_bytes: Some(full * 5 / 4),
        ..super::limits()
    };
    let store = Store::open(&home.path().join("kv"), model("f16"), limits).unwrap();
    for target in &targets {
        is_there(&store, target);
    }
    talk(&store, "fourth", &text(5, 50));
    store.flush().unwrap();
    // Who pinned first goes first.
    assert!(find(&store, &targets[0]).edges.len() < 5);
    is_there(&store, &targets[1]);
    is_there(&store, &targets[2]);
    assert_eq!(store.take_notices(), []);
}

#[test]
fn a_copied_folder_is_whole_and_lives_its_own_life() {
    let home = TempDir::new().unwrap();
    let (target, later) = (text(1, 50), text(2, 50));
    let store = open(&home);
    talk(&store, "a", &target);
    store.flush().unwrap();
    // While it is in use, with its lock and journals.
    let other = TempDir::new().unwrap();
    copy(&home.path().join("kv"), &other.path().join("kv"));
    let print = Fingerprint::new(
        model("f16").facts,
        json!({"threads": 64, "device": "another"}),
    );
    let copied = Store::open(&other.path().join("kv"), print, StoreLimits::default()).unwrap();
    is_there(&copied, &target);
    // Of another machine: the caller learns whose it is.
    let edge = find(&copied, &target).edges.remove(0);
    let soft = copied.read_segment(&edge, &target).unwrap().soft;
    assert_eq!(soft, model("f16").soft_digest());
    assert_ne!(soft, copied.fingerprint().soft_digest());
    talk(&copied, "b", &later);
    copied.flush().unwrap();
    is_there(&copied, &later);
    assert_eq!(find(&store, &later), StoredPrefix::default());
    assert_eq!(
        (copied.take_notices(), store.take_notices()),
        (vec![], vec![])
    );
    drop((store, copied));
    let folder = KvFolder::open(&other.path().join("kv"), StoreLimits::default());
    let removed = folder.unwrap().unwrap().forget("a", &target).unwrap();
    assert_eq!(removed.files, 6);
    is_there(&open(&home), &target);
}

#[test]
fn a_folder_that_becomes_read_only_is_said_once_and_still_read() {
    let home = TempDir::new().unwrap();
    let moody = Arc::new(Moody::default());
    let store = open_on(&home, Arc::new(moody.clone()), 1 << 20).unwrap();
    let (target, later) = (text(1, 50), text(2, 50));
    talk(&store, "a", &target);
    store.flush().unwrap();
    moody.set(|m| m.fails = Some(("create", io::ErrorKind::ReadOnlyFilesystem)));
    talk(&store, "b", &later);
    store.flush().unwrap();
    let notices = store.take_notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].hint.contains("writable"), "{notices:?}");
    is_there(&store, &target);
    moody.set(|m| m.fails = None);
    talk(&store, "b", &later);
    store.flush().unwrap();
    is_there(&store, &later);
    assert_eq!(store.take_notices(), []);
}

#[test]
fn a_folder_that_vanishes_is_made_again_and_its_owner_knows_what_is_gone() {
    let (home, store) = store();
    let target = text(1, 50);
    talk(&store, "a", &target);
    store.flush().unwrap();
    let before = store.changes();
    fs::remove_dir_all(home.path().join("kv/v1")).unwrap();
    put_edge(&store, &text(1, 60), 50, 60);
    store.flush().unwrap();
    let notices = store.take_notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].text.contains("vanished"), "{notices:?}");
    assert!(store.changes().lost > before.lost && !store.is_whole(digest(&target, 50)));
    assert_eq!(find(&store, &target), StoredPrefix::default());
    talk(&store, "a", &target);
    store.flush().unwrap();
    is_there(&store, &target);
    assert_eq!(store.take_notices(), []);
    drop(store);
    is_there(&open(&home), &target);
}

#[test]
fn an_index_that_is_deleted_while_it_is_used_costs_nothing_that_is_in_files() {
    let (home, store) = store();
    let (target, later) = (text(1, 50), text(2, 50));
    talk(&store, "a", &target);
    store.flush().unwrap();
    for name in ["index.db", "index.db-wal", "index.db-shm"] {
        let _ = fs::remove_file(home.path().join("kv").join(name));
    }
    talk(&store, "b", &later);
    store.flush().unwrap();
    is_there(&store, &target);
    is_there(&store, &later);
    drop(store);
    let store = open(&home);
    let notices = store.take_notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].text.contains("rebuilt"), "{notices:?}");
    is_there(&store, &target);
    is_there(&store, &later);
    assert_eq!(
        store.collect().unwrap(),
        Collected::default(),
        "all of it is held"
    );
}
