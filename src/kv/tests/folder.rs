//! The folder without a model: status, verify, collect, forget.

use std::fs;

use super::*;

/// Sessions 2 and 3 share a head of 20 tokens; each has 30 of its own and a turn snapshot.
fn two() -> (TempDir, Vec<Token>, Vec<Token>) {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let own = |seed| [text(1, 20), text(seed, 30)].concat();
    for (owner, target) in [("session-2", own(2)), ("session-3", own(3))] {
        put_edge(&store, &target, 0, 20);
        put_edge(&store, &target, 20, 50);
        put_node(&store, &target, 20, SnapshotRole::Head, None);
        put_node(&store, &target, 50, SnapshotRole::Turn, Some(owner));
        store.pin(owner, digest(&target, 50));
    }
    (home, own(2), own(3))
}

fn folder(home: &TempDir) -> KvFolder {
    KvFolder::open(&home.path().join("kv"), StoreLimits::default())
        .unwrap()
        .unwrap()
}

fn restorable(home: &TempDir) -> Vec<(Option<String>, usize)> {
    let status = folder(home).status().unwrap();
    let owners = status[0].owners.iter();
    owners.map(|o| (o.owner.clone(), o.tokens)).collect()
}

fn size(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}

#[test]
fn looking_makes_no_folder() {
    let home = TempDir::new().unwrap();
    let kv = home.path().join("kv");
    assert!(
        KvFolder::open(&kv, StoreLimits::default())
            .unwrap()
            .is_none()
    );
    assert!(!kv.exists());
}

#[test]
fn status_tells_what_each_session_has_and_what_it_shares() {
    let (home, a, b) = two();
    let all: u64 = records(&home).iter().map(|p| size(p)).sum();
    let status = folder(&home).status().unwrap();
    assert_eq!(status.len(), 1);
    let model = &status[0];
    assert_eq!(model.facts["cache_type"], "f16");
    assert_eq!(model.hard, crate::kv::tests::model("f16").hard);
    assert_eq!((model.edges, model.nodes), (3, 3));
    assert_eq!((model.bytes, model.unreached), (all, 0));
    let store = open(&home);
    let bytes = |target: &[Token]| -> u64 {
        let found = find(&store, target);
        let edges: u64 = found.edges.iter().map(|e| e.bytes).sum();
        edges + found.nodes.iter().map(|n| n.bytes).sum::<u64>()
    };
    let shared = bytes(&a[..20]);
    let of = |owner: &str, target: &[Token]| OwnerStatus {
        owner: Some(owner.to_owned()),
        tokens: 50,
        bytes: bytes(target),
        shared,
    };
    assert_eq!(model.owners, [of("session-2", &a), of("session-3", &b)]);
}

#[test]
fn status_counts_what_can_be_restored_and_not_what_was_once_written() {
    let (home, a, _) = two();
    let store = open(&home);
    let found = find(&store, &a);
    // Without its snapshot the end is of no use to a model that needs one.
    store.quarantine_node(found.nodes.last().unwrap(), "on purpose");
    drop(store);
    let owner = |n: i32| Some(format!("session-{n}"));
    assert_eq!(restorable(&home), [(owner(2), 20), (owner(3), 50)]);
    let store = open(&home);
    store.quarantine_edge(&found.edges[0], "on purpose");
    drop(store);
    assert_eq!(restorable(&home), [(owner(2), 0), (owner(3), 0)]);
}

#[test]
fn a_removed_session_takes_with_it_what_no_one_else_shares() {
    let (home, a, b) = two();
    let store = open(&home);
    // It was undone, and written anew: the abandoned branch is its own too.
    let abandoned = [&a[..50], &text(9, 10)].concat();
    put_edge(&store, &abandoned, 50, 60);
    drop(store);
    let own: u64 = {
        let store = open(&home);
        let found = find(&store, &abandoned);
        assert_eq!(cuts(&found), [(0, 20), (20, 50), (50, 60)]);
        let edges = found.edges.iter().filter(|e| e.p0 >= 20).map(|e| e.bytes);
        let nodes = found.nodes.iter().filter(|n| n.at > 20).map(|n| n.bytes);
        edges.chain(nodes).sum()
    };
    let collected = folder(&home).forget("session-2", &a).unwrap();
    assert_eq!(
        collected,
        Collected {
            files: 3,
            bytes: own
        }
    );
    let store = open(&home);
    assert_eq!(cuts(&find(&store, &a)), [(0, 20)]);
    assert_eq!(cuts(&find(&store, &b)), [(0, 20), (20, 50)]);
    drop(store);
    folder(&home).forget("session-3", &b).unwrap();
    assert_eq!(records(&home), [] as [PathBuf; 0], "nobody is left");
    let nobody = folder(&home).forget("session-77", &[]).unwrap();
    assert_eq!(nobody, Collected::default());
}

#[test]
fn a_removed_session_leaves_nothing_in_quarantine() {
    let (home, a, _) = two();
    let store = open(&home);
    store.quarantine_edge(&find(&store, &a).edges[1], "on purpose");
    drop(store);
    let aside = || {
        let quarantine = home.path().join("kv/quarantine");
        fs::read_dir(quarantine).unwrap().count()
    };
    assert_eq!(aside(), 1);
    folder(&home).forget("session-2", &a).unwrap();
    assert_eq!(aside(), 0);
}

#[test]
fn a_session_is_forgotten_also_by_an_index_that_does_not_know_it() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let own = |seed| [text(1, 20), text(seed, 30)].concat();
    for target in [own(2), own(3)] {
        put_edge(&store, &target, 0, 20);
        put_edge(&store, &target, 20, 50);
    }
    drop(store);
    fs::remove_file(home.path().join("kv/index.db")).unwrap();
    // It holds both in nobody's name; the ledger says which was the session's.
    assert_eq!(restorable(&home), [(None, 50), (None, 50)]);
    assert_eq!(folder(&home).forget("session-2", &own(2)).unwrap().files, 1);
    let store = open(&home);
    assert_eq!(cuts(&find(&store, &own(2))), [(0, 20)]);
    assert_eq!(cuts(&find(&store, &own(3))), [(0, 20), (20, 50)]);
}

#[test]
fn collecting_waits_until_nobody_else_uses_the_folder() {
    let (home, a, _) = two();
    let store = open(&home);
    let branch = [&a[..20], &text(9, 10)].concat();
    put_edge(&store, &branch, 20, 30);
    store.flush().unwrap();
    assert!(matches!(folder(&home).collect(), Err(Error::Busy)));
    drop(store);
    assert_eq!(folder(&home).collect().unwrap().files, 1);
    assert_eq!(folder(&home).collect().unwrap(), Collected::default());
}

#[test]
fn a_sound_folder_is_verified_to_the_last_byte() {
    let (home, ..) = two();
    let verified = folder(&home).verify().unwrap();
    let all: u64 = records(&home).iter().map(|p| size(p)).sum();
    assert_eq!((verified.files, verified.bytes), (6, all));
    assert_eq!(verified.bad, []);
}

#[test]
fn verify_sets_aside_what_is_damaged_and_nothing_else() {
    let (home, ..) = two();
    let paths = records(&home);
    let good: Vec<_> = paths.iter().map(|p| fs::read(p).unwrap()).collect();
    for (i, path) in paths.iter().enumerate() {
        let mut bad = good[i].clone();
        *bad.last_mut().unwrap() ^= 1;
        fs::write(path, bad).unwrap();
        let verified = folder(&home).verify().unwrap();
        assert_eq!(verified.bad.len(), 1);
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(verified.bad[0].file.ends_with(name));
        assert_eq!(
            verified.bad[0].reason,
            "the checksum of its payload does not match"
        );
        assert!(verified.bad[0].aside);
        assert_eq!(verified.files, 5);
        assert!(!path.exists());
        assert!(home.path().join("kv/quarantine").join(name).exists());
        assert_eq!(folder(&home).verify().unwrap().bad, []);
        let status = folder(&home).status().unwrap();
        assert_eq!(status[0].edges + status[0].nodes, 5, "its row is gone");
        // A file that comes back is known again.
        fs::write(path, &good[i]).unwrap();
        assert_eq!(folder(&home).verify().unwrap().files, 6);
    }
}

#[test]
fn verify_finds_an_edge_whose_prefix_is_another_text() {
    let (home, store) = store();
    let (a, b) = (text(1, 20), text(2, 20));
    put_edge(&store, &a, 0, 20);
    // It says that it goes on from a; its digest is that of b's continuation.
    let whole = [&b[..], &text(3, 10)].concat();
    store.put_segment(PutSegment {
        from: digest(&a, 20),
        to: digest(&whole, 30),
        p0: 20,
        p1: 30,
        tokens: whole[20..].to_vec(),
        payload: vec![1],
    });
    drop(store);
    let verified = folder(&home).verify().unwrap();
    assert_eq!(verified.bad.len(), 1);
    assert!(verified.bad[0].reason.contains("digest"));
    assert_eq!(verified.files, 2);
}
