//! Checks one record alone (see *checked alone* in `kv/mod.rs`): for `npast kv verify` and for the fuzzer.
//! No target is known here, so a record is not proven, and its payload is not returned. The payload is
//! hashed piece by piece while it is read. Invariant: not more than 1 MiB of a payload is in memory at a
//! time.

use std::io::Read;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::kv::error::Damage;
use crate::kv::limits::StoreLimits;
use crate::kv::record::format::{Header, RecordKind};
use crate::kv::record::read::{self, ReadFault};
use crate::ledger::{RunningDigest, Token};

/// The maximum number of payload bytes in memory at a time.
const CHUNK: usize = 1 << 20;

/// The header and the tokens of a record that was checked alone.
#[derive(Debug)]
pub(in crate::kv) struct Inspected {
    pub(in crate::kv) header: Header,
    pub(in crate::kv) tokens: Vec<Token>,
}

/// Does steps 1 to 4 of the proof (docs/kv-format.md): header, counts, length and checksums. In addition
/// it compares the digests with each other and with the tokens, as far as one record allows: a node has
/// two equal digests, and an edge from position 0 has the digests of its own tokens.
pub(in crate::kv) fn record(
    input: &mut dyn Read,
    file_len: u64,
    limits: &StoreLimits,
) -> Result<Inspected, ReadFault> {
    let (header, tokens) = read::head(input, file_len, limits)?;
    read::owner(input, &header)?;
    if xxh3_64(&read::take(input, header.logits * 4)?) != header.sums.logits {
        return Err(Damage::Checksum("logits").into());
    }
    let mut sum = Xxh3::new();
    let mut left = header.payload;
    let mut chunk = vec![0u8; CHUNK.min(left)];
    while left > 0 {
        let part = &mut chunk[..CHUNK.min(left)];
        input.read_exact(part)?;
        sum.update(part);
        left -= part.len();
    }
    if sum.digest() != header.sums.payload {
        return Err(Damage::Checksum("payload").into());
    }
    read::at_end(input, &header)?;
    if header.kind == RecordKind::Node && header.from != header.to {
        return Err(Damage::Field("digest").into());
    }
    if header.kind == RecordKind::Edge && header.p0 == 0 {
        let mut running = RunningDigest::new(header.hard);
        if running.digest() != header.from {
            return Err(Damage::Other("prefix").into());
        }
        running.extend(&tokens);
        if running.digest() != header.to {
            return Err(Damage::Other("digest").into());
        }
    }
    Ok(Inspected { header, tokens })
}

/// Checks the bytes of one record alone.
///
/// # Errors
/// The first check that failed. Never panics, and never allocates more than `bytes` has.
pub fn inspect(bytes: &[u8], limits: &StoreLimits) -> Result<(), Damage> {
    match record(&mut &bytes[..], bytes.len() as u64, limits) {
        Ok(_) => Ok(()),
        Err(ReadFault::Damage(damage)) => Err(damage),
        // Reading from memory fails only at the end of the bytes.
        Err(ReadFault::Io(_)) => Err(Damage::Short),
    }
}
