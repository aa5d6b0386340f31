//! Any bytes as kv/index.db: a store opens with it or says why not, makes it anew where it is
//! damaged, loses no record, and offers nothing that was not put, whatever its rows claim.
//!
//! The first byte says what the others are: the whole file, bytes of a sound file that are changed,
//! or rows of a sound file that are changed.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use npast_fuzz::folder::Place;
use rusqlite::Connection;
use rusqlite::types::Value;

static PLACE: LazyLock<Place> = LazyLock::new(Place::default);

fuzz_target!(|bytes: &[u8]| {
    let Some((form, rest)) = bytes.split_first() else {
        return;
    };
    let (path, sound) = PLACE.written("index.db");
    match form % 3 {
        0 => {
            PLACE.lay(&[(path, rest)]);
            if let Some(reach) = PLACE.examine()
                && !rest.starts_with(b"SQLite format 3\0")
            {
                assert_eq!(reach, [50, 50], "what is no index is made anew from the files");
            }
        }
        1 => {
            let mut edited = sound.to_vec();
            for edit in rest.chunks_exact(5) {
                let at = u32::from_le_bytes([edit[0], edit[1], edit[2], edit[3]]) as usize;
                let len = edited.len();
                edited[at % len] = edit[4];
            }
            PLACE.lay(&[(path, &edited)]);
            PLACE.examine();
        }
        _ => {
            PLACE.lay(&[]);
            let db = Connection::open(PLACE.dir().join(path)).expect("a sound index");
            for edit in rest.chunks_exact(11) {
                change(&db, edit);
            }
            drop(db);
            PLACE.examine();
        }
    }
});

/// Gives one field of one row, or of all, another value.
fn change(db: &Connection, edit: &[u8]) {
    const FIELDS: [(&str, &str); 35] = [
        ("model", "hard"),
        ("model", "facts"),
        ("model", "soft"),
        ("edge", "model"),
        ("edge", "from"),
        ("edge", "to"),
        ("edge", "p0"),
        ("edge", "p1"),
        ("edge", "bytes"),
        ("edge", "head"),
        ("edge", "tail"),
        ("node", "model"),
        ("node", "digest"),
        ("node", "at"),
        ("node", "bytes"),
        ("node", "logits"),
        ("node", "role"),
        ("node", "tail"),
        ("pin", "owner"),
        ("pin", "digest"),
        ("turn", "owner"),
        ("turn", "digest"),
        ("pin", "model"),
        ("turn", "model"),
        ("state", "owner"),
        ("state", "model"),
        ("state", "digest"),
        ("sample", "owner"),
        ("sample", "digest"),
        ("sample", "soft"),
        ("sample", "numbers"),
        ("agreed", "digest"),
        ("agreed", "soft"),
        ("merged", "bytes"),
        ("total", "bytes"),
    ];
    let (table, field) = FIELDS[edit[0] as usize % FIELDS.len()];
    let eight: [u8; 8] = edit[3..11].try_into().expect("eight bytes");
    let number = i64::from_le_bytes(eight);
    let value = match edit[2] % 7 {
        0 => Value::Integer(number),
        1 => Value::Integer(number % 100),
        2 => Value::Null,
        3 => Value::Real(number as f64),
        4 => Value::Text(String::from_utf8_lossy(&eight).into_owned()),
        5 => Value::Blob(eight.to_vec()),
        _ => Value::Blob(eight.repeat(4)),
    };
    // A constraint may forbid it: then there is one edit less.
    let sql = format!("UPDATE {table} SET \"{field}\" = ?1 WHERE ?2 = 0 OR rowid = ?2");
    let _ = db.execute(&sql, (value, i64::from(edit[1] % 8)));
}
