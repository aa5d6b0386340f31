//! Any bytes as a record of the KV store: they are refused or whole, and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use npast_fuzz::kv::{StoreLimits, inspect};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of a header (docs/kv-format.md).
const HEADER: usize = 256;

fuzz_target!(|bytes: &[u8]| {
    let limits = StoreLimits::default();
    let _ = inspect(bytes, &limits);
    // A fuzzer does not guess a checksum: with right ones it gets behind them.
    if let Some(forged) = forged(bytes) {
        let _ = inspect(&forged, &limits);
    }
});

/// The same record with the checksums that its sections should have.
fn forged(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut forged = bytes.to_vec();
    let count = |at: usize| {
        let eight: [u8; 8] = bytes.get(at..at + 8)?.try_into().ok()?;
        usize::try_from(u64::from_le_bytes(eight)).ok()
    };
    let (tokens, payload, logits, owner) = (count(128)?, count(136)?, count(144)?, count(152)?);
    let mut at = HEADER;
    // Each section's length and the place of its checksum, in the order of the file.
    for (len, sum) in [
        (tokens.checked_mul(4)?, 160),
        (owner, 184),
        (logits.checked_mul(4)?, 176),
        (payload, 168),
    ] {
        let end = at.checked_add(len)?;
        let section = xxh3_64(bytes.get(at..end)?);
        forged[sum..sum + 8].copy_from_slice(&section.to_le_bytes());
        at = end;
    }
    let header = xxh3_64(&forged[..HEADER - 8]);
    forged[HEADER - 8..HEADER].copy_from_slice(&header.to_le_bytes());
    Some(forged)
}
