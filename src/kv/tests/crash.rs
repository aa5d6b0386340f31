//! Stops, failures and torn disks at every single operation of a small life: two sessions that
//! share a prefix, turn snapshots that replace each other, pins. Afterwards the store opens, what
//! it offers is right, what was durable is there, and the life goes on.

mod merging;
mod ram;
mod read_only;

use std::collections::HashSet;
use std::fs;

use super::*;
use ram::{AtStop, Cut, Ram, ReadFault};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// A folder for lock and index, which are always real files; in memory where there is such a place.
fn home() -> TempDir {
    let shm = Path::new("/dev/shm");
    let home = match shm.is_dir() {
        true => TempDir::new_in(shm).or_else(|_| TempDir::new()).unwrap(),
        false => TempDir::new().unwrap(),
    };
    fs::create_dir(home.path().join("kv")).unwrap();
    home
}

fn open_ram(home: &TempDir, ram: &Arc<Ram>) -> Result<Store, Error> {
    open_on(home, Arc::new(ram.clone()), 1 << 20)
}

/// A store without a disk, for tests that put much.
pub(super) fn in_memory() -> (TempDir, Store) {
    let home = home();
    let store = open_ram(&home, &Ram::new(None, None)).unwrap();
    (home, store)
}

/// Sessions a and b: the same 20 tokens, then their own.
fn sessions() -> [(&'static str, Vec<Token>); 2] {
    let of = |seed| [text(1, 20), text(seed, 40)].concat();
    [("a", of(2)), ("b", of(3))]
}

/// One step of the life: what is put, for whom, up to where. The third turn of session a makes the
/// end of its first needless, its fourth that of its second.
const TURNS: [(usize, usize, usize); 6] = [
    (0, 20, 30),
    (1, 20, 40),
    (0, 30, 40),
    (0, 40, 48),
    (1, 40, 60),
    (0, 48, 60),
];

fn turn(store: &Store, (who, from, to): (usize, usize, usize)) {
    let (owner, target) = &sessions()[who];
    if from == 20 {
        put_edge(store, target, 0, 20);
        put_node(store, target, 20, SnapshotRole::Head, None);
    }
    put_edge(store, target, from, to);
    let before: Vec<usize> = TURNS
        .iter()
        .filter(|t| t.0 == who && t.2 < to)
        .map(|t| t.2)
        .chain([20])
        .collect();
    put_turn(store, target, &before, to, owner);
    store.pin(owner, digest(target, to));
}

/// Lives as long as it can; turns that were flushed without a word are durable.
fn live(store: &Store) -> usize {
    let mut durable = 0;
    for (i, step) in TURNS.into_iter().enumerate() {
        turn(store, step);
        if store.flush().is_ok() && store.take_notices().is_empty() && durable == i {
            durable = i + 1;
        }
    }
    durable
}

/// Reads all that is offered: it is right to the last byte. Gives how far each session reaches,
/// and where it has snapshots.
fn check(store: &Store) -> [(usize, Vec<usize>); 2] {
    sessions().map(|(_, target)| {
        let found = find(store, &target);
        for edge in &found.edges {
            let segment = store.read_segment(edge, &target).unwrap();
            assert_eq!(segment.payload, payload(&target, edge.p0, edge.p1));
        }
        if let Some((edge, m)) = &found.partial {
            store.read_first_rows(edge, *m, &target).unwrap();
        }
        for node in &found.nodes {
            let snapshot = store.read_snapshot(node).unwrap();
            assert_eq!(snapshot.payload, payload(&target, node.at, node.at));
        }
        (found.edges.last().map_or(0, |e| e.p1), stops(&found))
    })
}

/// What was durable is offered: each session reaches its last durable turn, with a snapshot there
/// or later.
fn reaches(seen: &[(usize, Vec<usize>); 2], durable: &[(usize, usize, usize)]) {
    for (who, _, to) in durable {
        let (end, nodes) = &seen[*who];
        assert!(end >= to, "session {who} ends at {end}, {to} was durable");
        assert!(
            nodes.iter().any(|at| at >= to),
            "{nodes:?}, {to} was durable"
        );
        assert!(nodes.contains(&20), "the head was durable: {nodes:?}");
    }
}

/// The whole life again, and no word about anything.
fn goes_on(store: &Store) {
    store.take_notices();
    assert_eq!(live(store), TURNS.len());
    let seen = check(store);
    reaches(&seen, &TURNS);
}

fn put_index_back(home: &TempDir, files: &[(String, Vec<u8>)]) {
    for name in ["index.db", "index.db-wal", "index.db-shm"] {
        let _ = fs::remove_file(home.path().join("kv").join(name));
    }
    for (name, bytes) in files {
        fs::write(home.path().join("kv").join(name), bytes).unwrap();
    }
}

/// Operations of opening and living undisturbed.
fn operations() -> usize {
    let home = home();
    let ram = Ram::new(None, None);
    let store = open_ram(&home, &ram).unwrap();
    assert_eq!(live(&store), TURNS.len());
    drop(store);
    ram.operations()
}

/// The index as it was at a stop.
type IndexFiles = Vec<(String, Vec<u8>)>;

fn keep_index(home: &TempDir) -> (Arc<Mutex<IndexFiles>>, AtStop) {
    let kept = Arc::new(Mutex::new(IndexFiles::new()));
    let (kv, keep) = (home.path().join("kv"), kept.clone());
    let at_stop = move || {
        for name in ["index.db", "index.db-wal"] {
            if let Ok(bytes) = fs::read(kv.join(name)) {
                keep.lock().unwrap().push((name.to_owned(), bytes));
            }
        }
    };
    (kept, Box::new(at_stop))
}

/// Stops at operation `n`; what is left of storage and index, and how many turns were durable.
fn stop_at(n: usize) -> (TempDir, Arc<Ram>, IndexFiles, usize) {
    let home = home();
    let (kept, at_stop) = keep_index(&home);
    let ram = Ram::new(Some((n, ReadFault::Stop)), Some(at_stop));
    let durable = match open_ram(&home, &ram) {
        Ok(store) => live(&store),
        Err(error) => {
            assert!(matches!(error, Error::Folder { .. }), "{error}");
            0
        }
    };
    assert!(ram.stopped(), "operation {n} was never asked for");
    let index = kept.lock().unwrap().clone();
    (home, ram, index, durable)
}

/// A later process with a quota that is too small for both sessions, and a third session c.
fn crowd(home: &TempDir, ram: &Arc<Ram>, quota: u64) -> Result<bool, Error> {
    let limits = StoreLimits {
        quota_bytes: Some(quota),
        ..super::limits()
    };
    let kv = home.path().join("kv");
    let store = Store::open_on(Arc::new(ram.clone()), &kv, model("f16"), limits)?;
    let target = third();
    put_edge(&store, &target, 0, 20);
    put_edge(&store, &target, 20, 60);
    put_node(&store, &target, 60, SnapshotRole::Turn, Some("c"));
    let stored = store.flush().is_ok() && store.take_notices().is_empty() && !ram.stopped();
    store.pin("c", digest(&target, 60));
    store.flush()?;
    Ok(stored)
}

fn third() -> Vec<Token> {
    [text(1, 20), text(4, 40)].concat()
}

#[test]
fn a_stop_in_the_middle_of_a_collection_leaves_chains_without_holes() {
    let mut collected = 0;
    for n in 1.. {
        let home = home();
        let ram = Ram::new(None, None);
        let store = open_ram(&home, &ram).unwrap();
        assert_eq!(live(&store), TURNS.len());
        let full = store.usage();
        drop(store);
        let (kept, at_stop) = keep_index(&home);
        let ram = ram.after_with(Cut::Process, Some((n, ReadFault::Stop)), Some(at_stop));
        let stored = crowd(&home, &ram, full.bytes * 2 / 3).unwrap_or(false);
        if !ram.stopped() {
            // The whole of it, undisturbed: that was the last operation.
            assert!(collected > 0, "no stop was in a collection");
            break;
        }
        let index = kept.lock().unwrap().clone();
        for cut in [Cut::Process, Cut::Power, Cut::Torn(n as u64 * 7919)] {
            put_index_back(&home, &index);
            let store = open_ram(&home, &ram.after(cut)).unwrap();
            assert_eq!(store.take_notices(), [], "stop {n}, {cut:?}");
            check(&store);
            if stored {
                let found = find(&store, &third());
                assert_eq!(cuts(&found), [(0, 20), (20, 60)], "stop {n}, {cut:?}");
                collected += usize::from(
                    store.usage().edges + store.usage().nodes < full.edges + full.nodes + 2,
                );
            }
            // Leaf first: whatever is left is part of a chain from position 0.
            store.collect().unwrap();
            let [(_, a), (_, b)] = sessions();
            let found = [a, b, third()].map(|t| find(&store, &t).edges);
            let chained: HashSet<_> = found.iter().flatten().map(|e| e.id).collect();
            assert_eq!(store.usage().edges, chained.len() as u64, "stop {n}");
            check(&store);
            goes_on(&store);
        }
    }
}

#[test]
fn after_a_stop_at_any_operation_what_was_durable_is_offered_and_right() {
    for n in 1..=operations() {
        let (home, ram, index, durable) = stop_at(n);
        let cuts = [Cut::Process, Cut::Power, Cut::Torn(n as u64 * 7919)];
        for cut in cuts {
            put_index_back(&home, &index);
            let left = ram.after(cut);
            let store =
                open_ram(&home, &left).unwrap_or_else(|error| panic!("stop {n}, {cut:?}: {error}"));
            assert_eq!(store.take_notices(), [], "stop {n}, {cut:?}");
            reaches(&check(&store), &TURNS[..durable]);
            goes_on(&store);
            drop(store);
            let temporary = |p: &PathBuf| p.extension().is_some_and(|e| e == "tmp");
            assert_eq!(left.names().iter().filter(|p| temporary(p)).count(), 0);
        }
    }
}

#[test]
fn an_index_that_lost_its_last_rows_or_all_of_them_loses_no_file() {
    // A power cut may take the newest rows with it: the index of an earlier moment.
    let all = operations();
    for n in (1..=all).step_by(3) {
        let (home, ram, _, durable) = stop_at(n);
        let (_, _, older, _) = stop_at(n.div_ceil(2));
        for index in [older, Vec::new()] {
            put_index_back(&home, &index);
            let store = open_ram(&home, &ram.after(Cut::Power)).unwrap();
            reaches(&check(&store), &TURNS[..durable]);
            assert!(store.take_notices().len() <= 1, "said once");
            goes_on(&store);
        }
    }
}

#[test]
fn what_was_set_aside_does_not_come_back_with_a_power_cut() {
    let home = home();
    let ram = Ram::new(None, None);
    let store = open_ram(&home, &ram).unwrap();
    let target = text(1, 40);
    put_edge(&store, &target, 0, 40);
    put_node(&store, &target, 40, SnapshotRole::Turn, Some("a"));
    store.flush().unwrap();
    let found = find(&store, &target);
    store.quarantine_edge(&found.edges[0], "on purpose");
    store.quarantine_node(&found.nodes[0], "on purpose");
    drop(store);
    for cut in [Cut::Power, Cut::Torn(7919)] {
        let store = open_ram(&home, &ram.after(cut)).unwrap();
        assert_eq!(find(&store, &target), StoredPrefix::default(), "{cut:?}");
        assert_eq!(
            (store.usage().edges, store.usage().nodes),
            (0, 0),
            "{cut:?}"
        );
    }
}

/// What a session does before a turn: segments that did not become durable are put again.
fn put_again(store: &Store, (who, from, _): (usize, usize, usize)) {
    let target = &sessions()[who].1;
    let earlier = TURNS.iter().filter(|t| t.0 == who && t.2 <= from);
    for (_, p0, p1) in [(who, 0, 20)].iter().chain(earlier) {
        if *p1 <= from && !store.has_segment(digest(target, *p0), digest(target, *p1)) {
            put_edge(store, target, *p0, *p1);
        }
    }
}

/// Fails the n-th operation, for all n.
fn one_fault(fault: ReadFault) {
    for n in 1..=operations() {
        let home = home();
        let ram = Ram::new(Some((n, fault)), None);
        let store = match open_ram(&home, &ram) {
            Ok(store) => store,
            Err(error) => {
                // Said at the start, and the next start is well again.
                assert!(matches!(error, Error::Folder { .. }), "{error}");
                assert_ne!(fault, ReadFault::Short, "nothing failed at {n}");
                open_ram(&home, &ram).unwrap()
            }
        };
        let mut notices = Vec::new();
        let mut made = Vec::new();
        for step in TURNS {
            put_again(&store, step);
            turn(&store, step);
            store.flush().unwrap();
            match store.take_notices() {
                told if told.is_empty() => made.push(step),
                told => notices.extend(told),
            }
        }
        assert!(notices.len() <= 1, "{fault:?} at {n}: {notices:?}");
        // Of one turn a record may be missing: what was before it and after it is there.
        assert!(made.len() + 1 >= TURNS.len(), "{fault:?} at {n}");
        let seen = check(&store);
        reaches(&seen, &made);
        if fault == ReadFault::Short {
            assert_eq!(notices, [], "a short write is no failure");
        }
        store.collect().unwrap();
        assert_eq!(check(&store), seen, "all that is left is held");
        drop(store);
        let store = open_ram(&home, &ram.after(Cut::Power)).unwrap();
        assert_eq!(store.take_notices(), [], "{fault:?} at {n}");
        goes_on(&store);
    }
}

#[test]
fn a_full_disk_at_any_operation_is_said_once_and_costs_no_more_than_a_record() {
    one_fault(ReadFault::Fails(ENOSPC));
}

#[test]
fn a_broken_disk_at_any_operation_is_said_once_and_costs_no_more_than_a_record() {
    one_fault(ReadFault::Fails(EIO));
}

#[test]
fn a_short_write_anywhere_is_finished_and_costs_nothing() {
    one_fault(ReadFault::Short);
}
