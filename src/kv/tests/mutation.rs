//! Records that were written once (`fuzz/seeds/record`) are read for ever; whatever is done to them
//! is refused. The fuzzing target does the same without end; here it is bounded.

use std::fs;

use xxhash_rust::xxh3::xxh3_64;

use super::*;
use crate::kv::record::format::HEADER;

const MUTATIONS: u64 = 1_000_000;

/// The seeds, by name: records of format version 1, one of each shape.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/record");
    let mut seeds: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}

/// What the seeds were made from, in their order.
fn written_today() -> Vec<(&'static str, Vec<u8>)> {
    let (home, store) = store();
    let target = text(1, 70);
    put_edge(&store, &target, 0, 40);
    put_edge(&store, &target, 40, 70);
    put_node(&store, &target, 40, SnapshotRole::Head, None);
    put_node(&store, &target, 69, SnapshotRole::Turn, Some("owner"));
    store.put_snapshot(PutSnapshot {
        at: 30,
        digest: digest(&target, 30),
        tail: target[..30].to_vec(),
        payload: Arc::default(),
        logits: Some(vec![0.5, -2.0]),
        role: SnapshotRole::Row,
        owner: Some("owner of a row"),
        past: Default::default(),
    });
    let runs = [(32, 50, 56), (56, 58, 60)].map(|(start, prompt, end)| TokenRun {
        start,
        prompt,
        end,
        batch: 16,
    });
    put_edge_of(&store, &target, 40, 60, runs.to_vec());
    let owner = Some("owner of a step");
    put_node(&store, &target, 60, SnapshotRole::Step, owner);
    store.flush().unwrap();
    let file = |kind, p0, p1| {
        let name = crate::kv::record::files::name(kind, digest(&target, p0), digest(&target, p1));
        let path = listed(&home, |n| n == name).remove(0);
        fs::read(path).unwrap()
    };
    use crate::kv::record::format::RecordKind::{Edge, Node};
    vec![
        ("v1-edge-first", file(Edge, 0, 40)),
        ("v1-edge-later", file(Edge, 40, 70)),
        ("v1-edge-runs", file(Edge, 40, 60)),
        ("v1-node-head-logits", file(Node, 40, 40)),
        ("v1-node-row", file(Node, 30, 30)),
        ("v1-node-step", file(Node, 60, 60)),
        ("v1-node-turn-owner", file(Node, 69, 69)),
    ]
}

#[test]
fn records_of_version_1_are_written_byte_for_byte_as_ever_and_read() {
    let seeds = seeds();
    let today = written_today();
    assert_eq!(seeds.len(), today.len());
    for ((name, seed), (today_name, today)) in seeds.iter().zip(today) {
        assert_eq!(name, today_name);
        assert_eq!(*seed, today, "{name}");
        assert_eq!(inspect(seed, &StoreLimits::default()), Ok(()), "{name}");
    }
}

#[test]
fn a_million_mutations_of_records_are_refused_without_a_panic() {
    let seeds = seeds();
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    for _ in 0..MUTATIONS {
        let (name, seed) = &seeds[draw.below(seeds.len())];
        let mut bytes = seed.clone();
        for _ in 0..=draw.below(3) {
            mutate(&mut draw, &mut bytes, &seeds);
        }
        let forged = draw.below(2) == 0 && bytes.len() >= HEADER;
        if forged {
            let sum = xxh3_64(&bytes[..HEADER - 8]);
            bytes[HEADER - 8..HEADER].copy_from_slice(&sum.to_le_bytes());
        }
        if inspect(&bytes, &StoreLimits::default()).is_err() {
            continue;
        }
        if forged {
            // A forged header can name other digests; the sections are still what was written.
            let whole = |s: &[u8]| s[HEADER..] == bytes[HEADER..];
            assert!(seeds.iter().any(|(_, s)| whole(s)), "{name}");
        } else {
            assert!(seeds.iter().any(|(_, s)| *s == bytes), "{name}");
        }
    }
}

fn mutate(draw: &mut Draw, bytes: &mut Vec<u8>, seeds: &[(String, Vec<u8>)]) {
    if bytes.is_empty() {
        return;
    }
    let at = draw.below(bytes.len());
    match draw.below(6) {
        0 => bytes[at] ^= 1 << draw.below(8),
        1 => bytes.truncate(at),
        2 => bytes.resize(bytes.len() + 1 + draw.below(9), 0x5a),
        3 => {
            // A field of the header gets a count that hurts.
            let field = 8 * draw.below(HEADER / 8);
            let counts = [0, 1, u64::MAX, 1 << 63, 1 << 62, 1 << 40, u32::MAX as u64];
            let count = counts[draw.below(counts.len())].to_le_bytes();
            if let Some(place) = bytes.get_mut(field..field + 8) {
                place.copy_from_slice(&count);
            }
        }
        4 => bytes[at] = draw.below(256) as u8,
        _ => {
            // The end of another record.
            let other = &seeds[draw.below(seeds.len())].1;
            let cut = at.min(other.len());
            bytes.truncate(cut);
            bytes.extend_from_slice(&other[cut..]);
        }
    }
}
