//! The JSON files in a model folder that say in readable form for which fingerprints its records were
//! written: `facts.json` has the hard fingerprint, and each `soft-….json` has one soft fingerprint. They
//! are written when a store is opened. A rebuild of the index reads `facts.json`. When a record was
//! written under another soft fingerprint, `Store::made_elsewhere` reads the file of that one, and tells
//! the user what is different. Invariant: the name of the model folder is the first 16 hex digits of the
//! hard fingerprint in its `facts.json`.

use std::io::{self, Read};

use serde_json::{Value, json};

use crate::kv::error::Error;
use crate::kv::record::files::Files;
use crate::ledger::Digest;

use super::fingerprint::{Fingerprint, canonical};

/// The name of the file with the hard facts.
const FACTS: &str = "facts.json";
/// The maximum length in bytes of such a file; a reader ignores a longer one.
const MOST_BYTES: u64 = 1 << 20;

/// The name of the model folder of a hard fingerprint: its first 16 hex digits.
pub(in crate::kv) fn short(hard: Digest) -> String {
    hard.hex()[..16].to_string()
}

/// The hard fingerprint and the hard facts of a model folder. `None` if the file is missing or is not
/// valid.
pub(in crate::kv) fn read(files: &Files) -> Option<(Digest, Value)> {
    let mut value = json_of(files, FACTS)?;
    let hard = Digest::from_hex(value.get("hard")?.as_str()?)?;
    Some((hard, value.get_mut("facts")?.take()))
}

/// The facts of a soft fingerprint, by its digest. `None` if the file is missing or is not valid.
pub(in crate::kv) fn read_soft(files: &Files, soft: Digest) -> Option<Value> {
    json_of(files, &soft_name(soft))
}

/// Parses a JSON file of the model folder.
fn json_of(files: &Files, name: &str) -> Option<Value> {
    let (input, len) = files.open(name).ok()?;
    if len > MOST_BYTES {
        return None;
    }
    let mut bytes = Vec::new();
    input.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Writes the files of a fingerprint into its model folder, if they are not there yet.
///
/// # Errors
/// When the folder belongs to another hard fingerprint with the same first 16 digits, or cannot be
/// written.
pub(in crate::kv) fn describe(files: &Files, fingerprint: &Fingerprint) -> Result<(), Error> {
    let facts = files.folder.join(FACTS);
    match read(files) {
        Some((hard, _)) if hard == fingerprint.hard => {}
        Some((hard, _)) if short(hard) == short(fingerprint.hard) => {
            let source = io::Error::other("it belongs to another fingerprint of the same name");
            return Err(Error::folder(&facts)(source));
        }
        _ => {
            let hard = fingerprint.hard.hex();
            let text = canonical(&json!({"hard": hard, "facts": fingerprint.facts}));
            files
                .commit(FACTS, &[text.as_bytes()])
                .map_err(Error::folder(&facts))?;
        }
    }
    let soft = soft_name(fingerprint.soft_digest());
    if files.open(&soft).is_err() {
        let text = canonical(&fingerprint.soft);
        files
            .commit(&soft, &[text.as_bytes()])
            .map_err(Error::folder(&files.folder))?;
    }
    Ok(())
}

/// The name of the file of a soft fingerprint.
fn soft_name(soft: Digest) -> String {
    format!("soft-{}.json", short(soft))
}
