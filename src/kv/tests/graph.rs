//! The graph: what a lookup finds, what is shared, what replaces what.

use super::*;

#[test]
fn what_was_put_is_found_and_read_back() {
    let (_home, store) = store();
    let target = text(1, 100);
    put_edge(&store, &target, 0, 60);
    put_edge(&store, &target, 60, 99);
    put_node(&store, &target, 60, SnapshotRole::Head, None);
    put_node(&store, &target, 99, SnapshotRole::Turn, Some("session"));
    store.flush().unwrap();

    let found = find(&store, &target);
    assert_eq!(cuts(&found), [(0, 60), (60, 99)]);
    assert_eq!(stops(&found), [60, 99]);
    assert_eq!(found.partial, None);
    for edge in &found.edges {
        let segment = store.read_segment(edge, &target).unwrap();
        assert_eq!((segment.p0, segment.p1), (edge.p0, edge.p1));
        assert_eq!(segment.payload, payload(&target, edge.p0, edge.p1));
        assert_eq!(segment.soft, store.fingerprint().soft_digest());
    }
    let head = store.read_snapshot(&found.nodes[0]).unwrap();
    assert_eq!((head.at, head.payload), (60, payload(&target, 60, 60)));
    assert_eq!(head.logits, Some(vec![60.0, -1.5, f32::MIN_POSITIVE]));
    let turn = store.read_snapshot(&found.nodes[1]).unwrap();
    assert_eq!((turn.at, turn.logits), (99, None));
    assert_eq!(
        (found.nodes[0].logits, found.nodes[1].logits),
        (true, false)
    );

    let sizes: u64 = records(&_home)
        .iter()
        .map(|p| p.metadata().unwrap().len())
        .sum();
    let usage = StoreUsage {
        edges: 2,
        nodes: 2,
        bytes: sizes,
        merged: 0,
    };
    assert_eq!(store.usage(), usage);
    assert_eq!(store.take_notices(), []);
}

#[test]
fn a_new_process_finds_what_an_old_one_put() {
    let (home, store) = store();
    let target = text(1, 50);
    put_edge(&store, &target, 0, 50);
    drop(store);
    let store = open(&home);
    assert_eq!(cuts(&find(&store, &target)), [(0, 50)]);
    assert_eq!(store.take_notices(), []);
}

#[test]
fn two_sessions_share_their_prefix_and_branch_after_it() {
    let (_home, store) = store();
    let mut a = text(1, 40);
    let mut b = a.clone();
    a.extend(text(2, 30));
    b.extend(text(3, 30));
    for target in [&a, &b] {
        put_edge(&store, target, 0, 40);
        put_edge(&store, target, 40, 70);
        put_node(&store, target, 40, SnapshotRole::Head, None);
    }
    store.flush().unwrap();
    assert_eq!((store.usage().edges, store.usage().nodes), (3, 1));
    for target in [&a, &b] {
        let found = find(&store, target);
        assert_eq!(cuts(&found), [(0, 40), (40, 70)]);
        assert_eq!(stops(&found), [40]);
        let own = store.read_segment(&found.edges[1], target).unwrap();
        assert_eq!(own.payload, payload(target, 40, 70));
    }
}

#[test]
fn equal_prefixes_with_other_cuts_are_both_usable() {
    let (_home, store) = store();
    let target = text(1, 90);
    for (p0, p1) in [(0, 30), (30, 60), (60, 90), (0, 60), (30, 80)] {
        put_edge(&store, &target, p0, p1);
    }
    store.flush().unwrap();
    let cut = |to: usize| cuts(&find(&store, &target[..to]));
    assert_eq!(cut(90), [(0, 60), (60, 90)], "as far, with fewer edges");
    assert_eq!(cut(89), [(0, 30), (30, 80)], "farther than 60");
    assert_eq!(cut(79), [(0, 60)]);
    assert_eq!(cut(59), [(0, 30)]);
    assert_eq!(cut(29), []);
}

#[test]
fn an_edge_out_of_reach_is_not_found() {
    let (_home, store) = store();
    let target = text(1, 90);
    put_edge(&store, &target, 30, 60);
    store.flush().unwrap();
    assert_eq!(find(&store, &target), StoredPrefix::default());
}

#[test]
fn a_prefix_that_ends_inside_an_edge_is_found_with_its_first_rows() {
    let (_home, store) = store();
    let a = text(1, 90);
    let mut b = a[..57].to_vec();
    b.extend(text(2, 40));
    put_edge(&store, &a, 0, 30);
    put_edge(&store, &a, 30, 90);
    store.flush().unwrap();

    let found = find(&store, &b);
    assert_eq!(cuts(&found), [(0, 30)]);
    let (edge, m) = found.partial.unwrap();
    assert_eq!((edge.p0, edge.p1, m), (30, 90, 57));
    let rows = store.read_first_rows(&edge, m, &b).unwrap();
    assert_eq!(rows.payload, payload(&a, 30, 90));
    assert!(
        store.read_first_rows(&edge, m + 1, &b).is_err(),
        "one row too many is another text"
    );
    assert!(store.read_segment(&edge, &b).is_err());

    // A target that is only shorter, not other.
    let found = find(&store, &a[..40]);
    let (edge, m) = found.partial.unwrap();
    assert_eq!((edge.p0, m), (30, 40));
    store.read_first_rows(&edge, m, &a[..40]).unwrap();
}

#[test]
fn an_edge_of_another_prefix_is_refused_though_its_own_tokens_are_equal() {
    let (_home, store) = store();
    let mut a = text(1, 20);
    let mut b = text(2, 20);
    a.extend(text(3, 20));
    b.extend(text(3, 20));
    put_edge(&store, &a, 0, 20);
    put_edge(&store, &a, 20, 40);
    store.flush().unwrap();
    let edge = find(&store, &a).edges[1].clone();
    let refused = store.read_segment(&edge, &b).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Refused {
                damage: Damage::Other("prefix"),
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(find(&store, &b), StoredPrefix::default());
}

#[test]
fn a_text_that_only_starts_and_ends_alike_is_not_found() {
    let (_home, store) = store();
    let text = |middle| [text(1, 30), text(middle, 30), text(4, 30)].concat();
    let (a, b) = (text(2), text(3));
    put_edge(&store, &a, 0, 90);
    put_node(&store, &a, 90, SnapshotRole::Step, None);
    store.flush().unwrap();
    let found = find(&store, &b);
    assert_eq!((cuts(&found), stops(&found)), (vec![], vec![]));
    assert_eq!(found.partial.unwrap().1, 30);
}

#[test]
fn putting_twice_stores_once() {
    let (home, store) = store();
    let target = text(1, 20);
    for _ in 0..3 {
        put_edge(&store, &target, 0, 20);
        put_node(&store, &target, 20, SnapshotRole::Step, None);
    }
    store.flush().unwrap();
    assert_eq!((store.usage().edges, store.usage().nodes), (1, 1));
    assert_eq!(records(&home).len(), 2);
    assert!(store.has_segment(digest(&target, 0), digest(&target, 20)));
    assert!(store.has_snapshot(digest(&target, 20)));
    assert!(!store.has_snapshot(digest(&target, 19)));
}

#[test]
fn a_turn_snapshot_replaces_its_owners_previous_one() {
    let (home, store) = store();
    let target = text(1, 100);
    for at in [20, 40, 60] {
        put_node(&store, &target, at, SnapshotRole::Turn, Some("a"));
        store.pin("a", digest(&target, at));
    }
    store.flush().unwrap();
    assert_eq!(stops(&find(&store, &target)), [60]);
    assert_eq!(records(&home).len(), 1);
}

#[test]
fn a_turn_snapshot_stays_while_someone_else_wants_it() {
    let (_home, store) = store();
    let target = text(1, 100);
    let turn = |at, owner| put_node(&store, &target, at, SnapshotRole::Turn, Some(owner));
    // 10 is a frozen head too, 20 is pinned by b, 30 is c's own turn, 40 belongs to a alone.
    put_node(&store, &target, 10, SnapshotRole::Head, None);
    store.pin("b", digest(&target, 20));
    turn(30, "c");
    for at in [10, 20, 30, 40, 50] {
        turn(at, "a");
    }
    store.flush().unwrap();
    assert_eq!(stops(&find(&store, &target)), [10, 20, 30, 50]);
    turn(60, "c");
    store.flush().unwrap();
    assert_eq!(stops(&find(&store, &target)), [10, 20, 50, 60]);
}

#[test]
fn points_of_an_owner_go_with_the_next_one_and_with_its_turn_and_heads_and_nobodys_stay() {
    let (_home, store) = store();
    let target = text(1, 100);
    let put = |at, role, owner| {
        put_node(&store, &target, at, role, owner);
        store.flush().unwrap();
        stops(&find(&store, &target))
    };
    put(10, SnapshotRole::Head, Some("a"));
    put(15, SnapshotRole::Step, None);
    put(18, SnapshotRole::Turn, Some("a"));
    assert_eq!(put(20, SnapshotRole::Step, Some("a")), [10, 15, 18, 20]);
    assert_eq!(put(30, SnapshotRole::Step, Some("a")), [10, 15, 18, 30]);
    assert_eq!(put(40, SnapshotRole::Turn, Some("a")), [10, 15, 40]);
}

#[test]
fn turns_before_are_thinned_by_their_distance() {
    let (home, store) = store();
    let target = text(1, 1000);
    put_node(&store, &target, 10, SnapshotRole::Head, None);
    let mut before = vec![10];
    for turn in 1..=20 {
        let at = 10 + 40 * turn;
        put_turn(&store, &target, &before, at, "a");
        before.push(at);
    }
    store.flush().unwrap();
    let back = |at: &usize| (810 - at) / 40;
    let found = stops(&find(&store, &target));
    assert_eq!(
        found.iter().map(back).collect::<Vec<_>>(),
        [20, 12, 8, 4, 2, 1, 0]
    );
    assert_eq!(records(&home).len(), found.len());
}

#[test]
fn of_a_way_that_was_left_the_last_turn_stays_until_there_is_another() {
    let (_home, store) = store();
    let way = |seed| [text(1, 40), text(seed, 60)].concat();
    put_turn(&store, &way(2), &[], 40, "a");
    put_turn(&store, &way(2), &[40], 60, "a");
    put_turn(&store, &way(2), &[40, 60], 80, "a");
    // Taken back to 40, and on another way.
    put_turn(&store, &way(3), &[40], 70, "a");
    store.flush().unwrap();
    assert_eq!(stops(&find(&store, &way(2))), [40, 80]);
    assert_eq!(stops(&find(&store, &way(3))), [40, 70]);
    put_turn(&store, &way(4), &[40], 90, "a");
    store.flush().unwrap();
    assert_eq!(stops(&find(&store, &way(2))), [40]);
    assert_eq!(stops(&find(&store, &way(3))), [40, 70]);
    assert_eq!(stops(&find(&store, &way(4))), [40, 90]);
}

#[test]
fn what_a_fork_came_over_stays_when_the_session_it_left_goes_on_or_goes() {
    let (_home, store) = store();
    let way = |seed| [text(1, 40), text(seed, 960)].concat();
    put_turn(&store, &way(2), &[], 30, "a");
    put_turn(&store, &way(2), &[30], 40, "a");
    put_turn(&store, &way(3), &[30, 40], 60, "fork");
    for at in (100..1000).step_by(100) {
        put_turn(&store, &way(2), &[30, 40], at, "a");
    }
    store.flush().unwrap();
    assert_eq!(stops(&find(&store, &way(3))), [30, 40, 60]);
    store.unpin("a");
    store.collect().unwrap();
    assert_eq!(stops(&find(&store, &way(3))), [30, 40, 60]);
}

#[test]
fn another_fingerprint_finds_nothing_and_can_say_why() {
    let (home, store) = store();
    let target = text(1, 20);
    put_edge(&store, &target, 0, 20);
    store.pin("session", digest(&target, 20));
    drop(store);

    let kv = home.path().join("kv");
    let other = Store::open(&kv, model("q8_0"), StoreLimits::default()).unwrap();
    let mut running = RunningDigest::new(other.fingerprint().hard);
    running.extend(&target);
    let whole = running.digest();
    let root = RunningDigest::new(other.fingerprint().hard).digest();
    let digests = |at: usize| if at == 0 { root } else { whole };
    assert_eq!(
        other.lookup(&target, &digests).unwrap(),
        StoredPrefix::default()
    );
    assert_eq!(
        other.why_nothing("session").unwrap(),
        "KV of this conversation was made with cache type f16, this run has q8_0"
    );
    assert_eq!(other.why_nothing("another session"), None);
    assert_eq!(other.usage(), StoreUsage::default());
    other.unpin("session");
    other.flush().unwrap();
    assert_eq!(other.why_nothing("session"), None);
}

#[test]
fn a_store_that_is_off_finds_nothing_and_takes_everything() {
    let store = Store::off();
    let target = text(1, 20);
    put_edge(&store, &target, 0, 20);
    put_node(&store, &target, 20, SnapshotRole::Turn, Some("a"));
    store.pin("a", digest(&target, 20));
    store.flush().unwrap();
    assert_eq!(find(&store, &target), StoredPrefix::default());
    assert_eq!(store.usage(), StoreUsage::default());
    assert_eq!(store.take_notices(), []);
}
