//! A disk that becomes read-only while the store is open: what the writer was asked for ends, also
//! what it cannot do.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::*;
use crate::kv::tests::merging::{Rows, put_rows, reads, talk};

/// What has not ended after so long does not end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs what must end.
fn ends<T: Send + 'static>(what: &str, run: impl FnOnce() -> T + Send + 'static) -> T {
    let (reply, answer) = channel();
    thread::spawn(move || drop(reply.send(run())));
    let ended = answer.recv_timeout(PATIENCE);
    ended.unwrap_or_else(|_| panic!("{what} does not end"))
}

/// Makes disk and index read-only, or writable again.
fn close(store: &Store, ram: &Arc<Ram>, closed: bool) {
    ram.set_read_only(closed);
    let set = |index: &crate::kv::index::connection::Index, _| {
        index
            .db()
            .pragma_update(None, "query_only", closed)
            .unwrap();
    };
    store.with_index(set);
}

fn edge_name(edge: &Edge) -> String {
    crate::kv::record::files::name(
        crate::kv::record::format::RecordKind::Edge,
        edge.from,
        edge.to,
    )
}

fn place(ram: &Arc<Ram>, name: &str) -> PathBuf {
    let mut names = ram.names().into_iter();
    names.find(|path| path.ends_with(name)).unwrap()
}

/// Once the merger found the same run again for ever, and `flush` waited for it.
#[test]
fn a_damaged_part_that_can_be_neither_moved_nor_forgotten_ends_the_merge() {
    for asked in [true, false] {
        let home = home();
        let ram = Ram::new(None, None);
        let kv = home.path().join("kv");
        let store = Store::open_on(Arc::new(ram.clone()), &kv, model("f16"), limits()).unwrap();
        let target = text(1, 200);
        let end = talk(&store, "a", &target, 12);
        store.flush().unwrap();
        let edges = find(&store, &target).edges;
        ram.spoil(&place(&ram, &edge_name(&edges[5])));
        close(&store, &ram, true);
        // One by one as in idle time, or all that are due.
        store.merge_with(Arc::new(Rows));
        let again = store.clone();
        ends("a merge", move || {
            match asked {
                true => assert_eq!(again.merge().unwrap(), Merged::default()),
                false => assert_eq!(again.merge_one().unwrap(), None),
            }
            // Whatever is put meanwhile: each fails, and ends.
            put_rows(&again, &text(2, 40), 0, 40);
            again.pin("b", digest(&text(2, 40), 40));
            again.flush().unwrap();
            again.merge().unwrap();
            again.collect().unwrap();
            again.flush().unwrap();
        });
        let said = store.take_notices();
        let about_it = said.iter().filter(|n| n.text.contains("checksum"));
        assert_eq!(about_it.count(), 1, "{said:?}");
        assert!(said.len() <= 4, "{said:?}");

        close(&store, &ram, false);
        store.pin("a", digest(&target, end));
        let again = store.clone();
        ends("a merge", move || again.merge().unwrap());
        let found = find(&store, &target);
        assert_eq!(found.edges.last().map(|e| e.p1), Some(edges[4].p1));
        reads(&store, &target, &found);
        // What is put from there on is stored and merged again.
        for edge in &edges[5..] {
            put_rows(&store, &target, edge.p0, edge.p1);
        }
        store.pin("a", digest(&target, end));
        let again = store.clone();
        let merged = ends("a merge", move || {
            again.merge().unwrap();
            find(&again, &text(1, 200))
        });
        assert_eq!(cuts(&merged).last().map(|c| c.1), Some(end));
        assert!(merged.edges.len() < edges.len(), "{:?}", cuts(&merged));
        reads(&store, &target, &merged);
    }
}

/// Two conversations, the older of which the quota has no room for; merges and a collection.
fn live(store: &Store) {
    store.merge_with(Arc::new(Rows));
    for (owner, seed) in [("a", 1), ("b", 2)] {
        let target = text(seed, 200);
        let end = talk(store, owner, &target, 10);
        for at in [20, 24, 28, end] {
            put_turn(store, &target, &[20, 24], at, owner);
        }
        store.pin(owner, digest(&target, end));
        store.flush().unwrap();
        store.merge().unwrap();
    }
    let _ = store.collect();
    store.flush().unwrap();
}

#[test]
fn a_disk_that_becomes_read_only_at_any_operation_holds_nothing_up() {
    let open = |home: &TempDir, ram: &Arc<Ram>| {
        let limits = StoreLimits {
            quota_bytes: Some(9000),
            ..limits()
        };
        let kv = home.path().join("kv");
        Store::open_on(Arc::new(ram.clone()), &kv, model("f16"), limits)
    };
    let (home_of_all, ram) = (home(), Ram::new(None, None));
    let store = open(&home_of_all, &ram).unwrap();
    live(&store);
    let whole = store.usage();
    drop(store);
    let all = ram.operations();
    assert!(whole.merged > 0, "{whole:?}");
    for n in (1..=all).step_by(2) {
        let home = home();
        let ram = Ram::new(Some((n, ReadFault::ReadOnly)), None);
        let Ok(store) = open(&home, &ram) else {
            continue;
        };
        let again = store.clone();
        ends("a life on a read-only disk", move || live(&again));
        assert!(store.take_notices().len() <= 6, "at {n}");
        ram.set_read_only(false);
        let again = store.clone();
        ends("a life on a disk that can be written again", move || {
            live(&again);
        });
        for seed in [1, 2] {
            let found = find(&store, &text(seed, 200));
            reads(&store, &text(seed, 200), &found);
        }
        let end = find(&store, &text(2, 200)).edges.last().map(|e| e.p1);
        assert_eq!(end, Some(60), "at {n}");
    }
}
