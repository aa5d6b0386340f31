//! Opening after things went wrong: lost or damaged index, crashed writes, wide permissions, a
//! folder that cannot be written.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// A folder with a chain of two edges and a turn, closed.
fn stored() -> (TempDir, Vec<Token>, StoredPrefix) {
    let (home, store) = store();
    let target = text(1, 60);
    put_edge(&store, &target, 0, 30);
    put_edge(&store, &target, 30, 60);
    put_node(&store, &target, 60, SnapshotRole::Turn, Some("a"));
    store.flush().unwrap();
    let found = find(&store, &target);
    (home, target, found)
}

/// Rows get new ids when they are made again; what they say must be the same.
fn same(found: &StoredPrefix, before: &StoredPrefix) {
    assert_eq!(cuts(found), cuts(before));
    assert_eq!(stops(found), stops(before));
    let bytes = |f: &StoredPrefix| f.edges.iter().map(|e| e.bytes).collect::<Vec<_>>();
    assert_eq!(bytes(found), bytes(before));
}

#[test]
fn a_deleted_index_is_rebuilt_from_the_files() {
    let (home, target, before) = stored();
    fs::remove_file(home.path().join("kv/index.db")).unwrap();
    let store = open(&home);
    same(&find(&store, &target), &before);
    let notices = store.take_notices();
    assert_eq!(notices.len(), 1);
    assert!(
        notices[0].text.contains("rebuilt from 3 files"),
        "{notices:?}"
    );
    // The turn is known again: the next one replaces it.
    put_edge(&store, &target, 0, 30);
    let mut longer = target.clone();
    longer.extend(text(2, 10));
    put_edge(&store, &longer, 60, 70);
    put_node(&store, &longer, 70, SnapshotRole::Turn, Some("a"));
    store.flush().unwrap();
    assert_eq!(stops(&find(&store, &longer)), [70]);
    assert_eq!(store.usage().edges, 3);
}

#[test]
fn a_damaged_index_is_set_aside_and_rebuilt() {
    let (home, target, before) = stored();
    let index = home.path().join("kv/index.db");
    let good = fs::read(&index).unwrap();
    let mut middle = good.clone();
    middle[5000..9000].fill(0x5a);
    for bad in [vec![0x5a; 300], b"not a database at all".to_vec(), middle] {
        fs::write(&index, bad).unwrap();
        let store = open(&home);
        same(&find(&store, &target), &before);
        let notices = store.take_notices();
        assert_eq!(notices.len(), 1);
        assert!(notices[0].text.contains("damaged"), "{notices:?}");
        assert!(home.path().join("kv/quarantine/index.db").exists());
    }
}

#[test]
fn an_index_of_another_schema_is_rebuilt() {
    let (home, target, before) = stored();
    let db = rusqlite::Connection::open(home.path().join("kv/index.db")).unwrap();
    db.pragma_update(None, "user_version", 77).unwrap();
    drop(db);
    same(&find(&open(&home), &target), &before);
}

#[test]
fn a_rebuild_sets_damaged_files_aside_and_keeps_the_rest() {
    let (home, target, _) = stored();
    fs::remove_file(home.path().join("kv/index.db")).unwrap();
    let folder = records(&home)[0].parent().unwrap().to_path_buf();
    let node = records(&home)
        .into_iter()
        .find(|p| p.extension().unwrap() == "node")
        .unwrap();
    fs::write(&node, b"npast-kv, but not really").unwrap();
    fs::write(folder.join("a stranger's file"), b"stays").unwrap();
    let store = open(&home);
    assert_eq!(cuts(&find(&store, &target)), [(0, 30), (30, 60)]);
    assert_eq!(stops(&find(&store, &target)), [] as [usize; 0]);
    assert_eq!(store.take_notices().len(), 2);
    assert!(folder.join("a stranger's file").exists());
}

#[test]
fn a_rebuild_by_another_model_brings_the_first_models_rows_back() {
    let (home, target, before) = stored();
    fs::remove_file(home.path().join("kv/index.db")).unwrap();
    let kv = home.path().join("kv");
    drop(Store::open(&kv, model("q8_0"), StoreLimits::default()).unwrap());
    let store = open(&home);
    same(&find(&store, &target), &before);
    assert_eq!(store.take_notices(), [], "the other run was told");
}

#[test]
fn a_crash_between_rename_and_row_loses_nothing() {
    let (home, target, before) = stored();
    let db = rusqlite::Connection::open(home.path().join("kv/index.db")).unwrap();
    db.execute_batch("DELETE FROM edge WHERE p0 = 30; DELETE FROM node;")
        .unwrap();
    drop(db);
    let store = open(&home);
    same(&find(&store, &target), &before);
    assert_eq!(store.take_notices(), []);
}

#[test]
fn a_row_without_its_file_is_dropped_at_open() {
    let (home, target, _) = stored();
    for path in records(&home) {
        fs::remove_file(path).unwrap();
    }
    let store = open(&home);
    assert_eq!(find(&store, &target), StoredPrefix::default());
    assert_eq!(store.usage(), StoreUsage::default());
}

#[test]
fn unfinished_files_are_swept_at_open_but_not_under_a_living_store() {
    let (home, _, _) = stored();
    let folder = records(&home)[0].parent().unwrap().to_path_buf();
    let left = folder.join("0123.edge.4567.0.tmp");
    let temporaries = || listed(&home, |n| n.ends_with(".tmp"));
    fs::write(&left, b"half").unwrap();
    let first = open(&home);
    assert_eq!(temporaries(), [] as [PathBuf; 0]);
    fs::write(&left, b"half").unwrap();
    let second = open(&home);
    assert_eq!(temporaries(), [left], "it may be the first store's");
    drop((first, second));
    drop(open(&home));
    assert_eq!(temporaries(), [] as [PathBuf; 0]);
}

#[test]
fn two_stores_at_once_see_each_others_work() {
    let (home, first) = store();
    let second = open(&home);
    let target = text(1, 60);
    put_edge(&first, &target, 0, 30);
    first.flush().unwrap();
    put_edge(&second, &target, 30, 60);
    second.flush().unwrap();
    for store in [&first, &second] {
        assert_eq!(cuts(&find(store, &target)), [(0, 30), (30, 60)]);
    }
}

/// Two processes evaluate the same long prompt at the same time. The slower one hands over what it
/// evaluated after rows that it is still to exchange for the faster one's: with the rows that are
/// stored before it, nobody comes to its bytes again, so it is stored without its runs.
#[test]
fn what_was_evaluated_after_rows_that_lost_a_race_is_not_said_to_be_evaluated_so() {
    let (home, faster) = store();
    let slower = open(&home);
    let target = text(1, 60);
    let put = |store: &Store, (p0, p1): (usize, usize), bytes: u8| {
        let run = TokenRun {
            start: p0,
            prompt: p1,
            end: p1,
            batch: 16,
        };
        let put = PutSegment {
            from: digest(&target, p0),
            to: digest(&target, p1),
            p0,
            p1,
            tokens: target[p0..p1].to_vec(),
            payload: vec![bytes; 40],
        };
        store.put_version(put, vec![run], 0);
        store.flush().unwrap();
    };
    put(&faster, (0, 20), 1);
    put(&slower, (0, 20), 2);
    put(&slower, (20, 40), 2);
    assert_eq!(slower.take_others(), [digest(&target, 20)]);
    // From here on it goes on from the stored rows.
    put(&slower, (40, 60), 1);
    let with_runs = |sampled: &SampledSegment| (sampled.edge.p1, sampled.runs.len());
    let mut seen: Vec<_> = slower.sampled(10).unwrap().iter().map(with_runs).collect();
    seen.sort_unstable();
    assert_eq!(seen, [(20, 1), (40, 0), (60, 1)]);
}

#[test]
fn folders_and_files_are_private_whatever_the_umask_and_whatever_they_were() {
    // The umask is the process's: no other test depends on it, and 0 takes nothing away from them.
    let before = rustix::process::umask(rustix::fs::Mode::empty());
    let (home, _, _) = stored();
    let kv = home.path().join("kv");
    let widen = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    widen(&kv, 0o777).unwrap();
    widen(&kv.join("index.db"), 0o666).unwrap();
    let store = open(&home);
    put_edge(&store, &text(2, 9), 0, 9);
    store.flush().unwrap();

    rustix::process::umask(before);

    let mut seen = 0;
    let mut open = vec![kv];
    while let Some(path) = open.pop() {
        let meta = path.metadata().unwrap();
        let wanted = if meta.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(meta.permissions().mode() & 0o777, wanted, "{path:?}");
        if meta.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
        seen += 1;
    }
    // kv, two locks, index and its two journals, v1, the model's folder with facts, soft and four
    // records, quarantine.
    assert_eq!(seen, 15);
}

#[test]
fn a_folder_that_cannot_be_written_is_said_at_open() {
    let home = TempDir::new().unwrap();
    let moody = Arc::new(Moody::default());
    moody.set(|m| m.fails = Some(("create", io::ErrorKind::ReadOnlyFilesystem)));
    let error = open_on(&home, Arc::new(moody), 1 << 20).err().unwrap();
    assert!(matches!(error, Error::Folder { .. }), "{error}");

    // A file where the folder should be; unlike permissions, this stops root too.
    let file = home.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = Store::open(&file.join("kv"), model("f16"), StoreLimits::default())
        .err()
        .unwrap();
    assert!(matches!(error, Error::Folder { .. }), "{error}");
}
