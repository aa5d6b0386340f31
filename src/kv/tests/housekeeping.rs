//! Quota and collection: what goes, in which order, and what stays whatever the quota says.

use super::*;
use crate::kv::record::files::MOST_QUARANTINED;

fn open_with(home: &TempDir, quota: u64) -> Store {
    let limits = StoreLimits {
        quota_bytes: Some(quota),
        ..super::limits()
    };
    Store::open(&home.path().join("kv"), model("f16"), limits).unwrap()
}

/// A head of 20 tokens that all share, and 30 of one's own in two edges.
fn own(seed: i32) -> Vec<Token> {
    [text(1, 20), text(seed, 30)].concat()
}

/// A turn of session `seed`, from the head on.
fn talk(store: &Store, seed: i32) {
    let target = own(seed);
    for (p0, p1) in [(0, 20), (20, 35), (35, 50)] {
        put_edge(store, &target, p0, p1);
    }
    put_node(store, &target, 20, SnapshotRole::Head, None);
    store.pin(&format!("session-{seed}"), digest(&target, 50));
}

/// How far a session can be restored.
fn reach(store: &Store, seed: i32) -> usize {
    let target = own(seed);
    let found = find(store, &target);
    for edge in &found.edges {
        store.read_segment(edge, &target).unwrap();
    }
    found.edges.last().map_or(0, |e| e.p1)
}

/// Bytes of one session's own two edges.
fn one() -> u64 {
    let (_home, store) = store();
    talk(&store, 2);
    store.flush().unwrap();
    let head = store.usage().bytes;
    talk(&store, 3);
    store.flush().unwrap();
    store.usage().bytes - head
}

#[test]
fn what_nobody_reaches_goes_and_what_is_pinned_stays() {
    let (_home, store) = store();
    talk(&store, 2);
    talk(&store, 3);
    let abandoned = own(4);
    put_edge(&store, &abandoned, 20, 50);
    put_node(&store, &abandoned, 50, SnapshotRole::Step, None);
    store.pin("session-2", digest(&own(2), 50));
    store.flush().unwrap();
    let before = store.usage().bytes;
    let collected = store.collect().unwrap();
    assert_eq!(collected.files, 2);
    assert_eq!(before - store.usage().bytes, collected.bytes);
    assert_eq!([2, 3, 4].map(|s| reach(&store, s)), [50, 50, 20]);
    assert_eq!(stops(&find(&store, &own(2))), [20]);
    assert_eq!(store.collect().unwrap(), Collected::default());
    assert_eq!(store.take_notices(), []);
}

#[test]
fn what_was_put_and_not_pinned_yet_is_in_use() {
    let (_home, store) = store();
    put_edge(&store, &own(2), 0, 20);
    put_edge(&store, &own(2), 20, 35);
    assert_eq!(store.collect().unwrap(), Collected::default());
    assert_eq!(reach(&store, 2), 35);
}

#[test]
fn over_the_quota_the_session_pinned_longest_ago_loses_its_end_first() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    for seed in [2, 3, 4] {
        talk(&store, seed);
    }
    // Session 2 was used again: now 3 is the oldest.
    store.pin("session-2", digest(&own(2), 50));
    store.flush().unwrap();
    let full = store.usage().bytes;
    drop(store);

    // Session 5 comes, and there is room for three of four and a little more.
    let quota = full + one() * 3 / 4;
    let store = open_with(&home, quota);
    talk(&store, 5);
    store.flush().unwrap();
    assert!(store.usage().bytes <= quota);
    assert_eq!([2, 3, 4, 5].map(|s| reach(&store, s)), [50, 35, 50, 50]);
    talk(&store, 6);
    store.flush().unwrap();
    let reached = [2, 3, 4, 5, 6].map(|s| reach(&store, s));
    assert_eq!(reached, [50, 20, 35, 50, 50]);
    assert_eq!(store.take_notices(), []);
}

#[test]
fn a_session_that_lost_its_end_still_holds_what_is_left() {
    let home = TempDir::new().unwrap();
    talk(&open(&home), 2);
    let full = open(&home).usage().bytes;
    let store = open_with(&home, full + one() * 3 / 4);
    talk(&store, 3);
    store.flush().unwrap();
    assert_eq!(reach(&store, 2), 35);
    // Were its pin still where nothing is, all of it would be nobody's.
    assert_eq!(store.collect().unwrap(), Collected::default());
    assert_eq!(reach(&store, 2), 35);
}

#[test]
fn what_nobody_reaches_goes_before_what_an_old_session_reaches() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    talk(&store, 2);
    talk(&store, 3);
    store.unpin("session-3");
    store.flush().unwrap();
    let full = store.usage().bytes;
    drop(store);
    let store = open_with(&home, full + one() / 4);
    talk(&store, 4);
    store.flush().unwrap();
    assert_eq!([2, 3, 4].map(|s| reach(&store, s)), [50, 20, 50]);
}

#[test]
fn a_conversation_in_use_that_is_larger_than_the_quota_is_kept_and_said_once() {
    let home = TempDir::new().unwrap();
    let store = open_with(&home, 1);
    let target = text(7, 200);
    for end in (10..=200).step_by(10) {
        put_edge(&store, &target, end - 10, end);
        put_node(&store, &target, end, SnapshotRole::Turn, Some("a"));
        store.pin("a", digest(&target, end));
        store.flush().unwrap();
        let found = find(&store, &target);
        assert_eq!(found.edges.last().unwrap().p1, end);
        assert_eq!(stops(&found), [end]);
    }
    let notices = store.take_notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].text.contains("they are kept"), "{notices:?}");
    drop(store);
    // The next process uses another one: this is not in use any more.
    let store = open_with(&home, 1);
    talk(&store, 2);
    store.flush().unwrap();
    assert_eq!(find(&store, &target), StoredPrefix::default());
    assert_eq!(reach(&store, 2), 50);
}

/// A fork was taken for the conversation in use, and its parent's end, live in the slot, went.
#[test]
fn a_fork_takes_nothing_out_of_use_when_the_quota_is_full() {
    let home = TempDir::new().unwrap();
    talk(&open(&home), 9);
    let quota = open(&home).usage().bytes + one() / 4;
    let store = open_with(&home, quota);
    let parent = own(2);
    put_edge(&store, &parent, 20, 35);
    store.pin("session-2", digest(&parent, 35));
    store.flush().unwrap();
    assert!(store.usage().bytes <= quota);
    // Its turn is stored and not pinned yet.
    put_edge(&store, &parent, 35, 50);
    put_node(&store, &parent, 50, SnapshotRole::Step, None);
    store.flush().unwrap();
    assert!(store.usage().bytes > quota);
    store.hold("fork", &parent, 20).unwrap();
    store.flush().unwrap();
    assert_eq!(reach(&store, 2), 50);
    store.pin("session-2", digest(&parent, 50));
    store.flush().unwrap();
    drop(store);

    // Larger than the quota and kept, fork or not, until another conversation is in use.
    let store = open_with(&home, 1);
    put_edge(&store, &parent, 35, 50);
    store.pin("session-2", digest(&parent, 50));
    store.hold("fork", &parent, 20).unwrap();
    store.collect().unwrap();
    assert_eq!(reach(&store, 2), 50);
    talk(&store, 3);
    store.flush().unwrap();
    assert_eq!([2, 3].map(|s| reach(&store, s)), [20, 50]);
}

#[test]
fn other_models_count_and_are_collected_too() {
    let home = TempDir::new().unwrap();
    talk(&open(&home), 2);
    let full = open(&home).usage().bytes;
    let kv = home.path().join("kv");
    let limits = StoreLimits {
        quota_bytes: Some(full + 100),
        ..super::limits()
    };
    let q8 = Store::open(&kv, model("q8_0"), limits).unwrap();
    let target = text(9, 30);
    let at = |p: usize| {
        let mut running = RunningDigest::new(q8.fingerprint().hard);
        running.extend(&target[..p]);
        running.digest()
    };
    q8.put_segment(PutSegment {
        from: at(0),
        to: at(30),
        p0: 0,
        p1: 30,
        tokens: target.clone(),
        payload: vec![1; 300],
    });
    q8.pin("session-9", at(30));
    q8.flush().unwrap();
    assert_eq!(q8.usage().edges, 1);
    assert!(reach(&open(&home), 2) < 50);
}

#[test]
fn of_many_conversations_in_one_process_only_the_last_one_is_in_use() {
    let home = TempDir::new().unwrap();
    let quota = one() * 5;
    let store = open_with(&home, quota);
    for turn in 0..60 {
        let seed = 2 + turn % 12;
        talk(&store, seed);
        store.flush().unwrap();
        assert!(store.usage().bytes <= quota, "turn {turn}");
        assert_eq!(reach(&store, seed), 50, "turn {turn}");
    }
    assert_eq!(store.take_notices(), []);
}

#[test]
fn a_turn_that_could_not_be_written_does_not_let_go_of_those_before() {
    let home = TempDir::new().unwrap();
    let moody = Arc::new(Moody::default());
    let store = open_on(&home, Arc::new(moody.clone()), 1 << 20).unwrap();
    let target = own(2);
    put_edge(&store, &target, 0, 35);
    store.pin("session-2", digest(&target, 35));
    store.flush().unwrap();
    moody.set(|m| m.fails = Some(("write", io::ErrorKind::StorageFull)));
    put_edge(&store, &target, 35, 50);
    store.pin("session-2", digest(&target, 50));
    store.flush().unwrap();
    drop(store);
    let store = open(&home);
    assert_eq!(store.collect().unwrap(), Collected::default());
    assert_eq!(reach(&store, 2), 35);
}

/// The pin moved to the snapshot, and all that led to the turn before was nobody's.
#[test]
fn a_snapshot_whose_segment_could_not_be_written_does_not_let_go_of_what_was_before() {
    let home = TempDir::new().unwrap();
    let moody = Arc::new(Moody::default());
    let store = open_on(&home, Arc::new(moody.clone()), 1 << 20).unwrap();
    let target = own(2);
    put_edge(&store, &target, 0, 35);
    put_node(&store, &target, 35, SnapshotRole::Turn, Some("session-2"));
    store.pin("session-2", digest(&target, 35));
    store.flush().unwrap();
    moody.set(|m| m.fails = Some(("write", io::ErrorKind::StorageFull)));
    put_edge(&store, &target, 35, 50);
    store.flush().unwrap();
    moody.set(|m| m.fails = None);
    put_node(&store, &target, 50, SnapshotRole::Turn, Some("session-2"));
    store.pin("session-2", digest(&target, 50));
    drop(store);
    let store = open(&home);
    store.collect().unwrap();
    assert_eq!(reach(&store, 2), 35);
}

#[test]
fn a_file_that_cannot_be_removed_is_said_once_and_tried_again() {
    let home = TempDir::new().unwrap();
    talk(&open(&home), 2);
    let quota = open(&home).usage().bytes + one() / 4;
    let moody = Arc::new(Moody::default());
    let limits = StoreLimits {
        quota_bytes: Some(quota),
        ..super::limits()
    };
    let kv = home.path().join("kv");
    let store = Store::open_on(Arc::new(moody.clone()), &kv, model("f16"), limits).unwrap();
    moody.set(|m| m.fails = Some(("remove", io::ErrorKind::PermissionDenied)));
    talk(&store, 3);
    store.pin("session-3", digest(&own(3), 50));
    store.flush().unwrap();
    let notices = store.take_notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].text.contains("could not be removed"));
    assert_eq!([2, 3].map(|s| reach(&store, s)), [50, 50]);
    assert!(matches!(store.collect(), Err(Error::Folder { .. })));
    moody.set(|m| m.fails = None);
    store.pin("session-3", digest(&own(3), 50));
    store.flush().unwrap();
    assert!(store.usage().bytes <= quota);
    assert_eq!(reach(&store, 3), 50);
}

#[test]
fn three_hundred_sessions_stay_within_the_quota_at_every_turn() {
    let home = TempDir::new().unwrap();
    let quota = one() * 20;
    let mut draw = Draw(42);
    for round in 0..30 {
        // A new process each time: what earlier ones used is not in use.
        let store = open_with(&home, quota);
        for i in 0..10 {
            let seed = match draw.below(4) {
                0 if round > 0 => 2 + draw.below(round * 10) as i32,
                _ => 2 + round as i32 * 10 + i,
            };
            talk(&store, seed);
            store.flush().unwrap();
            assert!(store.usage().bytes <= quota);
            let total = store.with_index(|index, _| index.totals().bytes()).unwrap();
            assert_eq!(total, store.usage().bytes);
            assert_eq!(reach(&store, seed), 50);
        }
        assert_eq!(store.take_notices(), []);
    }
    // Leaf first: nothing that is left has lost what it stands on.
    let store = open(&home);
    let usage = store.usage();
    store.collect().unwrap();
    assert_eq!(store.usage(), usage);
}

#[test]
fn quarantine_is_bounded() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    for seed in 0..MOST_QUARANTINED as i32 + 10 {
        let target = text(seed, 10);
        put_edge(&store, &target, 0, 10);
        store.flush().unwrap();
        let edge = find(&store, &target).edges[0].clone();
        store.quarantine_edge(&edge, "on purpose");
        let name = crate::kv::record::files::name(
            crate::kv::record::format::RecordKind::Edge,
            edge.from,
            edge.to,
        );
        let aside = home.path().join("kv/quarantine");
        assert!(aside.join(name).exists(), "the newest stays");
        let count = std::fs::read_dir(aside).unwrap().count();
        assert_eq!(count, (seed as usize + 1).min(MOST_QUARANTINED));
    }
}

#[test]
fn a_rebuilt_index_holds_what_it_found_until_it_is_claimed() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    talk(&store, 2);
    talk(&store, 3);
    drop(store);
    std::fs::remove_file(home.path().join("kv/index.db")).unwrap();
    let store = open(&home);
    assert_eq!(store.collect().unwrap(), Collected::default());
    assert_eq!([2, 3].map(|s| reach(&store, s)), [50, 50]);
    // Session 2 pins again, goes on, and is removed; session 3 never came back.
    store.pin("session-2", digest(&own(2), 50));
    store.unpin("session-2");
    store.flush().unwrap();
    assert_eq!(store.collect().unwrap().files, 2);
    assert_eq!([2, 3].map(|s| reach(&store, s)), [20, 50]);
}

#[test]
fn what_is_of_least_use_gives_way_first_and_what_is_in_use_at_last() {
    let (home, store) = store();
    for seed in [2, 3, 4] {
        talk(&store, seed);
    }
    store.flush().unwrap();
    let changes = store.changes();
    let one = one();
    assert!(store.make_room(one) >= one);
    assert_eq!(
        [reach(&store, 2), reach(&store, 3), reach(&store, 4)],
        [20, 50, 50]
    );
    assert_ne!(store.changes(), changes, "boundaries are asked for again");
    let aside = home.path().join("kv/quarantine/old");
    std::fs::write(&aside, vec![0; 4096]).unwrap();
    assert!(store.make_room(4096) >= 4096);
    assert!(!aside.exists());
    assert_eq!([reach(&store, 3), reach(&store, 4)], [50, 50]);
    // Asked for more than there is: all of it goes.
    store.make_room(u64::MAX);
    assert_eq!(store.usage().bytes, 0);
    assert_eq!([2, 3, 4].map(|seed| reach(&store, seed)), [0, 0, 0]);
    assert_eq!(store.make_room(1), 0);
    let told = store.take_notices();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].text.contains("messages can be stored"), "{told:?}");
    // It goes on storing.
    talk(&store, 5);
    store.flush().unwrap();
    assert_eq!(reach(&store, 5), 50);
}

#[test]
fn kv_leaves_the_reserve_of_the_disk_alone() {
    let home = tempfile::tempdir().unwrap();
    let moody = Arc::new(Moody::default());
    let kv = home.path().join("kv");
    let store = Store::open_on(Arc::new(moody.clone()), &kv, model("f16"), limits()).unwrap();
    talk(&store, 2);
    talk(&store, 3);
    store.flush().unwrap();
    // Twice a thousand bytes are the reserve; the next record needs a little more.
    let space = Space {
        free: 2000,
        total: 8000,
    };
    moody.set(|mood| mood.space = Some(space));
    talk(&store, 4);
    store.flush().unwrap();
    assert_eq!(reach(&store, 4), 20, "only what all share is stored");
    assert!(reach(&store, 2) < 50, "what is of least use went for it");
    let told = store.take_notices();
    assert!(told[0].text.contains("kept for messages"), "{told:?}");
    moody.set(|mood| mood.space = None);
    talk(&store, 4);
    store.flush().unwrap();
    assert_eq!(reach(&store, 4), 50);
}
