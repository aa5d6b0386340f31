//! The folder of a model, and the files in it that say in readable form what its name means:
//! `facts.json` for the hard fingerprint, one `soft-….json` for each soft fingerprint.

use std::io::{self, Read};

use serde_json::{Value, json};

use crate::kv::error::Error;
use crate::kv::record::files::Files;
use crate::ledger::Digest;

use super::fingerprint::{Fingerprint, canonical};

/// The file of the hard facts.
const FACTS: &str = "facts.json";
/// The most bytes of one of these files that a reader accepts.
const MOST_BYTES: u64 = 1 << 20;

/// The name of a hard fingerprint's folder.
pub(in crate::kv) fn short(hard: Digest) -> String {
    hard.hex()[..16].to_string()
}

/// The hard fingerprint and the facts of a folder; `None` where the file is missing or says nothing
/// of use.
pub(in crate::kv) fn read(files: &Files) -> Option<(Digest, Value)> {
    let mut value = json_of(files, FACTS)?;
    let hard = Digest::from_hex(value.get("hard")?.as_str()?)?;
    Some((hard, value.get_mut("facts")?.take()))
}

/// The facts of a soft fingerprint that wrote into a folder.
pub(in crate::kv) fn read_soft(files: &Files, soft: Digest) -> Option<Value> {
    json_of(files, &soft_name(soft))
}

fn json_of(files: &Files, name: &str) -> Option<Value> {
    let (input, len) = files.open(name).ok()?;
    if len > MOST_BYTES {
        return None;
    }
    let mut bytes = Vec::new();
    input.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Writes the facts of a fingerprint into its folder, where they are not there yet.
///
/// # Errors
/// When the folder belongs to another fingerprint of the same short name, or cannot be written.
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

fn soft_name(soft: Digest) -> String {
    format!("soft-{}.json", short(soft))
}
