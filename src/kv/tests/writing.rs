//! The writer thread: bounds, failures, panics.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;

fn moody_store(queue_bytes: usize) -> (TempDir, Arc<Moody>, Store) {
    let home = TempDir::new().unwrap();
    let moody = Arc::new(Moody::default());
    let store = open_on(&home, Arc::new(moody.clone()), queue_bytes).unwrap();
    (home, moody, store)
}

#[test]
fn puts_wait_when_the_queue_is_full_and_never_exceed_its_bytes() {
    let (_home, moody, store) = moody_store(1000);
    moody.set(|m| m.permits = Some(0));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for seed in 0..20 {
                let target = text(seed, 50);
                store.put_segment(PutSegment {
                    from: digest(&target, 0),
                    to: digest(&target, 50),
                    p0: 0,
                    p1: 50,
                    tokens: target,
                    payload: vec![0; 200],
                });
            }
            done.store(true, Ordering::SeqCst);
        });
        // 400 bytes each: two fit, the third caller must be held back.
        while store.pressure().0 == 0 && !done.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        let held_back = !done.load(Ordering::SeqCst);
        moody.set(|m| m.permits = None);
        assert!(held_back, "nobody was held back");
    });
    store.flush().unwrap();
    assert_eq!(store.usage().edges, 20);
    assert_eq!(store.pressure(), (0, 800));
}

#[test]
fn one_put_larger_than_the_queue_passes_alone() {
    let (_home, _moody, store) = moody_store(10);
    let target = text(1, 50);
    put_edge(&store, &target, 0, 20);
    put_edge(&store, &target, 20, 50);
    store.flush().unwrap();
    assert_eq!(store.usage().edges, 2);
}

#[test]
fn a_failing_disk_is_told_once_leaves_nothing_behind_and_is_tried_again() {
    for operation in ["create", "write", "sync", "rename", "sync_folder"] {
        let (home, moody, store) = moody_store(1 << 20);
        let target = text(1, 60);
        moody.set(|m| m.fails = Some((operation, io::ErrorKind::StorageFull)));
        put_edge(&store, &target, 0, 20);
        put_edge(&store, &target, 20, 40);
        put_node(&store, &target, 40, SnapshotRole::Turn, Some("a"));
        store.flush().unwrap();
        let notices = store.take_notices();
        assert_eq!(notices.len(), 1, "{operation}: {notices:?}");
        assert!(notices[0].hint.contains("space"), "{notices:?}");
        assert_eq!(find(&store, &target), StoredPrefix::default());
        let left = listed(&home, |n| n.ends_with(".tmp") || n.len() > 60);
        assert_eq!(left, [] as [PathBuf; 0], "{operation}");

        moody.set(|m| m.fails = None);
        put_edge(&store, &target, 0, 20);
        store.flush().unwrap();
        assert_eq!(cuts(&find(&store, &target)), [(0, 20)], "{operation}");
        assert_eq!(store.take_notices(), []);

        moody.set(|m| m.fails = Some((operation, io::ErrorKind::StorageFull)));
        put_edge(&store, &target, 20, 60);
        store.flush().unwrap();
        assert_eq!(store.take_notices().len(), 1, "full again is told again");
    }
}

#[test]
fn a_small_file_that_fits_between_two_that_do_not_is_no_reason_to_tell_it_twice() {
    let (_home, moody, store) = moody_store(1 << 20);
    for seed in 0..6 {
        let fails = Some(("write", io::ErrorKind::StorageFull));
        moody.set(|m| m.fails = fails.filter(|_| seed % 2 == 0));
        put_edge(&store, &text(seed, 10), 0, 10);
        store.flush().unwrap();
    }
    assert_eq!(store.take_notices().len(), 1);
}

#[test]
fn an_index_that_cannot_be_written_is_told_once_with_what_helps() {
    for (pragma, value, hint) in [
        ("max_page_count", 1, "space"),
        ("query_only", 1, "writable"),
    ] {
        let (home, moody, store) = moody_store(1 << 20);
        let trouble = |value: i64| {
            let set = |db: &rusqlite::Connection| match pragma {
                // It answers with what was set.
                "max_page_count" => {
                    db.query_row(&format!("PRAGMA {pragma} = {value}"), [], |_| Ok(()))
                }
                _ => db.pragma_update(None, pragma, value),
            };
            store.with_index(|index, _| set(index.db())).unwrap();
        };
        trouble(value);
        for seed in 0..100 {
            put_edge(&store, &text(seed, 20), 0, 20);
        }
        store.flush().unwrap();
        // The same trouble met by a file.
        let kind = match hint {
            "space" => io::ErrorKind::StorageFull,
            _ => io::ErrorKind::ReadOnlyFilesystem,
        };
        moody.set(|m| m.fails = Some(("create", kind)));
        put_edge(&store, &text(100, 20), 0, 20);
        store.flush().unwrap();
        moody.set(|m| m.fails = None);
        let notices = store.take_notices();
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert!(notices[0].text.contains("index"), "{notices:?}");
        assert!(notices[0].hint.contains(hint), "{notices:?}");
        let noted = store.usage().edges;
        drop(store);
        // The files are there, and have their rows with the next start.
        let store = open(&home);
        assert_eq!((store.usage().edges, store.take_notices()), (100, vec![]));
        assert!(noted < 100, "{noted}");
    }
}

#[test]
fn a_turn_that_could_not_be_written_leaves_the_previous_one() {
    let (_home, moody, store) = moody_store(1 << 20);
    let target = text(1, 60);
    put_node(&store, &target, 20, SnapshotRole::Turn, Some("a"));
    store.flush().unwrap();
    moody.set(|m| m.fails = Some(("rename", io::ErrorKind::StorageFull)));
    put_node(&store, &target, 40, SnapshotRole::Turn, Some("a"));
    store.flush().unwrap();
    assert_eq!(stops(&find(&store, &target)), [20]);
}

#[test]
fn a_panic_of_the_writer_stops_saving_and_nothing_else() {
    let (_home, moody, store) = moody_store(1000);
    let target = text(1, 60);
    put_edge(&store, &target, 0, 20);
    store.flush().unwrap();
    moody.set(|m| m.panics = true);
    for p0 in [20, 30, 40, 50] {
        put_edge(&store, &target, p0, p0 + 10);
    }
    assert!(matches!(store.flush(), Err(Error::Stopped)));
    put_edge(&store, &target, 20, 60);
    assert_eq!(store.take_notices().len(), 1);
    let found = find(&store, &target);
    assert_eq!(cuts(&found), [(0, 20)]);
    store.read_segment(&found.edges[0], &target).unwrap();
}

#[test]
fn a_put_that_contradicts_itself_is_not_stored_and_told() {
    let (home, store) = store();
    let target = text(1, 60);
    let good = || PutSegment {
        from: digest(&target, 0),
        to: digest(&target, 20),
        p0: 0,
        p1: 20,
        tokens: target[..20].to_vec(),
        payload: vec![1],
    };
    let mut short = good();
    short.tokens.pop();
    let mut backwards = good();
    (backwards.p0, backwards.p1) = (20, 0);
    let mut far = good();
    (far.p0, far.p1) = (usize::MAX - 20, usize::MAX);
    for put in [short, backwards, far] {
        store.put_segment(put);
    }
    store.flush().unwrap();
    assert_eq!(records(&home), [] as [PathBuf; 0]);
    assert!(!store.take_notices().is_empty());
}

#[test]
fn dropping_the_last_handle_finishes_what_was_put() {
    let (home, store) = store();
    let other = store.clone();
    let target = text(1, 60);
    for p0 in (0..60).step_by(10) {
        put_edge(&store, &target, p0, p0 + 10);
    }
    drop(store);
    drop(other);
    assert_eq!(records(&home).len(), 6);
    assert_eq!(find(&open(&home), &target).edges.len(), 6);
}
