//! Which bytes a model file holds: a hole that samples do not see, copies, moves, and files that are
//! too large to be read at a start.

use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime};

use super::*;
use crate::kv::model::weights::{Hashing, Tensors, Weights};

const LEN: u64 = 3 << 20;

/// A model file of random bytes, of which the first thousand are no tensor data.
struct Desk {
    dir: TempDir,
    plan: Hashing,
}

impl Desk {
    /// All is hashed at once, or all in the background.
    fn new(at_once: bool) -> Desk {
        let dir = TempDir::new().unwrap();
        let plan = Hashing {
            dir: dir.path().join("kv"),
            at_once: if at_once { u64::MAX } else { 0 },
            piece: 1 << 20,
        };
        let desk = Desk { dir, plan };
        let mut draw = Draw(5);
        let bytes: Vec<u8> = (0..LEN + 1000).map(|_| draw.below(256) as u8).collect();
        std::fs::write(desk.path("model"), bytes).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The name of a file's bytes in a process that lives until all is hashed, and what it says.
    fn start(&self, name: &str) -> (String, Option<String>) {
        let mut weights = Weights::by(&self.plan, &self.tensors(name));
        let told = weights.wait().map(|(text, _)| text);
        (weights.id().to_owned(), told)
    }

    fn id(&self, name: &str) -> String {
        self.start(name).0
    }

    fn tensors(&self, name: &str) -> Tensors {
        Tensors {
            files: vec![self.path(name)],
            ranges: vec![(0, 1000 + LEN / 2, LEN / 2), (0, 1000, LEN / 2)],
            samples: "the same".to_owned(),
        }
    }

    fn write(&self, name: &str, at: u64, bytes: &[u8]) {
        let file = std::fs::File::options().write(true).open(self.path(name));
        file.unwrap().write_all_at(bytes, at).unwrap();
    }

    fn set_time(&self, name: &str, seconds: u64) {
        let file = std::fs::File::options()
            .write(true)
            .open(self.path(name))
            .unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        file.set_modified(time).unwrap();
    }
}

/// Once KV of the broken file was restored: samples see a hole only where they look.
#[test]
fn a_file_that_had_a_hole_and_was_repaired_is_another_one_at_the_next_start() {
    for at_once in [true, false] {
        let desk = Desk::new(at_once);
        let good = std::fs::read(desk.path("model")).unwrap();
        desk.write("model", 1 << 20, &[0; 1 << 20]);
        desk.set_time("model", 1_000_000);
        let broken = desk.id("model");
        assert_eq!(desk.id("model"), broken, "the same file is the same");
        std::fs::write(desk.path("model"), &good).unwrap();
        desk.set_time("model", 2_000_000);
        let repaired = desk.id("model");
        assert_ne!(repaired, broken);
        assert_eq!(desk.id("model"), repaired);
        // Broken in the same way again.
        desk.write("model", 1 << 20, &[0; 1 << 20]);
        desk.set_time("model", 3_000_000);
        desk.id("model");
        assert_eq!(
            desk.id("model"),
            broken,
            "what was stored for it is of use again"
        );
    }
}

#[test]
fn a_copy_a_touched_and_a_moved_file_have_the_name_of_their_bytes() {
    for at_once in [true, false] {
        let desk = Desk::new(at_once);
        let id = desk.id("model");
        std::fs::copy(desk.path("model"), desk.path("copy")).unwrap();
        desk.set_time("copy", 1_000_000);
        let first = desk.id("copy");
        assert_eq!(
            first == id,
            at_once,
            "a start does not wait for a large file's hash"
        );
        assert_eq!(desk.id("copy"), id, "and the next one knows it");
        desk.set_time("model", 2_000_000);
        desk.id("model");
        assert_eq!(desk.id("model"), id);
        std::fs::rename(desk.path("model"), desk.path("moved")).unwrap();
        assert_eq!(desk.id("moved"), id, "at once");
        // Another template or name: no tensor data.
        desk.write("moved", 10, b"another header");
        desk.id("moved");
        assert_eq!(desk.id("moved"), id);
    }
}

#[test]
fn a_large_file_that_was_swapped_behind_its_time_and_samples_is_told_and_named_anew() {
    let desk = Desk::new(false);
    desk.set_time("model", 1_000_000);
    let (id, told) = desk.start("model");
    assert_eq!(told, None);
    desk.write("model", 2 << 20, &[7; 4096]);
    desk.set_time("model", 1_000_000);
    let (swapped, told) = desk.start("model");
    assert_eq!(swapped, id, "a start does not wait for its hash");
    assert!(told.unwrap().contains("another one"));
    let (next, told) = desk.start("model");
    assert_ne!(
        next, id,
        "what was stored under the old name is of no use any more"
    );
    assert_eq!((desk.start("model"), told), ((next, None), None));
}

#[test]
fn hashing_that_was_ended_goes_on_where_it_was_and_the_name_stays() {
    let desk = Desk::new(false);
    let tensors = desk.tensors("model");
    let mut ids = Vec::new();
    // Processes that end at once, or in the middle of it.
    for _ in 0..5 {
        ids.push(Weights::by(&desk.plan, &tensors).id().to_owned());
    }
    ids.push(desk.id("model"));
    ids.dedup();
    assert_eq!(ids.len(), 1);
    std::fs::copy(desk.path("model"), desk.path("copy")).unwrap();
    desk.id("copy");
    assert_eq!(desk.id("copy"), ids[0], "the hash was known to its end");
    // The list is a cache: what is in it may be anything.
    for text in ["", "{", "{\"models\": 7}", "[]"] {
        std::fs::write(desk.plan.dir.join("weights.json"), text).unwrap();
        assert_eq!(desk.id("model"), ids[0], "{text}");
    }
}
