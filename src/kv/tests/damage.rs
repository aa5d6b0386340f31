//! Law 4 from below: a file that is not exactly what was written is refused, whatever was changed,
//! and before a length in it is believed.

use std::fs;

use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::*;
use crate::kv::record::format::{HEADER, Header, RecordKind, Sums};
use crate::kv::record::read;

/// One edge and one node with every section, and how to read each again.
struct Pair {
    home: TempDir,
    store: Store,
    target: Vec<Token>,
    edge: Edge,
    node: Node,
}

fn pair() -> Pair {
    pair_of(Vec::new(), SnapshotRole::Turn)
}

/// With a section of runs, and a point inside a long prefix.
fn long_pair() -> Pair {
    let runs = [(0, 32, 32), (32, 36, 40)].map(|(start, prompt, end)| TokenRun {
        start,
        prompt,
        end,
        batch: 16,
    });
    pair_of(runs.to_vec(), SnapshotRole::Step)
}

fn pair_of(runs: Vec<TokenRun>, role: SnapshotRole) -> Pair {
    let (home, store) = store();
    let target = text(1, 40);
    put_edge_of(&store, &target, 0, 40, runs);
    put_node(&store, &target, 40, role, Some("owner"));
    store.flush().unwrap();
    let found = find(&store, &target);
    Pair {
        edge: found.edges[0].clone(),
        node: found.nodes[0].clone(),
        home,
        store,
        target,
    }
}

impl Pair {
    /// Reads the record behind a path again.
    fn read(&self, path: &Path) -> Result<(), Error> {
        if path.extension().unwrap() == "edge" {
            self.store.read_segment(&self.edge, &self.target).map(drop)
        } else {
            self.store.read_snapshot(&self.node).map(drop)
        }
    }

    /// Puts `bytes` in place of a record; the damage that is found.
    fn damage(&self, path: &Path, bytes: &[u8]) -> Option<Damage> {
        fs::write(path, bytes).unwrap();
        match self.read(path) {
            Ok(()) => None,
            Err(Error::Refused { damage, .. }) => Some(damage),
            Err(other) => panic!("{other}"),
        }
    }
}

/// A file of each shape, each in a folder that reads it.
fn every_record() -> Vec<(Pair, PathBuf)> {
    let mut all = Vec::new();
    for make in [pair, long_pair] {
        for i in 0..2 {
            let pair = make();
            let path = records(&pair.home).remove(i);
            all.push((pair, path));
        }
    }
    all
}

#[test]
fn any_flipped_byte_is_refused() {
    for (pair, path) in every_record() {
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            let damage = pair.damage(&path, &bad);
            assert!(damage.is_some(), "byte {at} of {} bytes", good.len());
        }
        assert_eq!(pair.damage(&path, &good), None);
    }
}

#[test]
fn a_file_cut_anywhere_or_with_bytes_behind_it_is_refused() {
    for (pair, path) in every_record() {
        let good = fs::read(&path).unwrap();
        for len in 0..good.len() {
            assert!(pair.damage(&path, &good[..len]).is_some(), "cut at {len}");
        }
        let mut long = good.clone();
        long.push(0);
        let is = long.len() as u64;
        let said = good.len() as u64;
        assert_eq!(pair.damage(&path, &long), Some(Damage::Length { said, is }));
        assert_eq!(pair.damage(&path, &good), None);
    }
}

#[test]
fn a_file_is_refused_when_it_ends_or_goes_on_at_any_section() {
    for (pair, path) in every_record() {
        let good = fs::read(&path).unwrap();
        let count = |at: usize| u64::from_le_bytes(good[at..at + 8].try_into().unwrap()) as usize;
        let mut ends = vec![0, HEADER];
        for bytes in [count(128) * 4, count(152), count(144) * 4, count(136)] {
            ends.push(ends.last().unwrap() + bytes);
        }
        assert_eq!(ends.last(), Some(&good.len()));
        for end in ends {
            for cut in [end.saturating_sub(1), end, end + 1] {
                if cut < good.len() {
                    assert!(pair.damage(&path, &good[..cut]).is_some(), "cut at {cut}");
                }
            }
            // Bytes that push all later sections on; at the end they trail.
            for more in [1, 4, 4096] {
                let mut bad = good[..end].to_vec();
                bad.resize(end + more, 0);
                bad.extend_from_slice(&good[end..]);
                assert!(pair.damage(&path, &bad).is_some(), "{more} bytes at {end}");
            }
        }
        assert_eq!(pair.damage(&path, &good), None);
    }
}

#[test]
fn files_that_were_moved_to_another_model_are_refused_and_set_aside() {
    let (home, store) = store();
    let target = text(1, 40);
    put_edge(&store, &target, 0, 40);
    put_node(&store, &target, 40, SnapshotRole::Turn, Some("a"));
    drop(store);
    let kv = home.path().join("kv");
    let other = model("q8_0");
    let q8 = Store::open(&kv, other.clone(), StoreLimits::default()).unwrap();
    let at = |p: usize| {
        let mut running = RunningDigest::new(other.hard);
        running.extend(&target[..p]);
        running.digest()
    };
    q8.put_segment(PutSegment {
        from: at(0),
        to: at(40),
        p0: 0,
        p1: 40,
        tokens: target.clone(),
        payload: b"of q8_0".to_vec(),
    });
    q8.flush().unwrap();
    let own = crate::kv::record::files::name(RecordKind::Edge, at(0), at(40));
    let folder = kv.join("v1").join(&other.hard.hex()[..16]);
    let mine: Vec<PathBuf> = records(&home)
        .into_iter()
        .filter(|p| !p.starts_with(&folder))
        .collect();
    assert_eq!(mine.len(), 2);
    // Under the name of the other model's own edge: the header says whose it is.
    let edge = mine.iter().find(|p| p.extension().unwrap() == "edge");
    fs::copy(edge.unwrap(), folder.join(&own)).unwrap();
    let found = q8.lookup(&target, &at).unwrap();
    match q8.read_segment(&found.edges[0], &target) {
        Err(Error::Refused { damage, .. }) => assert_eq!(damage, Damage::Other("model")),
        other => panic!("{other:?}"),
    }
    drop(q8);
    // Under their own names, with an index that must be rebuilt: they go to quarantine, and one notice says so.
    for path in &mine {
        fs::copy(path, folder.join(path.file_name().unwrap())).unwrap();
    }
    fs::remove_file(kv.join("index.db")).unwrap();
    let q8 = Store::open(&kv, other.clone(), StoreLimits::default()).unwrap();
    assert_eq!(q8.lookup(&target, &at).unwrap(), StoredPrefix::default());
    let notices = q8.take_notices();
    let said = notices.iter().filter(|n| n.text.contains("quarantine"));
    assert_eq!(said.count(), 1, "{notices:?}");
    drop(q8);
    assert_eq!(cuts(&find(&open(&home), &target)), [(0, 40)]);
}

/// Sets a field of a header and makes its checksum right again.
fn forge(bytes: &[u8], at: usize, field: &[u8]) -> Vec<u8> {
    let mut forged = bytes.to_vec();
    forged[at..at + field.len()].copy_from_slice(field);
    let sum = xxh3_64(&forged[..HEADER - 8]);
    forged[HEADER - 8..HEADER].copy_from_slice(&sum.to_le_bytes());
    forged
}

#[test]
fn fields_no_writer_writes_are_refused_under_a_right_checksum() {
    let huge = u64::MAX.to_le_bytes();
    let wraps = (1u64 << 62).to_le_bytes();
    let fields: &[(usize, &[u8])] = &[
        (0, b"X"),
        (8, &[2]),
        (12, &[0]),
        (12, &[3]),
        (13, &[9]),
        (14, &[2]),
        (15, &[1]),
        (16, &[41]),
        (16, &huge),
        (24, &[29]),
        (24, &huge),
        (32, &[7; 32]),
        (64, &[7; 32]),
        (96, &[7; 32]),
        (128, &huge),
        (128, &wraps),
        (136, &huge),
        (136, &wraps),
        (144, &huge),
        (144, &wraps),
        (152, &huge),
        (152, &wraps),
        (160, &[7; 8]),
        (168, &[7; 8]),
        (176, &[7; 8]),
        (184, &[7; 8]),
        (224, &[1]),
        (247, &[1]),
    ];
    for (pair, path) in every_record() {
        let good = fs::read(&path).unwrap();
        for (at, field) in fields {
            let damage = pair.damage(&path, &forge(&good, *at, field));
            assert!(damage.is_some(), "field at {at} as {field:?}");
        }
        assert_eq!(pair.damage(&path, &good), None);
    }
}

#[test]
fn counts_above_the_limits_are_refused_as_such_before_anything_is_allocated() {
    let pair = pair();
    for path in records(&pair.home) {
        let good = fs::read(&path).unwrap();
        let edge = path.extension().is_some_and(|e| e == "edge");
        for (at, what, each) in [
            (128, "tokens", 4),
            (136, "payload bytes", 1),
            (144, "logits", 4),
            (152, if edge { "run bytes" } else { "owner bytes" }, 1),
        ] {
            // The file is said to be as long as the header promises: only the limit is left.
            let count = 1u64 << 40;
            let bad = forge(&good, at, &count.to_le_bytes());
            let old = u64::from_le_bytes(good[at..at + 8].try_into().unwrap());
            let len = good.len() as u64 + each * (count - old);
            match read::head(&mut &bad[..], len, &StoreLimits::default()) {
                Err(read::ReadFault::Damage(Damage::Limit { what: said, .. })) => {
                    assert_eq!(said, what)
                }
                other => panic!("{what}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_file_that_is_much_longer_than_its_row_says_is_refused_before_it_is_read() {
    let pair = pair();
    for path in records(&pair.home) {
        let good = fs::read(&path).unwrap();
        let old = u64::from_le_bytes(good[136..144].try_into().unwrap());
        // A hole of so many bytes, and a header that is right about it.
        let hole = 64 << 20;
        let forged = forge(&good, 136, &(old + hole).to_le_bytes());
        fs::write(&path, forged).unwrap();
        let said = good.len() as u64;
        let is = said + hole;
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_len(is).unwrap();
        match pair.read(&path) {
            Err(Error::Refused { damage, .. }) => assert_eq!(damage, Damage::Length { said, is }),
            other => panic!("{other:?}"),
        }
        assert_eq!(pair.damage(&path, &good), None);
    }
}

#[test]
fn a_file_under_anothers_name_is_refused() {
    let pair = pair();
    let paths = records(&pair.home);
    let files: Vec<_> = paths.iter().map(|p| fs::read(p).unwrap()).collect();
    for (path, other) in paths.iter().zip(files.iter().rev()) {
        assert_eq!(pair.damage(path, other), Some(Damage::Other("kind")));
    }
}

#[test]
fn two_edges_that_changed_places_are_refused() {
    let (home, store) = store();
    let target = text(1, 40);
    put_edge(&store, &target, 0, 20);
    put_edge(&store, &target, 20, 40);
    store.flush().unwrap();
    let found = find(&store, &target);
    let paths = records(&home);
    let files: Vec<_> = paths.iter().map(|p| fs::read(p).unwrap()).collect();
    fs::write(&paths[0], &files[1]).unwrap();
    fs::write(&paths[1], &files[0]).unwrap();
    for edge in &found.edges {
        let refused = store.read_segment(edge, &target).unwrap_err();
        assert!(
            matches!(
                refused,
                Error::Refused {
                    damage: Damage::Other("digest"),
                    ..
                }
            ),
            "{refused}"
        );
    }
}

#[test]
fn a_whole_file_with_other_tokens_inside_is_refused() {
    let pair = pair();
    let path = records(&pair.home)
        .into_iter()
        .find(|p| p.extension().unwrap() == "edge")
        .unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[HEADER] ^= 1;
    let sum = xxh3_64(&bytes[HEADER..HEADER + 160]);
    let forged = forge(&bytes, 160, &sum.to_le_bytes());
    assert_eq!(pair.damage(&path, &forged), Some(Damage::Other("text")));
}

#[test]
fn a_refused_file_is_set_aside_told_once_and_can_be_stored_again() {
    let pair = pair();
    for path in records(&pair.home) {
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let refused = pair
        .store
        .read_segment(&pair.edge, &pair.target)
        .unwrap_err();
    assert!(refused.is_damage());
    pair.store.quarantine_edge(&pair.edge, &refused.to_string());
    let refused = pair.store.read_snapshot(&pair.node).unwrap_err();
    pair.store.quarantine_node(&pair.node, &refused.to_string());

    assert_eq!(find(&pair.store, &pair.target), StoredPrefix::default());
    assert_eq!(records(&pair.home), [] as [PathBuf; 0]);
    let notices = pair.store.take_notices();
    assert_eq!(notices.len(), 2);
    assert!(
        notices[0].text.contains("checksum of its payload"),
        "{notices:?}"
    );
    assert_eq!(pair.store.take_notices(), []);
    let aside = fs::read_dir(pair.home.path().join("kv/quarantine")).unwrap();
    assert_eq!(aside.count(), 2);

    put_edge(&pair.store, &pair.target, 0, 40);
    pair.store.flush().unwrap();
    let edge = &find(&pair.store, &pair.target).edges[0];
    pair.store.read_segment(edge, &pair.target).unwrap();
}

/// Found by fuzzing: sums of such numbers panicked in the writer, long after the index was opened.
#[test]
fn an_index_whose_rows_say_what_no_writer_writes_is_made_again_from_the_files() {
    let lies = [
        "UPDATE edge SET bytes = 0x4000000000000000",
        "UPDATE node SET bytes = -1",
        "UPDATE edge SET p1 = p0",
        "UPDATE edge SET p0 = -1",
        "UPDATE edge SET \"to\" = x'00'",
        "UPDATE node SET at = 0x80000000",
        "UPDATE node SET role = -1",
        "UPDATE node SET tail = 'text'",
        "UPDATE pin SET digest = 'text'",
        "UPDATE turn SET owner = x'00'",
        "UPDATE model SET hard = x'00'",
        "UPDATE state SET digest = x'00'",
        "UPDATE state SET owner = x'00'",
        "UPDATE sample SET digest = x'00'",
        "UPDATE sample SET soft = 7",
        "UPDATE sample SET numbers = x'000000'",
        "UPDATE agreed SET soft = x'00'",
        "UPDATE agreed SET model = 'text'",
        "UPDATE merged SET bytes = -1",
    ];
    for lie in lies {
        let Pair {
            home,
            store,
            target,
            ..
        } = pair();
        store.pin("owner", digest(&target, 40));
        store.put_sample("owner", digest(&target, 40), vec![1.0, 2.0]);
        store.agree("owner", digest(&target, 40));
        store.flush().unwrap();
        store
            .with_index(|index, model| {
                let merged = "INSERT INTO merged(model, bytes) VALUES (?1, 7)";
                index.db().execute(merged, [model.0])
            })
            .unwrap();
        let before = find(&store, &target);
        drop(store);
        let db = rusqlite::Connection::open(home.path().join("kv/index.db")).unwrap();
        assert_eq!(db.execute(lie, []).unwrap(), 1, "{lie}");
        drop(db);
        made_again(lie, &home, &target, &before);
    }
}

/// The index in `home` is damaged: said once, and what was found before is found again.
fn made_again(what: &str, home: &TempDir, target: &[Token], before: &StoredPrefix) {
    let store = open(home);
    let notices = store.take_notices();
    assert_eq!(notices.len(), 1, "{what}: {notices:?}");
    assert!(notices[0].text.contains("was damaged"), "{what}");
    let found = find(&store, target);
    assert!(!found.edges.is_empty() && !found.nodes.is_empty());
    assert_eq!((cuts(&found), stops(&found)), (cuts(before), stops(before)));
    store.collect().unwrap();
    drop(store);
    assert_eq!(open(home).take_notices(), [], "{what}: said once");
}

/// SQLite gives no damage for these but an error of ours, at every open.
#[test]
fn an_index_with_other_tables_than_it_should_have_is_made_again_from_the_files() {
    let changes = [
        "DROP TABLE edge",
        "DROP TABLE node",
        "DROP TABLE pin",
        "ALTER TABLE edge DROP COLUMN bytes",
        "ALTER TABLE pin RENAME COLUMN owner TO own",
        "ALTER TABLE state RENAME COLUMN digest TO dig",
        "ALTER TABLE sample DROP COLUMN numbers",
        "DROP TABLE model; CREATE TABLE model(id INTEGER PRIMARY KEY, hard BLOB, facts TEXT, soft TEXT)",
        "DROP TABLE agreed; CREATE TABLE agreed(digest BLOB)",
        "DROP INDEX edge_way; CREATE INDEX edge_way ON edge(p0)",
        "DROP TRIGGER edge_gone; CREATE TRIGGER edge_gone AFTER DELETE ON edge BEGIN DELETE FROM node; END",
    ];
    for change in changes {
        let Pair {
            home,
            store,
            target,
            ..
        } = pair();
        store.pin("owner", digest(&target, 40));
        store.flush().unwrap();
        let before = find(&store, &target);
        drop(store);
        let db = rusqlite::Connection::open(home.path().join("kv/index.db")).unwrap();
        // Triggers and indexes of ours name the columns.
        let ours = "SELECT name FROM sqlite_master WHERE type = 'trigger'";
        if change.contains("COLUMN") {
            let names: Vec<String> = db
                .prepare(ours)
                .unwrap()
                .query_map([], |r| r.get(0))
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            for name in names {
                db.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
            }
        }
        db.execute_batch(change).expect(change);
        drop(db);
        made_again(change, &home, &target, &before);
    }
}

#[test]
fn a_file_that_is_gone_is_damage_and_one_that_cannot_be_read_is_not() {
    let home = TempDir::new().unwrap();
    let moody = Arc::new(Moody::default());
    let store = open_on(&home, Arc::new(moody.clone()), 1 << 20).unwrap();
    let target = text(1, 40);
    put_edge(&store, &target, 0, 40);
    store.flush().unwrap();
    let edge = find(&store, &target).edges[0].clone();
    moody.set(|m| m.fails = Some(("open", io::ErrorKind::Other)));
    assert!(!store.read_segment(&edge, &target).unwrap_err().is_damage());
    moody.set(|m| m.fails = None);
    fs::remove_file(&records(&home)[0]).unwrap();
    assert!(store.read_segment(&edge, &target).unwrap_err().is_damage());
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut input = &bytes[..];
        let read = read::head(&mut input, bytes.len() as u64, &StoreLimits::default());
        prop_assert!(read.is_err());
    }

    #[test]
    fn no_header_under_a_right_checksum_makes_the_parser_panic_or_overrun(
        noise in proptest::collection::vec((0usize..HEADER, any::<u8>()), 0..12),
        len in any::<u64>(),
    ) {
        let pair = Header {
            kind: RecordKind::Edge, role: None, p0: 3, p1: 5,
            from: Digest([1; 32]), to: Digest([2; 32]), hard: Digest([3; 32]), soft: Digest([4; 32]),
            tokens: 2, owner: 0, logits: 0, payload: 9,
            sums: Sums { tokens: 0, payload: 0, logits: 0, owner: 0 },
        };
        let mut bytes = pair.encode().to_vec();
        for (at, byte) in noise {
            bytes[at] = byte;
        }
        let bytes: [u8; HEADER] = forge(&bytes, 0, &[]).try_into().unwrap();
        for len in [len, pair.file_len(), HEADER as u64] {
            if let Ok(header) = Header::parse(&bytes, len, &StoreLimits::default()) {
                prop_assert_eq!(header.file_len(), len);
                prop_assert_eq!(header.tokens, header.p1 - header.p0);
            }
        }
    }
}
