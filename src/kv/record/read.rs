//! Reads records and proves them by the steps of docs/kv-format.md (Proof). Restores, merges, splits and
//! lookups use it. Invariant: [`segment`], [`snapshot`] and [`part`] return a payload only after every
//! byte of the file was read into host memory and checked. ([`head`], [`edge_head`] and [`tokens`] return
//! no payload and check only what they read.) Nothing here calls llama.cpp.

use std::io::{self, Read};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::kv::error::{Damage, Error};
use crate::kv::limits::StoreLimits;
use crate::ledger::{Digest, RunningDigest, Token};

use super::files::Files;
use super::format::{HEADER, Header, RecordKind, tokens_of};
use super::item::{Edge, Node};
use super::runs::{self, TokenRun};

/// The number of payload bytes that are read and then hashed at a time.
const PIECE: usize = 128 << 10;

/// A segment whose record is proven.
#[derive(Debug)]
pub struct ProvenSegment {
    /// First position.
    pub p0: usize,
    /// One past the last position.
    pub p1: usize,
    /// The KV bytes as they were put.
    pub payload: Vec<u8>,
    /// The digest of the soft fingerprint under which the record was written; see
    /// `Fingerprint::soft_digest`.
    pub soft: Digest,
}

/// A snapshot whose record is proven.
#[derive(Debug)]
pub struct ProvenSnapshot {
    /// The position P.
    pub at: usize,
    /// The bytes of the snapshot as they were put.
    pub payload: Vec<u8>,
    /// The logits row of token `at` - 1, if it was put.
    pub logits: Option<Vec<f32>>,
    /// The digest of the soft fingerprint under which the record was written; see
    /// `Fingerprint::soft_digest`.
    pub soft: Digest,
}

/// Why reading a record stopped: an I/O error, or a check that failed.
#[derive(Debug)]
pub(in crate::kv) enum ReadFault {
    Io(io::Error),
    Damage(Damage),
}

impl From<Damage> for ReadFault {
    fn from(damage: Damage) -> ReadFault {
        ReadFault::Damage(damage)
    }
}

impl From<io::Error> for ReadFault {
    fn from(error: io::Error) -> ReadFault {
        match error.kind() {
            io::ErrorKind::NotFound => ReadFault::Damage(Damage::Gone),
            io::ErrorKind::UnexpectedEof => ReadFault::Damage(Damage::Short),
            _ => ReadFault::Io(error),
        }
    }
}

impl ReadFault {
    /// This fault as an error of the record file `name`.
    pub(in crate::kv) fn of(self, name: &str) -> Error {
        let name = name.to_string();
        match self {
            ReadFault::Io(source) => Error::Read { name, source },
            ReadFault::Damage(damage) => Error::Refused { name, damage },
        }
    }
}

/// Opens the record file of an index row, which says that the file has `bytes` bytes. The file
/// may be longer by one logits row and by runs, because another process may have stored the same record
/// with them. A file that is longer still is refused here: otherwise all of it would be read into memory
/// before its checksum is found wrong.
fn open(
    files: &Files,
    limits: &StoreLimits,
    name: &str,
    bytes: u64,
) -> Result<(Box<dyn Read>, u64), ReadFault> {
    let (input, len) = files.open(name)?;
    let small = limits.logits.saturating_mul(4) + (runs::MOST * runs::BYTES) as u64;
    if len > bytes.saturating_add(small) {
        return Err(Damage::Length {
            said: bytes,
            is: len,
        }
        .into());
    }
    Ok((input, len))
}

/// The sections after the owner section.
pub(in crate::kv) struct Rest {
    pub(in crate::kv) logits: Vec<f32>,
    pub(in crate::kv) payload: Vec<u8>,
}

/// Reads the header and the tokens, and checks them against their checksums and limits. The caller must
/// still check that the record is the one that it asked for.
pub(in crate::kv) fn head(
    input: &mut dyn Read,
    file_len: u64,
    limits: &StoreLimits,
) -> Result<(Header, Vec<Token>), ReadFault> {
    let mut bytes = [0u8; HEADER];
    input.read_exact(&mut bytes)?;
    let header = Header::parse(&bytes, file_len, limits)?;
    let tokens = tokens_of(&take(input, header.tokens * 4)?, header.sums.tokens)?;
    Ok((header, tokens))
}

/// Reads and checks the owner section, which follows the tokens. A segment has its runs in this section,
/// and an empty owner.
pub(in crate::kv) fn owner(input: &mut dyn Read, header: &Header) -> Result<String, ReadFault> {
    if header.kind == RecordKind::Edge {
        return runs(input, header).map(|_| String::new());
    }
    let bytes = take(input, header.owner)?;
    if xxh3_64(&bytes) != header.sums.owner {
        return Err(Damage::Checksum("owner").into());
    }
    Ok(String::from_utf8(bytes).map_err(|_| Damage::Field("owner"))?)
}

/// Reads and checks the runs of a segment, which follow the tokens.
pub(in crate::kv) fn runs(
    input: &mut dyn Read,
    header: &Header,
) -> Result<Vec<TokenRun>, ReadFault> {
    let bytes = take(input, header.owner)?;
    if xxh3_64(&bytes) != header.sums.owner {
        return Err(Damage::Checksum("runs").into());
    }
    Ok(runs::from_bytes(&bytes, header.p0, header.p1)?)
}

/// Reads and checks all sections of a segment except the payload.
pub(in crate::kv) fn edge_head(
    files: &Files,
    limits: &StoreLimits,
    edge: &Edge,
) -> Result<(Header, Vec<Token>, Vec<TokenRun>), Error> {
    let name = edge.name();
    let look = || -> Result<_, ReadFault> {
        let (mut input, len) = open(files, limits, &name, edge.bytes)?;
        let (header, tokens) = head(&mut input, len, limits)?;
        if (header.kind, header.from, header.to) != (RecordKind::Edge, edge.from, edge.to) {
            return Err(Damage::Other("digest").into());
        }
        let runs = runs(&mut input, &header)?;
        Ok((header, tokens, runs))
    };
    look().map_err(|fault| fault.of(&name))
}

/// Reads and checks all sections after the owner section, to the end of the file. The payload is read
/// into `buffer`, whose old contents are overwritten.
pub(in crate::kv) fn rest(
    input: &mut dyn Read,
    header: &Header,
    buffer: Vec<u8>,
) -> Result<Rest, ReadFault> {
    let logits = take(input, header.logits * 4)?;
    if xxh3_64(&logits) != header.sums.logits {
        return Err(Damage::Checksum("logits").into());
    }
    let payload = payload(input, header, buffer)?;
    at_end(input, header)?;
    let (words, _) = logits.as_chunks::<4>();
    Ok(Rest {
        logits: words.iter().map(|w| f32::from_le_bytes(*w)).collect(),
        payload,
    })
}

/// Reads the payload piece by piece, and hashes each piece while it is in the processor's cache. A buffer
/// that was used before is not zeroed first.
fn payload(input: &mut dyn Read, header: &Header, buffer: Vec<u8>) -> Result<Vec<u8>, ReadFault> {
    let mut bytes = buffer;
    let more = header.payload.saturating_sub(bytes.len());
    bytes
        .try_reserve_exact(more)
        .map_err(|_| Damage::Memory(header.payload as u64))?;
    bytes.resize(header.payload, 0);
    let mut sum = Xxh3::new();
    for piece in bytes.chunks_mut(PIECE) {
        input.read_exact(piece)?;
        sum.update(piece);
    }
    if sum.digest() != header.sums.payload {
        return Err(Damage::Checksum("payload").into());
    }
    Ok(bytes)
}

/// Checks that the file has no more bytes: its length was right when it was opened, and it must not have
/// grown since.
pub(in crate::kv) fn at_end(input: &mut dyn Read, header: &Header) -> Result<(), ReadFault> {
    if input.read(&mut [0u8; 1])? != 0 {
        let said = header.file_len();
        return Err(Damage::Length { said, is: said + 1 }.into());
    }
    Ok(())
}

/// Reads exactly `count` bytes. The proof of the header has already compared `count` with the length of
/// the file.
pub(in crate::kv) fn take(input: &mut dyn Read, count: usize) -> Result<Vec<u8>, ReadFault> {
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(count)
        .map_err(|_| Damage::Memory(count as u64))?;
    if input.take(count as u64).read_to_end(&mut bytes)? < count {
        return Err(Damage::Short.into());
    }
    Ok(bytes)
}

/// An edge of which the caller wants the KV rows of positions [p0, upto), for a target that has the same
/// tokens at these positions.
pub(in crate::kv) struct WantedEdge<'a> {
    pub(in crate::kv) edge: &'a Edge,
    pub(in crate::kv) target: &'a [Token],
    pub(in crate::kv) upto: usize,
}

/// Reads and proves a wanted edge. `before` is the running hash D(p) of the target at any p. After the
/// call it is D(p1) if the whole edge belongs to the target: so a caller that reads a chain hashes the
/// target once. `buffer` is used for the payload.
pub(in crate::kv) fn segment(
    files: &Files,
    hard: Digest,
    limits: &StoreLimits,
    wanted: &WantedEdge<'_>,
    before: &mut RunningDigest,
    buffer: Vec<u8>,
) -> Result<ProvenSegment, Error> {
    let WantedEdge { edge, target, upto } = wanted;
    let name = edge.name();
    let prove = || -> Result<ProvenSegment, ReadFault> {
        let (mut input, len) = open(files, limits, &name, edge.bytes)?;
        let (header, tokens) = head(&mut input, len, limits)?;
        same(&header, RecordKind::Edge, hard, edge.from, edge.to)?;
        if (header.p0, header.p1) != (edge.p0, edge.p1) {
            return Err(Damage::Other("position").into());
        }
        let own = target.get(edge.p0..*upto).ok_or(Damage::Other("length"))?;
        if tokens.get(..own.len()) != Some(own) {
            return Err(Damage::Other("text").into());
        }
        if before.len() > edge.p0 {
            *before = RunningDigest::new(hard);
        }
        before.extend(&target[before.len()..edge.p0]);
        if before.digest() != edge.from {
            return Err(Damage::Other("prefix").into());
        }
        let mut after = before.clone();
        after.extend(&tokens);
        if after.digest() != edge.to {
            return Err(Damage::Other("digest").into());
        }
        if own.len() == tokens.len() {
            *before = after;
        }
        owner(&mut input, &header)?;
        let rest = rest(&mut input, &header, buffer)?;
        Ok(ProvenSegment {
            p0: header.p0,
            p1: header.p1,
            payload: rest.payload,
            soft: header.soft,
        })
    };
    prove().map_err(|fault| fault.of(&name))
}

/// The record of an edge, checked alone; a merge or a split uses it.
pub(in crate::kv) struct Whole {
    pub(in crate::kv) tokens: Vec<Token>,
    pub(in crate::kv) runs: Vec<TokenRun>,
    pub(in crate::kv) payload: Vec<u8>,
    pub(in crate::kv) soft: Digest,
}

/// Reads an edge and checks everything that can be checked without the tokens before the edge (steps 1 to
/// 5 of the proof).
pub(in crate::kv) fn part(
    files: &Files,
    hard: Digest,
    limits: &StoreLimits,
    edge: &Edge,
) -> Result<Whole, ReadFault> {
    let name = edge.name();
    let (mut input, len) = open(files, limits, &name, edge.bytes)?;
    let (header, tokens) = head(&mut input, len, limits)?;
    same(&header, RecordKind::Edge, hard, edge.from, edge.to)?;
    if (header.p0, header.p1) != (edge.p0, edge.p1) {
        return Err(Damage::Other("position").into());
    }
    Ok(Whole {
        tokens,
        runs: runs(&mut input, &header)?,
        payload: rest(&mut input, &header, Vec::new())?.payload,
        soft: header.soft,
    })
}

/// Reads and proves a node.
pub(in crate::kv) fn snapshot(
    files: &Files,
    hard: Digest,
    limits: &StoreLimits,
    node: &Node,
) -> Result<ProvenSnapshot, Error> {
    let name = node.name();
    let prove = || -> Result<ProvenSnapshot, ReadFault> {
        let (mut input, len) = open(files, limits, &name, node.bytes)?;
        let (header, _) = head(&mut input, len, limits)?;
        same(&header, RecordKind::Node, hard, node.digest, node.digest)?;
        if header.p1 != node.at {
            return Err(Damage::Other("position").into());
        }
        owner(&mut input, &header)?;
        let rest = rest(&mut input, &header, Vec::new())?;
        Ok(ProvenSnapshot {
            at: header.p1,
            payload: rest.payload,
            logits: Some(rest.logits).filter(|row| !row.is_empty()),
            soft: header.soft,
        })
    };
    prove().map_err(|fault| fault.of(&name))
}

/// Reads the tokens of an edge, so that a lookup can compare them with a target. The payload is not read.
pub(in crate::kv) fn tokens(
    files: &Files,
    limits: &StoreLimits,
    edge: &Edge,
) -> Result<Vec<Token>, Error> {
    let name = edge.name();
    let read = || -> Result<Vec<Token>, ReadFault> {
        let (mut input, len) = open(files, limits, &name, edge.bytes)?;
        let (header, tokens) = head(&mut input, len, limits)?;
        if (header.from, header.to) != (edge.from, edge.to) {
            return Err(Damage::Other("digest").into());
        }
        Ok(tokens)
    };
    read().map_err(|fault| fault.of(&name))
}

/// Checks that a header is the one of this kind, hard fingerprint and digests.
fn same(
    header: &Header,
    kind: RecordKind,
    hard: Digest,
    from: Digest,
    to: Digest,
) -> Result<(), Damage> {
    if header.kind != kind {
        return Err(Damage::Other("kind"));
    }
    if header.hard != hard {
        return Err(Damage::Other("model"));
    }
    if (header.from, header.to) != (from, to) {
        return Err(Damage::Other("digest"));
    }
    Ok(())
}
