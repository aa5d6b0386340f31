//! Indexes of other versions are rebuilt from the files. One of them is that of a folder which the first
//! form of version 1 wrote (`first/`, its index as statements): it had fewer tables.

use std::fs;

use rusqlite::Connection;

use super::*;
use crate::kv::index::schema::VERSION;

const OTHER_VERSION: &str =
    "The KV index was made by another version of npast; it is rebuilt from 12 files.";

/// The folder as it was left: sessions 2 and 3 with one head, each with a point inside its last
/// append.
fn left() -> TempDir {
    let home = TempDir::new().unwrap();
    let first = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/kv/tests/first"));
    for folder in fs::read_dir(first.join("v1")).unwrap() {
        let folder = folder.unwrap();
        let place = home.path().join("kv/v1").join(folder.file_name());
        fs::create_dir_all(&place).unwrap();
        for file in fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), place.join(file.file_name())).unwrap();
        }
    }
    let db = index_of(&home);
    let rows = fs::read_to_string(first.join("index.sql")).unwrap();
    db.execute_batch(&rows).unwrap();
    home
}

fn index_of(home: &TempDir) -> Connection {
    Connection::open(home.path().join("kv/index.db")).unwrap()
}

fn version(home: &TempDir) -> i64 {
    let version = "PRAGMA user_version";
    index_of(home).query_row(version, [], |r| r.get(0)).unwrap()
}

fn texts(notices: &[KvNotice]) -> Vec<&str> {
    notices.iter().map(|n| n.text.as_str()).collect()
}

fn own(seed: i32) -> Vec<Token> {
    [text(1, 20), text(seed, 200)].concat()
}

fn reads(store: &Store, target: &[Token]) -> StoredPrefix {
    let found = find(store, target);
    for edge in &found.edges {
        let segment = store.read_segment(edge, target).unwrap();
        assert_eq!(segment.payload, payload(target, edge.p0, edge.p1));
    }
    for node in &found.nodes {
        let snapshot = store.read_snapshot(node).unwrap();
        assert_eq!(snapshot.payload, payload(target, node.at, node.at));
    }
    found
}

#[test]
fn an_index_of_the_first_version_is_rebuilt_and_the_files_say_whose_its_snapshots_are() {
    let home = left();
    let store = open(&home);
    assert_eq!(texts(&store.take_notices()), [OTHER_VERSION]);
    assert_eq!(store.collect().unwrap(), Collected::default());
    let ends = [(0, 20), (20, 35), (35, 50), (50, 60)];
    for seed in [2, 3] {
        let found = reads(&store, &own(seed));
        assert_eq!(
            (cuts(&found), stops(&found)),
            (ends.to_vec(), vec![20, 50, 60])
        );
        let owner = format!("session-{seed}");
        let mut held: Vec<(Digest, bool)> = store.with_index(|index, model| {
            let holds = index.owners().holds(model).unwrap().into_iter();
            let mine = holds.filter(|h| h.owner == owner);
            mine.map(|h| (h.digest, h.past)).collect()
        });
        let at = |p| digest(&own(seed), p);
        // Its pin comes back with its next turn.
        let mut expected = vec![(at(60), false), (at(50), true), (at(60), true)];
        held.sort_by_key(|h| (h.0.0, h.1));
        expected.sort_by_key(|h| (h.0.0, h.1));
        assert_eq!(held, expected, "{owner}: turn and snapshots");
    }
    let total = store.with_index(|index, _| index.totals().bytes()).unwrap();
    assert_eq!(total, store.usage().bytes);
    drop(store);
    assert_eq!(version(&home), VERSION);
    assert_eq!(open(&home).take_notices(), [], "rebuilt once");
}

/// The tables are right, and a newer npast may mean something else by them.
#[test]
fn an_index_of_any_other_version_is_rebuilt_whoever_has_it_open() {
    for other in [VERSION - 1, VERSION + 1, 99] {
        for alone in [true, false] {
            let what = format!("version {other}, alone: {alone}");
            let home = left();
            let first = open(&home);
            first.pin("session-2", digest(&own(2), 60));
            first.flush().unwrap();
            let first = Some(first).filter(|_| !alone);
            let db = index_of(&home);
            db.pragma_update(None, "user_version", other).unwrap();
            drop(db);
            let store = open(&home);
            assert_eq!(texts(&store.take_notices()), [OTHER_VERSION], "{what}");
            assert_eq!(version(&home), VERSION, "{what}");
            let found = reads(&store, &own(2));
            assert_eq!(stops(&found), [20, 50, 60], "{what}");
            // Rows that no file gives are gone: it was not migrated.
            let pinned = store.with_index(|index, model| index.pins(model).has("session-2"));
            assert!(!pinned.unwrap(), "{what}");
            drop(first);
        }
    }
}

#[test]
fn a_conversation_of_the_first_form_goes_on_and_its_older_snapshots_are_thinned() {
    let home = left();
    let store = open(&home);
    assert_eq!(texts(&store.take_notices()), [OTHER_VERSION]);
    let target = own(2);
    let mut before = vec![20, 50, 60];
    let mut seen = Vec::new();
    for end in (70..=150).step_by(10) {
        put_edge(&store, &target, end - 10, end);
        put_turn(&store, &target, &before, end, "session-2");
        store.pin("session-2", digest(&target, end));
        store.flush().unwrap();
        before = stops(&reads(&store, &target));
        seen.push(before.clone());
    }
    // The point inside an append goes with the first turn, older ends by their distance.
    assert_eq!(seen[0], [20, 60, 70]);
    assert_eq!(seen[8], [20, 60, 100, 120, 130, 140, 150]);
    assert_eq!(stops(&reads(&store, &own(3))), [20, 50, 60]);
    assert_eq!(store.collect().unwrap(), Collected::default());
    assert_eq!(store.take_notices(), []);
}
