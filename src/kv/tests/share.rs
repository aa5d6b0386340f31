//! Rows without a state, and what several owners have of one ledger.

use super::*;

fn put_row(store: &Store, target: &[Token], at: usize, owner: &str) {
    store.put_snapshot(PutSnapshot {
        at,
        digest: digest(target, at),
        tail: target[..at].to_vec(),
        payload: Arc::default(),
        logits: Some(vec![at as f32; 8]),
        role: SnapshotRole::Row,
        owner: Some(owner),
        past: Default::default(),
    });
}

/// A turn where the memory can be cut: the message, the reply, the prompt's row.
fn turn(store: &Store, target: &[Token], from: usize, prompt: usize, to: usize, owner: &str) {
    put_edge(store, target, from, prompt);
    put_row(store, target, prompt, owner);
    put_edge(store, target, prompt, to);
    store.pin(owner, digest(target, to));
}

fn folder(home: &TempDir) -> KvFolder {
    let opened = KvFolder::open(&home.path().join("kv"), StoreLimits::default());
    opened.unwrap().unwrap()
}

fn stored(tokens: usize, shared: usize) -> StoredShare {
    StoredShare { tokens, shared }
}

#[test]
fn a_row_is_found_replaced_by_its_owners_next_and_takes_no_part_in_what_is_restorable() {
    let (home, store) = store();
    let target = text(1, 100);
    turn(&store, &target, 0, 20, 40, "a");
    store.flush().unwrap();
    let found = find(&store, &target[..20]);
    assert_eq!((cuts(&found), stops(&found)), (vec![(0, 20)], vec![20]));
    let row = store.read_snapshot(&found.nodes[0]).unwrap();
    assert_eq!((row.payload.len(), row.logits), (0, Some(vec![20.0; 8])));
    turn(&store, &target, 40, 60, 80, "a");
    store.flush().unwrap();
    assert_eq!(stops(&find(&store, &target)), [60]);
    drop(store);
    // The same after the index is gone: the row is its owner's again, and no state.
    for file in ["index.db", "index.db-wal", "index.db-shm"] {
        let _ = std::fs::remove_file(home.path().join("kv").join(file));
    }
    let kv = folder(&home);
    let status = kv.status().unwrap();
    let rebuilt: Vec<_> = status[0].owners.iter().map(|o| o.tokens).collect();
    assert_eq!(rebuilt.iter().max(), Some(&80), "{status:?}");
    assert_eq!(kv.shelf().unwrap().stored("b", &target).tokens, 80);
}

#[test]
fn a_fork_holds_what_it_took_over_and_keeps_it_when_the_parent_is_forgotten() {
    let (home, store) = store();
    let target = text(1, 100);
    turn(&store, &target, 0, 20, 40, "a");
    turn(&store, &target, 40, 60, 80, "a");
    store.hold("b", &target, 40).unwrap();
    store.hold("c", &target, 50).unwrap();
    store.flush().unwrap();
    drop(store);
    let kv = folder(&home);
    let shelf = kv.shelf().unwrap();
    let ledgers = [
        (&target[..], "a"),
        (&target[..40], "b"),
        (&target[..50], "c"),
    ];
    let of = |shelf: &Shelf| ledgers.map(|(ledger, owner)| shelf.stored(owner, ledger));
    // The third one's end lies inside a segment, which it holds whole.
    assert_eq!(of(&shelf), [stored(80, 60), stored(40, 40), stored(40, 40)]);
    kv.forget("a", &target).unwrap();
    assert_eq!(
        of(&kv.shelf().unwrap()),
        [stored(60, 60), stored(40, 40), stored(40, 40)]
    );
    kv.forget("c", &target[..50]).unwrap();
    assert_eq!(
        of(&kv.shelf().unwrap()),
        [stored(40, 40), stored(40, 0), stored(40, 40)]
    );
    kv.collect().unwrap();
    // Its lock is exclusive: nobody else was there when it was opened.
    drop(kv);
    assert_eq!(cuts(&find(&open(&home), &target)), [(0, 20), (20, 40)]);
}

#[test]
fn a_forks_snapshot_stays_when_its_parents_next_turn_replaces_it() {
    let (home, store) = store();
    let target = text(1, 100);
    for (from, to) in [(0, 40), (40, 80)] {
        put_edge(&store, &target, from, to);
        put_node(&store, &target, to, SnapshotRole::Turn, Some("a"));
        store.pin("a", digest(&target, to));
        if to == 40 {
            store.hold("b", &target, 41).unwrap();
        }
    }
    store.flush().unwrap();
    assert_eq!(stops(&find(&store, &target)), [40, 80]);
    drop(store);
    let shelf = folder(&home).shelf().unwrap();
    assert_eq!(shelf.stored("b", &target[..41]), stored(40, 40));
    assert_eq!(shelf.stored("a", &target), stored(80, 40));
}

#[test]
fn nothing_is_held_or_stored_of_what_was_never_put() {
    let (home, store) = store();
    let target = text(1, 100);
    turn(&store, &target, 0, 20, 40, "a");
    store.hold("b", &text(2, 50), 50).unwrap();
    store.flush().unwrap();
    drop(store);
    let shelf = folder(&home).shelf().unwrap();
    assert_eq!(shelf.stored("b", &text(2, 50)), stored(0, 0));
    assert_eq!(shelf.stored("a", &target), stored(40, 0));
    assert_eq!(shelf.stored("a", &[]), stored(0, 0));
}
