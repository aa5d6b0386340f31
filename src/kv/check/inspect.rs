//! Proves a record by itself, without the tokens of a conversation: for `npast kv verify`, and for
//! fuzzing. It hashes the payload while it reads, and never holds all of it.

use std::io::Read;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::kv::error::Damage;
use crate::kv::limits::Limits;
use crate::kv::record::format::{Header, RecordKind};
use crate::kv::record::read::{self, ReadFault};
use crate::ledger::{Running, Token};

/// Bytes of payload in memory at a time.
const CHUNK: usize = 1 << 20;

/// A proven record without its payload.
#[derive(Debug)]
pub(in crate::kv) struct Inspected {
    pub(in crate::kv) header: Header,
    pub(in crate::kv) tokens: Vec<Token>,
}

/// Proves steps 1 to 4 of docs/kv-format.md, and that what a record says of itself agrees: the
/// digests of an edge that begins at position 0 are those of its tokens.
pub(in crate::kv) fn record(
    input: &mut dyn Read,
    file_len: u64,
    limits: &Limits,
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
        let mut running = Running::new(header.hard);
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

/// Proves the bytes of one record (a file of kv/v1) by themselves.
///
/// # Errors
/// The first thing wrong. Never a panic, and never an allocation above what `bytes` hold.
pub fn inspect(bytes: &[u8], limits: &Limits) -> Result<(), Damage> {
    match record(&mut &bytes[..], bytes.len() as u64, limits) {
        Ok(_) => Ok(()),
        Err(ReadFault::Damage(damage)) => Err(damage),
        // Reading from memory fails only at its end.
        Err(ReadFault::Io(_)) => Err(Damage::Short),
    }
}
