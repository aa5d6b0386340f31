//! Any bytes as a folder's facts.json, with and without an index: a store opens, finds all records,
//! and writes facts again that can be read; and any JSON as the facts that a refusal names.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use npast_fuzz::folder::{Place, print};

static PLACE: LazyLock<Place> = LazyLock::new(Place::default);

fuzz_target!(|bytes: &[u8]| {
    let (facts, _) = PLACE.written("facts.json");
    let (index, _) = PLACE.written("index.db");
    PLACE.lay(&[(facts, bytes)]);
    let with = PLACE.examine();
    PLACE.lay(&[(facts, bytes)]);
    std::fs::remove_file(PLACE.dir().join(index)).expect("an index");
    let without = PLACE.examine();
    // Only another fingerprint of the same short name keeps a store out.
    for reach in [with, without].into_iter().flatten() {
        assert_eq!(reach, [50, 50]);
    }
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes)
        && let Some(said) = print().differs(&value)
    {
        assert!(said.len() < 4096 && said.starts_with("made "), "{said}");
    }
});
