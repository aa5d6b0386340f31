//! Merging: what becomes one file, what stays, and what others find afterwards.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::*;

/// Joins payloads of [`rows`].
pub(super) struct Rows;

impl JoinPayloads for Rows {
    fn join(&self, parts: &[PayloadPart<'_>]) -> Option<Vec<u8>> {
        let neighbours = parts.windows(2).all(|p| p[0].p1 == p[1].p0);
        let whole = |p: &PayloadPart<'_>| p.payload.len() == 12 * (p.p1 - p.p0);
        (neighbours && parts.iter().all(whole))
            .then(|| parts.iter().flat_map(|p| p.payload).copied().collect())
    }

    fn cut(&self, whole: &PayloadPart<'_>, a: usize, b: usize) -> Option<Vec<u8>> {
        let (from, to) = (a.checked_sub(whole.p0)?, b.checked_sub(whole.p0)?);
        whole.payload.get(12 * from..12 * to).map(<[u8]>::to_vec)
    }
}

/// A payload that can be joined: twelve bytes for each position.
pub(super) fn rows(target: &[Token], p0: usize, p1: usize) -> Vec<u8> {
    let row = |p: usize| {
        [
            (p as u64).to_le_bytes().to_vec(),
            target[p].0.to_le_bytes().to_vec(),
        ]
    };
    (p0..p1).flat_map(row).flatten().collect()
}

pub(super) fn put_rows(store: &Store, target: &[Token], p0: usize, p1: usize) {
    store.put_segment(PutSegment {
        from: digest(target, p0),
        to: digest(target, p1),
        p0,
        p1,
        tokens: target[p0..p1].to_vec(),
        payload: rows(target, p0, p1),
    });
}

/// A head of 20 tokens and `turns` of four, each pinned for `owner`.
pub(super) fn talk(store: &Store, owner: &str, target: &[Token], turns: usize) -> usize {
    put_rows(store, target, 0, 20);
    let mut end = 20;
    for _ in 0..turns {
        put_rows(store, target, end, end + 4);
        end += 4;
        store.pin(owner, digest(target, end));
    }
    end
}

fn merging() -> (TempDir, Store) {
    let (home, store) = store();
    store.merge_with(Arc::new(Rows));
    (home, store)
}

/// Every edge of a chain is what it was.
pub(super) fn reads(store: &Store, target: &[Token], found: &StoredPrefix) {
    for edge in &found.edges {
        let segment = store.read_segment(edge, target).unwrap();
        assert_eq!(segment.payload, rows(target, edge.p0, edge.p1));
    }
}

#[test]
fn a_hundred_small_segments_become_one_that_reads_the_same() {
    let (home, store) = merging();
    let target = text(1, 500);
    let end = talk(&store, "a", &target, 100);
    store.flush().unwrap();
    assert_eq!(find(&store, &target).edges.len(), 101);
    let merged = store.merge().unwrap();
    let found = find(&store, &target);
    assert_eq!(
        cuts(&found),
        [(0, 20), (20, end)],
        "the head stays by itself"
    );
    reads(&store, &target, &found);
    let bytes = found.edges[1].bytes;
    let expected = Merged {
        replaced: 100,
        written: 1,
        bytes,
    };
    assert_eq!(merged, expected);
    assert_eq!(store.usage().merged, bytes);
    assert_eq!(records(&home).len(), 2, "the parts are gone");
    assert_eq!(store.merge().unwrap(), Merged::default());
    assert_eq!(
        store.collect().unwrap(),
        Collected::default(),
        "all of it is held"
    );
    drop(store);

    let store = open(&home);
    let found = find(&store, &target);
    assert_eq!(cuts(&found), [(0, 20), (20, end)]);
    reads(&store, &target, &found);
    assert_eq!(
        (store.usage().merged, store.take_notices()),
        (bytes, vec![])
    );
    // A prefix that ends inside takes the first rows.
    let (edge, m) = find(&store, &target[..90]).partial.unwrap();
    assert_eq!((edge.p0, edge.p1, m), (20, end, 90));
    store.read_first_rows(&edge, m, &target[..90]).unwrap();
    drop(store);
    let folder = KvFolder::open(&home.path().join("kv"), StoreLimits::default());
    assert_eq!(folder.unwrap().unwrap().verify().unwrap().bad, []);
}

/// `put_rows` with the runs of a message and a reply.
fn put_turn_of(store: &Store, target: &[Token], p0: usize, start: usize, p1: usize) {
    let run = TokenRun {
        start,
        prompt: p1 - 1,
        end: p1,
        batch: 16,
    };
    let put = PutSegment {
        from: digest(target, p0),
        to: digest(target, p1),
        p0,
        p1,
        tokens: target[p0..p1].to_vec(),
        payload: rows(target, p0, p1),
    };
    store.put_segment_of(put, vec![run]);
}

#[test]
fn what_is_merged_can_be_evaluated_again_as_its_parts_could() {
    let (home, store) = merging();
    let target = text(1, 500);
    let run = |start: usize, end: usize| TokenRun {
        start,
        prompt: end - 1,
        end,
        batch: 16,
    };
    put_turn_of(&store, &target, 0, 0, 20);
    // Twenty turns; the append of the sixth is cut at a boundary, and goes on in its next segment.
    let mut expected = Vec::new();
    for turn in 0..20 {
        let p0 = 20 + 4 * turn;
        let start = if turn == 6 { p0 - 4 } else { p0 };
        put_turn_of(&store, &target, p0, start, p0 + 4);
        if turn != 5 {
            expected.push(run(start, p0 + 4));
        }
    }
    store.pin("a", digest(&target, 100));
    assert_eq!(store.merge().unwrap().replaced, 20);
    // Those of another conversation are not known for one of its parts: of the whole, then.
    let other = text(2, 500);
    put_turn_of(&store, &other, 0, 0, 20);
    for p0 in (20..60).step_by(4) {
        match p0 {
            40 => put_rows(&store, &other, p0, p0 + 4),
            _ => put_turn_of(&store, &other, p0, p0, p0 + 4),
        }
    }
    store.pin("b", digest(&other, 60));
    assert_eq!(store.merge().unwrap().replaced, 10);
    let sampled = store.sampled(100).unwrap();
    let runs: Vec<_> = sampled
        .iter()
        .filter(|s| s.edge.p0 == 20)
        .map(|s| {
            (
                s.edge.p1,
                s.runs.iter().filter(|r| r.end > 20).copied().collect(),
            )
        })
        .collect();
    assert_eq!(runs, [(60, vec![]), (100, expected)]);
    for target in [&target, &other] {
        reads(&store, target, &find(&store, target));
    }
    drop(store);
    let folder = KvFolder::open(&home.path().join("kv"), StoreLimits::default());
    assert_eq!(folder.unwrap().unwrap().verify().unwrap().bad, []);
}

#[test]
fn what_somebody_needs_at_a_joint_is_not_merged_over() {
    let (_home, store) = merging();
    let target = text(1, 500);
    talk(&store, "a", &target, 100);
    // Another session goes on from 60, a snapshot stands at 180, somebody holds 300.
    let other = [&target[..60], &text(2, 40)].concat();
    put_rows(&store, &other, 60, 100);
    store.pin("b", digest(&other, 100));
    put_node(&store, &target, 180, SnapshotRole::Step, None);
    store.pin("c", digest(&target, 300));
    store.pin("a", digest(&target, 420));
    // Put, and held by nobody yet.
    put_rows(&store, &target, 420, 424);
    store.merge().unwrap();
    let found = find(&store, &target);
    let expected = [
        (0, 20),
        (20, 60),
        (60, 180),
        (180, 300),
        (300, 420),
        (420, 424),
    ];
    assert_eq!(cuts(&found), expected);
    assert_eq!(stops(&found), [180]);
    reads(&store, &target, &found);
    let found = find(&store, &other);
    assert_eq!(cuts(&found), [(0, 20), (20, 60), (60, 100)]);
    reads(&store, &other, &found);
    assert_eq!(store.collect().unwrap(), Collected::default());
}

#[test]
fn a_boundary_that_was_merged_away_takes_nothing_more_and_its_owner_can_know() {
    let (_home, store) = merging();
    let target = text(1, 500);
    let end = talk(&store, "a", &target, 10);
    store.flush().unwrap();
    let before = store.changes();
    assert!(store.is_whole(digest(&target, 40)));
    store.merge().unwrap();
    assert!(store.changes().moved > before.moved);
    assert!(!store.is_whole(digest(&target, 40)));
    assert!(store.is_whole(digest(&target, end)));

    // A session that had [0, 40) in the slot all the while goes its own way.
    let other = [&target[..40], &text(2, 30)].concat();
    let before = store.changes();
    put_rows(&store, &other, 40, 70);
    store.flush().unwrap();
    assert!(
        store.changes().lost > before.lost,
        "it would hang in the air"
    );
    assert_eq!(store.usage().edges, 2);
    // So it stores from the last boundary that is there.
    put_rows(&store, &other, 20, 70);
    store.pin("b", digest(&other, 70));
    store.merge().unwrap();
    for (target, expected) in [(&target, (20, end)), (&other, (20, 70))] {
        let found = find(&store, target);
        assert_eq!(cuts(&found), [(0, 20), expected]);
        reads(&store, target, &found);
    }
    assert_eq!(store.take_notices(), []);
}

#[test]
fn what_was_found_before_a_merge_is_gone_with_its_row() {
    let (_home, store) = merging();
    let target = text(1, 500);
    talk(&store, "a", &target, 10);
    store.flush().unwrap();
    let before = find(&store, &target).edges.remove(3);
    store.merge().unwrap();
    let gone = store.read_segment(&before, &target).unwrap_err();
    let name = |e: &Error| {
        matches!(
            e,
            Error::Refused {
                damage: Damage::Gone,
                ..
            }
        )
    };
    assert!(name(&gone), "{gone}");
    assert!(!store.has_segment(before.from, before.to));
    assert_eq!(cuts(&find(&store, &target)), [(0, 20), (20, 60)]);
}

#[test]
fn a_damaged_part_is_set_aside_and_said_once_and_the_others_stay() {
    let (home, store) = merging();
    let target = text(1, 500);
    talk(&store, "a", &target, 20);
    store.flush().unwrap();
    let bad = find(&store, &target).edges.remove(12);
    let name = crate::kv::record::files::name(
        crate::kv::record::format::RecordKind::Edge,
        bad.from,
        bad.to,
    );
    let path = records(&home)
        .into_iter()
        .find(|p| p.ends_with(&name))
        .unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let before = store.changes();
    assert_eq!(store.merge().unwrap(), Merged::default());
    let notices = store.take_notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].text.contains("checksum"), "{notices:?}");
    assert!(
        store.changes().lost > before.lost,
        "its owner may store it again"
    );
    let found = find(&store, &target);
    assert_eq!(found.edges.last().unwrap().p1, bad.p0);
    reads(&store, &target, &found);
    put_rows(&store, &target, bad.p0, bad.p1);
    store.pin("a", digest(&target, 100));
    assert_eq!(store.merge().unwrap().replaced, 20);
    assert_eq!(cuts(&find(&store, &target)), [(0, 20), (20, 100)]);
    assert_eq!(store.take_notices(), []);
}

#[test]
fn parts_of_different_builds_or_of_no_known_layout_stay_apart() {
    let home = TempDir::new().unwrap();
    let target = text(1, 500);
    let kv = home.path().join("kv");
    let of = |threads: u32| {
        let print = Fingerprint::new(model("f16").facts, json!({"threads": threads}));
        let store = Store::open(&kv, print, super::limits()).unwrap();
        store.merge_with(Arc::new(Rows));
        store
    };
    talk(&of(2), "a", &target, 8);
    let store = of(3);
    for p0 in (52..84).step_by(4) {
        put_rows(&store, &target, p0, p0 + 4);
    }
    store.pin("a", digest(&target, 84));
    assert_eq!(store.merge().unwrap().written, 2);
    let found = find(&store, &target);
    assert_eq!(cuts(&found), [(0, 20), (20, 52), (52, 84)]);
    let soft = |i: usize| store.read_segment(&found.edges[i], &target).unwrap().soft;
    assert_eq!(soft(2), store.fingerprint().soft_digest());
    assert_ne!(soft(1), soft(2), "each keeps whose it is");
    // Payloads that cannot be joined.
    let other = text(3, 500);
    put_edge(&store, &other, 0, 20);
    for p0 in (20..60).step_by(4) {
        put_edge(&store, &other, p0, p0 + 4);
    }
    store.pin("b", digest(&other, 60));
    assert_eq!(store.merge().unwrap(), Merged::default());
    assert_eq!(find(&store, &other).edges.len(), 11);
    assert_eq!(store.take_notices(), []);
}

#[test]
fn a_merge_that_fails_is_not_told_as_something_that_was_not_saved() {
    let home = TempDir::new().unwrap();
    let moody = Arc::new(Moody::default());
    let store = open_on(&home, Arc::new(moody.clone()), 1 << 20).unwrap();
    store.merge_with(Arc::new(Rows));
    let target = text(1, 500);
    talk(&store, "a", &target, 10);
    store.flush().unwrap();
    moody.set(|m| m.fails = Some(("write", io::ErrorKind::StorageFull)));
    assert_eq!(store.merge().unwrap(), Merged::default());
    let notices = store.take_notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(
        notices[0].text.contains("could not be merged"),
        "{notices:?}"
    );
    assert!(notices[0].hint.contains("Nothing is lost"), "{notices:?}");
    // A turn that is not saved is another trouble, and told as one.
    put_rows(&store, &target, 60, 64);
    store.flush().unwrap();
    let notices = store.take_notices();
    assert!(
        notices[0].text.contains("could not be saved"),
        "{notices:?}"
    );
    moody.set(|m| m.fails = None);
    store.pin("a", digest(&target, 60));
    assert_eq!(store.merge().unwrap().replaced, 10);
    assert_eq!(store.take_notices(), []);
}

/// Says how often it was asked.
struct Counting(Arc<AtomicU64>);

impl JoinPayloads for Counting {
    fn join(&self, parts: &[PayloadPart<'_>]) -> Option<Vec<u8>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Rows.join(parts)
    }

    fn cut(&self, whole: &PayloadPart<'_>, a: usize, b: usize) -> Option<Vec<u8>> {
        Rows.cut(whole, a, b)
    }
}

#[test]
fn it_is_done_one_by_one_when_idle_time_asks_for_it_and_after_the_next_start() {
    let home = TempDir::new().unwrap();
    let target = text(1, 500);
    talk(&open(&home), "a", &target, 30);
    let asked = Arc::new(AtomicU64::new(0));
    let store = open(&home);
    store.merge_with(Arc::new(Counting(asked.clone())));
    let one = |replaced| {
        let chain = store.merge_one().unwrap().unwrap();
        assert_eq!((&*chain.owner, chain.merged.replaced), ("a", replaced));
        assert!(chain.merged.bytes > 0);
        assert_eq!(store.merge_one().unwrap(), None);
    };
    one(30);
    assert_eq!(store.usage().edges, 2);
    for p0 in (140..180).step_by(4) {
        put_rows(&store, &target, p0, p0 + 4);
    }
    store.pin("a", digest(&target, 180));
    one(10);
    let found = find(&store, &target);
    assert_eq!(cuts(&found), [(0, 20), (20, 140), (140, 180)]);
    reads(&store, &target, &found);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn two_processes_that_merge_the_same_chain_end_with_one_file() {
    let home = TempDir::new().unwrap();
    let target = text(1, 500);
    let stores = [open(&home), open(&home)];
    let end = talk(&stores[0], "a", &target, 60);
    stores[0].flush().unwrap();
    std::thread::scope(|scope| {
        for store in &stores {
            scope.spawn(|| {
                store.merge_with(Arc::new(Rows));
                store.merge().unwrap();
            });
        }
    });
    for store in &stores {
        let found = find(store, &target);
        assert_eq!(cuts(&found), [(0, 20), (20, end)]);
        reads(store, &target, &found);
        assert_eq!(store.take_notices(), []);
    }
    assert_eq!(records(&home).len(), 2);
}
