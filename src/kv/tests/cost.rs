//! What a turn's end and an opening cost: the work of one conversation, whatever else is stored.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::crash::in_memory;
use super::*;
use crate::kv::index::rebuild::AT_ONCE;

/// Others whose chains a rebuild found, and nobody came back for.
const OTHERS: i32 = 3000;

fn total(store: &Store) -> u64 {
    store.with_index(|index, _| index.totals().bytes()).unwrap()
}

#[test]
fn a_turns_end_walks_what_is_new_of_its_chain_beside_thousands_that_nobody_claimed() {
    let (_home, store) = in_memory();
    let target = text(1, 600);
    let at = |p: usize| digest(&target, p);
    store.with_index(|index, model| {
        for seed in 2..OTHERS {
            let other = text(seed, 20);
            add_edge(index, model, &other, 0, 20);
            let owner = format!("rebuilt-{seed:016}");
            index.pins(model).set(&owner, digest(&other, 20)).unwrap();
        }
        for p0 in (0..500).step_by(10) {
            add_edge(index, model, &target, p0, p0 + 10);
        }
        index.pins(model).set("rebuilt-own", at(300)).unwrap();
        let unclaimed = || {
            let rows = index
                .db()
                .query_row("SELECT count(*) FROM pin", [], |r| r.get(0));
            rows.unwrap()
        };
        let mut walked = HashSet::new();
        assert!(index.pins(model).has_unclaimed().unwrap());
        let first = index.pins(model).claim(at(490), &mut walked).unwrap();
        assert_eq!((first, unclaimed()), (50, OTHERS - 2), "its own is claimed");
        let next = index.pins(model).claim(at(500), &mut walked).unwrap();
        assert_eq!((next, unclaimed()), (1, OTHERS - 2));
    });
}

#[test]
fn the_sum_of_all_files_is_kept_with_the_rows_and_put_right_at_open() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let target = text(1, 60);
    put_edge(&store, &target, 0, 30);
    put_edge(&store, &target, 30, 60);
    // Of three turns' ends the first goes with the last; one edge and one row are put twice.
    for at in [30, 40, 60] {
        put_node(&store, &target, at, SnapshotRole::Turn, Some("a"));
        put_edge(&store, &target, 0, 30);
        store.flush().unwrap();
        assert_eq!(total(&store), store.usage().bytes);
    }
    store.quarantine_edge(&find(&store, &target).edges[1], "on purpose");
    assert_eq!(total(&store), store.usage().bytes);
    let right = total(&store);
    assert!(right > 0);
    drop(store);
    let path = home.path().join("kv/index.db");
    for lie in [
        "UPDATE total SET bytes = 7",
        "UPDATE total SET bytes = 'many'",
        "DELETE FROM total",
    ] {
        let db = Connection::open(&path).unwrap();
        assert_eq!(db.execute(lie, []).unwrap(), 1);
        drop(db);
        let store = open(&home);
        assert_eq!(
            (total(&store), store.take_notices()),
            (right, vec![]),
            "{lie}"
        );
    }
}

/// The real folder; at each record that is opened it looks what another process sees and can do.
struct Watched {
    db: Mutex<Connection>,
    rows: Arc<Mutex<BTreeSet<usize>>>,
}

impl Watched {
    fn look(&self) {
        let mut db = self.db.lock().unwrap();
        let count = "SELECT count(*) FROM edge";
        let rows = db.query_row(count, [], |r| r.get::<_, usize>(0));
        self.rows.lock().unwrap().insert(rows.unwrap());
        db.transaction_with_behavior(TransactionBehavior::Immediate)
            .expect("nobody holds the index while files are read");
    }
}

impl Storage for Watched {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        Disk.make_folder(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn OutputFile>> {
        Disk.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<(Box<dyn Read>, u64)> {
        if path.extension().is_some_and(|e| e == "edge") {
            self.look();
        }
        Disk.open(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        Disk.sync_folder(path)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        Disk.list(path)
    }
}

#[test]
fn a_rebuild_adds_rows_in_a_few_steps_and_holds_nobody_up_between_them() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let target = text(1, 4000);
    let files = 2 * AT_ONCE + 100;
    for p0 in 0..files {
        put_edge(&store, &target, p0, p0 + 1);
    }
    drop(store);
    // All rows are gone, as with an index that was deleted.
    let path = home.path().join("kv/index.db");
    let db = Connection::open(&path).unwrap();
    db.execute("DELETE FROM edge", []).unwrap();
    db.busy_timeout(Duration::ZERO).unwrap();
    let rows = Arc::new(Mutex::new(BTreeSet::new()));
    let watched = Watched {
        db: Mutex::new(db),
        rows: rows.clone(),
    };
    let store = open_on(&home, Arc::new(watched), 1 << 20).unwrap();
    assert_eq!(store.usage().edges, files as u64);
    let seen: Vec<usize> = rows.lock().unwrap().iter().copied().collect();
    assert_eq!(seen, [0, AT_ONCE, 2 * AT_ONCE]);
    assert_eq!(total(&store), store.usage().bytes);
}
