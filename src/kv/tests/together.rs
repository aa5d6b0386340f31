//! Two processes at one index: each waits for the other's change, and none is refused.

use std::cell::RefCell;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};

use super::*;
use crate::kv::index::connection::{Index, ModelId};
use crate::kv::write::writer::Failure;

thread_local! {
    /// Another process in the middle of a change.
    static OTHER: RefCell<Option<Connection>> = const { RefCell::new(None) };
}

/// Called by SQLite when it waits: the other process ends its change.
fn let_go(_times: i32) -> bool {
    OTHER.with_borrow_mut(Option::take).is_some()
}

/// Begins a change as another process does it.
fn other_changes(home: &TempDir) {
    let db = Connection::open(home.path().join("kv/index.db")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE; UPDATE pin SET owner = owner;")
        .unwrap();
    OTHER.set(Some(db));
}

type Change = fn(&Index, ModelId, &[Token]) -> rusqlite::Result<()>;

/// Every change that a store or a folder makes.
const CHANGES: [(&str, Change); 21] = [
    ("model", |i, _, _| {
        i.model(Digest([9; 32]), "{}", "{}").map(drop)
    }),
    ("add_edge", |i, m, t| {
        i.add_edge(m, (digest(t, 40), digest(t, 50), 40, 50), 9, &t[40..50])
    }),
    ("exchange", |i, m, t| {
        let edges = i.all(m)?.0;
        let part = |p0, p1| ((digest(t, p0), digest(t, p1), p0, p1), 9, &t[p0..p1]);
        let whole = edges.iter().find(|e| e.p0 == 0).unwrap();
        let done = i.exchange(m, whole, [part(0, 10), part(10, 20)], || Ok(()));
        done.map(|done| assert!(done)).map_err(|e| match e {
            Failure::Index(error) => error,
            _ => unreachable!("nothing else fails"),
        })
    }),
    ("add_node", |i, m, t| {
        i.add_node(m, (digest(t, 20), 20, SnapshotRole::Step), 9, true, t)
    }),
    ("strengthen", |i, m, t| {
        i.strengthen(m, digest(t, 40), SnapshotRole::Head)
    }),
    ("replace", |i, m, t| {
        let run = i.all(m)?.0;
        let edge = (digest(t, 0), digest(t, 40), 0, 40);
        i.replace(m, &run, edge, 9, &t[..40])
            .map(|done| assert!(done))
    }),
    ("drop_edge", |i, m, _| i.drop_edge(m, &i.all(m)?.0[0])),
    ("drop_node", |i, m, t| i.drop_node(m, digest(t, 40))),
    ("pin", |i, m, t| i.pin(m, "b", digest(t, 40))),
    ("unpin", |i, _, _| i.unpin("a")),
    ("turn_if_deeper", |i, m, t| {
        i.turn_if_deeper(m, "b", digest(t, 40))
    }),
    ("replace_row", |i, m, t| {
        i.replace_row(m, "a", digest(t, 20)).map(drop)
    }),
    ("new_state", |i, m, t| {
        let past = Past {
            nodes: vec![(40, digest(t, 40))],
            kv_bytes: None,
        };
        i.new_state(m, "b", (digest(t, 40), 40, SnapshotRole::Step), &past)
            .map(drop)
    }),
    ("let_go", |i, m, _| i.let_go(m, "a", &[])),
    ("found_state", |i, m, t| {
        i.found_state(m, "b", digest(t, 40))
    }),
    ("move_pins", |i, m, t| {
        i.move_pins(m, digest(t, 40), digest(t, 20))
    }),
    ("claim", |i, m, t| {
        i.at_once(|| i.claim(m, digest(t, 40), &mut Default::default()))
            .map(drop)
    }),
    ("release", |i, m, _| i.at_once(|| i.release(m, "a"))),
    ("add_sample", |i, m, t| {
        i.add_sample(m, "a", (digest(t, 40), Digest([1; 32])), &[1.0])
    }),
    ("agree", |i, m, t| {
        i.agree(m, "a", (digest(t, 40), Digest([1; 32])))
    }),
    ("hold_tips", |i, _, _| {
        crate::kv::index::rebuild::hold_tips(i).unwrap();
        Ok(())
    }),
];

/// Once a change that looked before it wrote was refused at once: "Another npast held the index for
/// long".
#[test]
fn every_change_waits_for_the_change_of_another_process() {
    for (name, change) in CHANGES {
        let (home, store) = store();
        let target = text(1, 60);
        put_edge(&store, &target, 0, 20);
        put_edge(&store, &target, 20, 40);
        put_node(&store, &target, 40, SnapshotRole::Row, Some("a"));
        store.flush().unwrap();
        store.with_index(|index, model| {
            index.db.busy_handler(Some(let_go)).unwrap();
            other_changes(&home);
            let done = change(index, model, &target);
            assert!(done.is_ok(), "{name}: {done:?}");
            let waited = OTHER.with_borrow(Option::is_none);
            assert!(waited, "{name} did not wait, so it was no change");
        });
    }
}

#[test]
fn two_stores_that_work_at_once_have_nothing_to_say() {
    let (home, first) = store();
    let second = open(&home);
    let stores = [(first, 1), (second, 2)];
    let working = stores.clone().map(|(store, seed)| {
        thread::spawn(move || {
            let (target, owner) = (text(seed, 400), format!("session-{seed}"));
            for p1 in (2..400).step_by(2) {
                put_edge(&store, &target, p1 - 2, p1);
                // Each row makes the one before it needless.
                put_node(&store, &target, p1, SnapshotRole::Row, Some(&owner));
                store.pin(&owner, digest(&target, p1));
            }
            store.flush().unwrap();
        })
    });
    for work in working {
        work.join().unwrap();
    }
    for (store, seed) in &stores {
        assert_eq!(store.take_notices(), []);
        let found = find(store, &text(*seed, 400));
        assert_eq!(found.edges.last().map(|e| e.p1), Some(398));
        assert_eq!(stops(&found), [398]);
    }
}

/// Each put waits for the index; all of them in vain would take 40 waits.
#[test]
fn an_index_that_another_process_never_lets_go_holds_the_writer_up_once() {
    let wait = Duration::from_millis(500);
    let home = TempDir::new().unwrap();
    let limits = Limits {
        index_wait: wait,
        ..limits()
    };
    let store = Store::open(&home.path().join("kv"), model("f16"), limits).unwrap();
    let mut db = Connection::open(home.path().join("kv/index.db")).unwrap();
    let other = db
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    let target = text(1, 60);
    let begun = Instant::now();
    for _ in 0..20 {
        put_edge(&store, &target, 0, 20);
        store.pin("a", digest(&target, 20));
    }
    store.flush().unwrap();
    let took = begun.elapsed();
    assert!(took < wait * 15, "{took:?}");
    let said = store.take_notices();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].hint.contains("Another npast"), "{said:?}");
    drop(other);
    put_edge(&store, &target, 0, 20);
    store.flush().unwrap();
    assert_eq!(cuts(&find(&store, &target)), [(0, 20)]);
}
