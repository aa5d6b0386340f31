//! Two processes at one index: each waits for the other's change, and none is refused.

use std::cell::RefCell;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};

use super::*;
use crate::kv::index::nodes::NewNode;

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

/// The edge [p0, p1) of a target.
fn edge(t: &[Token], p0: usize, p1: usize) -> NewEdge<'_> {
    NewEdge {
        from: digest(t, p0),
        to: digest(t, p1),
        p0,
        p1,
        bytes: 9,
        tokens: &t[p0..p1],
    }
}

/// Every change that a store or a folder makes.
const CHANGES: [(&str, Change); 21] = [
    ("models: put", |i, _, _| {
        i.models().put(Digest([9; 32]), "{}", "{}").map(drop)
    }),
    ("edges: add", |i, m, t| i.edges(m).add(&edge(t, 40, 50))),
    ("joints: split", |i, m, t| {
        let edges = i.edges(m).all()?;
        let whole = edges.iter().find(|e| e.p0 == 0).unwrap();
        let parts = [edge(t, 0, 10), edge(t, 10, 20)];
        let done = i
            .joints(m)
            .split(whole, &parts, || Ok::<_, rusqlite::Error>(()));
        done.map(|done| assert!(done))
    }),
    ("nodes: add", |i, m, t| {
        i.nodes(m).add(&NewNode {
            digest: digest(t, 20),
            at: 20,
            role: SnapshotRole::Step,
            bytes: 9,
            logits: true,
            tail: t,
        })
    }),
    ("nodes: strengthen", |i, m, t| {
        i.nodes(m).strengthen(digest(t, 40), SnapshotRole::Head)
    }),
    ("joints: merge", |i, m, t| {
        let parts = i.edges(m).all()?;
        let done = i.joints(m).merge(&parts, &edge(t, 0, 40));
        done.map(|done| assert!(done))
    }),
    ("edges: remove", |i, m, _| {
        i.edges(m).remove(&i.edges(m).all()?[0])
    }),
    ("nodes: remove", |i, m, t| i.nodes(m).remove(digest(t, 40))),
    ("pins: set", |i, m, t| i.pins(m).set("b", digest(t, 40))),
    ("owners: forget", |i, _, _| i.owners().forget("a")),
    ("turns: set_if_deeper", |i, m, t| {
        i.turns(m).set_if_deeper("b", digest(t, 40))
    }),
    ("turns: replace_row", |i, m, t| {
        i.turns(m).replace_row("a", digest(t, 20)).map(drop)
    }),
    ("states: put", |i, m, t| {
        let past = Past {
            nodes: vec![(40, digest(t, 40))],
            kv_bytes: None,
        };
        let new = (digest(t, 40), 40, SnapshotRole::Step);
        i.states(m).put("b", new, &past).map(drop)
    }),
    ("states: release", |i, m, _| i.states(m).release("a", &[])),
    ("states: found", |i, m, t| {
        i.states(m).found("b", digest(t, 40))
    }),
    ("pins: move_all", |i, m, t| {
        i.pins(m).move_all(digest(t, 40), digest(t, 20))
    }),
    ("pins: claim", |i, m, t| {
        let mut walked = Default::default();
        i.at_once(|| i.pins(m).claim(digest(t, 40), &mut walked))
            .map(drop)
    }),
    ("owners: forget_under", |i, m, _| {
        i.at_once(|| i.owners().forget_under(m, "a"))
    }),
    ("samples: put", |i, m, t| {
        let at = (digest(t, 40), Digest([1; 32]));
        i.samples(m).put("a", at, &[1.0])
    }),
    ("samples: agree", |i, m, t| {
        i.samples(m).agree("a", (digest(t, 40), Digest([1; 32])))
    }),
    ("rebuild: pin_unheld", |i, _, _| {
        crate::kv::index::rebuild::pin_unheld(i).unwrap();
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
            index.db().busy_handler(Some(let_go)).unwrap();
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
    let limits = StoreLimits {
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
