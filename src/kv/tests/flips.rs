//! An index of which any page is damaged, before it is opened or while it is in use: it is made anew
//! from the records, saving goes on in the same run, and all that is on disk is found.

use std::fs;
use std::os::unix::fs::FileExt;

use super::days::copy;
use super::*;

const PAGE: usize = 4096;
const END: usize = 240;

/// Sessions of two models, with rows of every table.
fn fill(home: &TempDir) {
    for (print, seeds) in [(model("f16"), [1, 2]), (model("q8_0"), [3, 4])] {
        let store = Store::open(&home.path().join("kv"), print.clone(), limits()).unwrap();
        for seed in seeds {
            let target = session(seed);
            let at = |p: usize| of(&print, &target, p);
            let owner = format!("session-{seed}");
            let mut before = Vec::new();
            for p1 in (20..=END).step_by(20) {
                put(&store, &print, &target, p1 - 20, p1);
                if p1 % 60 == 0 {
                    put_state(&store, &print, &target, &before, p1, &owner);
                    before.push((p1, at(p1)));
                    store.pin(&owner, at(p1));
                    store.put_sample(&owner, at(p1), vec![1.0; 64]);
                    store.agree(&owner, at(p1));
                }
            }
        }
        store.flush().unwrap();
        assert_eq!(store.take_notices(), []);
    }
}

/// The first 40 tokens are everybody's.
fn session(seed: i32) -> Vec<Token> {
    [text(9, 40), text(seed, 300)].concat()
}

fn of(print: &Fingerprint, target: &[Token], at: usize) -> Digest {
    let mut running = RunningDigest::new(print.hard);
    running.extend(&target[..at]);
    running.digest()
}

fn put(store: &Store, print: &Fingerprint, target: &[Token], p0: usize, p1: usize) {
    store.put_segment(PutSegment {
        from: of(print, target, p0),
        to: of(print, target, p1),
        p0,
        p1,
        tokens: target[p0..p1].to_vec(),
        payload: vec![p1 as u8; 100],
    });
}

fn put_state(
    store: &Store,
    print: &Fingerprint,
    target: &[Token],
    before: &[(usize, Digest)],
    at: usize,
    owner: &str,
) {
    store.put_snapshot(PutSnapshot {
        at,
        digest: of(print, target, at),
        tail: target[..at].to_vec(),
        payload: vec![at as u8; 50].into(),
        logits: Some(vec![1.0]),
        role: SnapshotRole::Turn,
        owner: Some(owner),
        past: Past {
            nodes: before.to_vec(),
            kv_bytes: None,
        },
    });
}

/// How far a session reaches, and that all of it can be read.
fn reach(store: &Store, print: &Fingerprint, seed: i32) -> (usize, usize) {
    let target = session(seed);
    let found = store.lookup(&target, &|p| of(print, &target, p));
    let found = found.unwrap_or_else(|error| panic!("{error}: {:?}", store.take_notices()));
    for edge in &found.edges {
        store.read_segment(edge, &target).unwrap();
    }
    for node in &found.nodes {
        store.read_snapshot(node).unwrap();
    }
    let nodes = found.nodes.last().map_or(0, |n| n.at);
    (found.edges.last().map_or(0, |e| e.p1), nodes)
}

/// What a slot does: a session goes on by one segment, and what is missing of it is put again.
fn goes_on(store: &Store, seed: i32) {
    let (print, target) = (model("f16"), session(seed));
    let (at, end) = (|p: usize| of(&print, &target, p), END + 20);
    let before = store.changes();
    put(store, &print, &target, END, end);
    put_state(store, &print, &target, &[], end, "session-1");
    store.pin("session-1", at(end));
    store.flush().unwrap();
    if store.changes() != before && !store.is_whole(at(end)) {
        for p1 in (20..=end).step_by(20) {
            put(store, &print, &target, p1 - 20, p1);
        }
        put_state(store, &print, &target, &[], end, "session-1");
        store.pin("session-1", at(end));
        store.flush().unwrap();
    }
}

/// At most one notice, and that the index is made anew.
fn said(what: &str, notices: &[KvNotice]) -> usize {
    let anew = |n: &KvNotice| n.text.contains("index was damaged; it is rebuilt");
    assert!(notices.iter().all(anew), "{what}: {notices:?}");
    assert!(notices.len() <= 1, "{what}: {notices:?}");
    notices.len()
}

/// Everything that `npast kv` and the sessions' commands do.
fn commands(what: &str, home: &TempDir) {
    let kv = home.path().join("kv");
    let folder = KvFolder::open(&kv, limits()).expect(what).unwrap();
    let status = folder.status().expect(what);
    let edges: u64 = status.iter().map(|m| m.edges).sum();
    assert_eq!(
        edges, 45,
        "{what}: two are everybody's, ten each, and one more"
    );
    assert_eq!(folder.verify().expect(what).bad, [], "{what}");
    folder.shelf().expect(what);
    folder.hold("session-9", &session(2), END).expect(what);
    assert_eq!(
        folder.forget("session-9", &[]).expect(what),
        Collected::default(),
        "{what}"
    );
    match folder.collect() {
        Ok(done) => assert_eq!(done, Collected::default(), "{what}: all is held"),
        Err(Error::Busy) => {}
        Err(other) => panic!("{what}: {other}"),
    }
    assert_eq!(folder.take_notices(), [], "{what}");
}

/// All that was put is found, by a store of either model.
fn all_is_found(what: &str, home: &TempDir, first_end: usize) {
    for (print, seeds) in [(model("f16"), [1, 2]), (model("q8_0"), [3, 4])] {
        let store = Store::open(&home.path().join("kv"), print.clone(), limits()).expect(what);
        for seed in seeds {
            let end = if seed == 1 { first_end } else { END };
            assert_eq!(reach(&store, &print, seed), (end, end), "{what}: {seed}");
        }
        assert_eq!(store.take_notices(), [], "{what}");
    }
}

/// In memory, where there is such a place.
fn place() -> TempDir {
    TempDir::new_in("/dev/shm")
        .or_else(|_| TempDir::new())
        .unwrap()
}

/// Ways to damage a page: a name, where in it, and what is there then.
fn damages(page: usize) -> Vec<(String, usize, Vec<u8>)> {
    let start = page * PAGE;
    let mut all = vec![(format!("page {page} of noise"), start, noise(page, PAGE))];
    let spread = [0, 1, 3, 5, 8, 9, 18, 19, 24, 28, 44, 56, 60, 100, 107];
    let offsets: Vec<usize> = match page {
        0 => spread
            .into_iter()
            .chain([300, 900, 2000, 3500, 4000])
            .collect(),
        _ => [1, 4, 8, 11]
            .into_iter()
            .chain((0..4).map(|i| 600 + i * 900 + page * 37 % 800))
            .collect(),
    };
    for offset in offsets {
        all.push((
            format!("page {page} at {offset}"),
            start + offset,
            Vec::new(),
        ));
    }
    all
}

fn noise(seed: usize, len: usize) -> Vec<u8> {
    let mut draw = Draw(seed as u64 + 77);
    (0..len).map(|_| draw.below(256) as u8).collect()
}

/// Writes over a part of the index; without bytes the bits there are turned.
fn spoil(home: &TempDir, at: usize, bytes: &[u8]) {
    let path = home.path().join("kv/index.db");
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut there = [0];
    file.read_exact_at(&mut there, at as u64).unwrap();
    match bytes.is_empty() {
        true => file.write_all_at(&[there[0] ^ 0x41], at as u64).unwrap(),
        false => file.write_all_at(bytes, at as u64).unwrap(),
    }
    // Closing it would take this process's locks on the index away, which SQLite relies on.
    std::mem::forget(file);
}

fn pages(home: &TempDir) -> usize {
    fs::metadata(home.path().join("kv/index.db")).unwrap().len() as usize / PAGE
}

#[test]
fn whatever_is_damaged_in_an_index_before_it_is_opened_nothing_is_off_for_good() {
    let whole = place();
    fill(&whole);
    assert!(pages(&whole) > 15, "{} pages", pages(&whole));
    let mut made_anew = 0;
    for page in 0..pages(&whole) {
        for (i, (what, at, bytes)) in damages(page).into_iter().enumerate() {
            let home = place();
            copy(&whole.path().join("kv"), &home.path().join("kv"));
            spoil(&home, at, &bytes);
            // A command comes first, or a session.
            if (page + i) % 3 == 0 {
                let folder = KvFolder::open(&home.path().join("kv"), limits())
                    .expect(&what)
                    .unwrap();
                made_anew += said(&what, &folder.take_notices());
                assert_eq!(folder.verify().expect(&what).bad, [], "{what}");
            }
            let store = Store::open(&home.path().join("kv"), model("f16"), limits()).expect(&what);
            let ends = [1, 2].map(|seed| reach(&store, &model("f16"), seed));
            assert_eq!(ends, [(END, END); 2], "{what}");
            goes_on(&store, 1);
            assert_eq!(reach(&store, &model("f16"), 1).0, END + 20, "{what}");
            made_anew += said(&what, &store.take_notices());
            drop(store);
            commands(&what, &home);
            all_is_found(&what, &home, END + 20);
        }
    }
    assert!(made_anew > pages(&whole), "{made_anew}");
}

/// Pages are read from the file again, as those are that did not fit.
fn forget_pages(store: &Store) {
    let forget = "PRAGMA shrink_memory";
    store.with_index(|index, _| index.db().execute_batch(forget).unwrap());
    store.with_reader(|index| index.db().execute_batch(forget).unwrap());
}

#[test]
fn whatever_is_damaged_in_an_index_while_it_is_in_use_saving_goes_on_in_the_same_run() {
    let whole = place();
    fill(&whole);
    let mut made_anew = 0;
    for page in 0..pages(&whole) {
        for (what, at, bytes) in damages(page).into_iter().step_by(3) {
            let noise = !bytes.is_empty();
            let home = place();
            copy(&whole.path().join("kv"), &home.path().join("kv"));
            let kv = home.path().join("kv");
            let store = Store::open(&kv, model("f16"), limits()).unwrap();
            let folder = KvFolder::open(&kv, limits()).unwrap().unwrap();
            spoil(&home, at, &bytes);
            forget_pages(&store);
            let asked_first = [1, 2].map(|seed| reach(&store, &model("f16"), seed));
            goes_on(&store, 1);
            if noise {
                // A page that says nothing is met by whoever needs it: the answers are right at once.
                assert_eq!(asked_first, [(END, END); 2], "{what}");
                assert_eq!(reach(&store, &model("f16"), 1).0, END + 20, "{what}");
            }
            folder.status().expect(&what);
            assert_eq!(folder.verify().expect(&what).bad, [], "{what}");
            let told = [store.take_notices(), folder.take_notices()].concat();
            made_anew += said(&what, &told);
            drop((store, folder));
            // What was only turned is met by the next start at the latest.
            let next = KvFolder::open(&kv, limits()).expect(&what).unwrap();
            made_anew += said(&what, &next.take_notices());
            drop(next);
            commands(&what, &home);
            all_is_found(&what, &home, END + 20);
        }
    }
    assert!(made_anew > pages(&whole) / 2, "{made_anew}");
}

#[test]
fn two_processes_that_have_a_damaged_index_open_go_on_with_one_that_is_made_once() {
    let whole = place();
    fill(&whole);
    for page in 0..pages(&whole) {
        let what = format!("page {page}");
        let home = place();
        copy(&whole.path().join("kv"), &home.path().join("kv"));
        let kv = home.path().join("kv");
        let prints = [model("f16"), model("q8_0")];
        let stores = prints
            .clone()
            .map(|print| Store::open(&kv, print, limits()).unwrap());
        spoil(&home, page * PAGE, &noise(page, PAGE));
        stores.iter().for_each(forget_pages);
        let working: Vec<_> = stores
            .iter()
            .zip(&prints)
            .zip([[1, 2], [3, 4]])
            .map(|((store, print), seeds)| {
                let (store, print) = (store.clone(), print.clone());
                std::thread::spawn(move || {
                    let ends = seeds.map(|seed| reach(&store, &print, seed));
                    if seeds[0] == 1 {
                        goes_on(&store, 1);
                    }
                    let target = session(seeds[1]);
                    store.pin("session-x", of(&print, &target, END));
                    store.flush().unwrap();
                    ends
                })
            })
            .collect();
        for work in working {
            assert_eq!(work.join().unwrap(), [(END, END); 2], "{what}");
        }
        let told: Vec<KvNotice> = stores.iter().flat_map(Store::take_notices).collect();
        let met = said(&what, &told);
        drop(stores);
        // A page that neither of them needed is met by the next start.
        let next = KvFolder::open(&kv, limits()).expect(&what).unwrap();
        assert!(
            met + said(&what, &next.take_notices()) <= 1,
            "{what}: made once"
        );
        drop(next);
        commands(&what, &home);
        all_is_found(&what, &home, END + 20);
    }
}

#[test]
fn an_index_that_a_killed_process_left_empty_is_filled_at_the_next_start() {
    let home = place();
    fill(&home);
    fs::write(home.path().join("kv/index.db"), "").unwrap();
    let store = Store::open(&home.path().join("kv"), model("f16"), limits()).unwrap();
    let told = store.take_notices();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].text.contains("rebuilt"), "{told:?}");
    goes_on(&store, 1);
    assert_eq!(
        store.collect().unwrap(),
        Collected::default(),
        "all of it is held"
    );
    drop(store);
    commands("empty", &home);
    all_is_found("empty", &home, END + 20);
}

/// A length that is wrong in a row made a collection think that there was no room.
#[test]
fn a_length_in_the_index_that_is_not_the_files_is_put_right_at_the_next_start() {
    let home = place();
    fill(&home);
    let db = rusqlite::Connection::open(home.path().join("kv/index.db")).unwrap();
    // No trigger sees an update, as none sees a turned bit.
    db.execute_batch(
        "UPDATE edge SET bytes = bytes + (1 << 39) WHERE p0 = 100;
         UPDATE node SET bytes = 1 WHERE at = 240;",
    )
    .unwrap();
    drop(db);
    let store = Store::open(&home.path().join("kv"), model("f16"), limits()).unwrap();
    let (total, mine) =
        store.with_index(|i, m| (i.totals().bytes().unwrap(), i.usage(m).unwrap().bytes));
    assert!(total < 100_000 && mine < total, "{total} {mine}");
    goes_on(&store, 1);
    assert_eq!(store.take_notices(), []);
    drop(store);
    commands("lengths", &home);
    all_is_found("lengths", &home, END + 20);
}
