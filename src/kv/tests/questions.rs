//! What the slot asks between two decodes is answered at once, whatever the writer waits for.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::*;

/// A question that is not answered in this time waits for somebody.
const PATIENCE: Duration = Duration::from_secs(5);

/// Session a with turns that end at 20 and 40, and what makes the first of them needless.
fn turns(home: &TempDir) -> (Arc<Moody>, Store, Vec<Token>) {
    let moody = Arc::new(Moody::default());
    let store = open_on(home, Arc::new(moody.clone()), 1 << 20).unwrap();
    let target = text(1, 60);
    for (p0, p1) in [(0, 20), (20, 40)] {
        put_edge(&store, &target, p0, p1);
        put_node(&store, &target, p1, SnapshotRole::Turn, Some("a"));
        store.pin("a", digest(&target, p1));
    }
    store.put_sample("a", digest(&target, 40), vec![1.0]);
    store.agree("a", digest(&target, 40));
    store.flush().unwrap();
    (moody, store, target)
}

/// Files that are written and have no name yet.
fn drafts(home: &TempDir) -> usize {
    let folders = std::fs::read_dir(home.path().join("kv/v1")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let ending = |f: &std::fs::DirEntry| f.path().extension().is_some_and(|e| e == "tmp");
    files.filter(|f| ending(f.as_ref().unwrap())).count()
}

/// Asks all there is to ask; false when an answer did not come.
fn answers(store: &Store, target: &[Token]) -> bool {
    let (reply, answer) = channel();
    let (store, target) = (store.clone(), target.to_vec());
    thread::spawn(move || {
        let at = |p: usize| digest(&target, p);
        let found = find(&store, &target);
        let all = [
            cuts(&found)[..2] == [(0, 20), (20, 40)],
            store.has_segment(at(20), at(40)),
            store.has_snapshot(at(40)),
            store.is_end(at(40)),
            store.is_whole(at(40)),
            store.agrees(at(40)),
            store.sample(at(40)) == Some(vec![1.0]),
            store.usage().edges >= 2,
            store.why_nothing("a").is_none(),
        ];
        let _ = reply.send(all);
    });
    answer
        .recv_timeout(PATIENCE)
        .is_ok_and(|all| all == [true; 9])
}

#[test]
fn a_question_is_answered_while_the_writer_waits_for_a_file() {
    for held in ["remove", "write", "sync", "rename", "sync_folder"] {
        let home = TempDir::new().unwrap();
        let (moody, store, target) = turns(&home);
        moody.set(|m| m.holds = Some(held));
        put_edge(&store, &target, 40, 60);
        put_node(&store, &target, 60, SnapshotRole::Turn, Some("a"));
        store.pin("a", digest(&target, 60));
        moody.wait_for_held();
        let answered = answers(&store, &target);
        moody.set(|m| m.holds = None);
        assert!(answered, "while it waits for {held}");
        store.flush().unwrap();
        assert_eq!(
            stops(&find(&store, &target)),
            [60],
            "and sees what was flushed"
        );
    }
}

#[test]
fn a_question_is_answered_while_another_process_writes_and_the_writer_waits_for_it() {
    let home = TempDir::new().unwrap();
    let (_moody, store, target) = turns(&home);
    let mut db = Connection::open(home.path().join("kv/index.db")).unwrap();
    let other = db
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    put_edge(&store, &target, 40, 60);
    // Its file is written; its name and its row are what the writer waits for.
    while drafts(&home) == 0 || !store.is_changing() {
        thread::yield_now();
    }
    let answered = answers(&store, &target);
    drop(other);
    assert!(answered);
    store.flush().unwrap();
    assert_eq!(cuts(&find(&store, &target)).last(), Some(&(40, 60)));
}
