//! The header of a record: the 256 bytes at the start of the file (docs/kv-format.md). [`Header::encode`]
//! makes them when a record is written, and [`Header::parse`] checks them when one is read. The functions
//! here do no I/O. Invariant: a [`Header`] that `parse` returns is within the limits and agrees with the
//! length of the file, so a reader may allocate as many bytes as its counts say.

use xxhash_rust::xxh3::xxh3_64;

use crate::kv::error::Damage;
use crate::kv::limits::StoreLimits;
use crate::ledger::{Digest, Token};

use super::role::SnapshotRole;
use super::runs;

/// The length of a header in bytes.
pub(in crate::kv) const HEADER: usize = 256;
/// The maximum number of tokens that a snapshot's record keeps: the last tokens before its position. (The
/// index row of a snapshot keeps only the last 16 of them, see `index::edges::FILTER_TOKENS`.)
pub(in crate::kv) const MOST_TAIL: usize = 64;
/// The maximum length of an owner's name in bytes.
pub(in crate::kv) const MOST_OWNER: usize = 256;
/// The maximum position: llama.cpp stores positions as i32.
const MOST_POSITION: u64 = i32::MAX as u64;

const MAGIC: &[u8; 8] = b"npast-kv";
const VERSION: u32 = 1;
/// The flag bit of a record that has a logits row.
const LOGITS: u16 = 1;
/// The header checksum is computed over this many bytes.
const SUMMED: usize = 248;

/// The kind of a record: a segment (an edge) or a snapshot (a node). Its number is a byte of the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(in crate::kv) enum RecordKind {
    Edge = 1,
    Node = 2,
}

impl RecordKind {
    /// The extension of the file name.
    pub(in crate::kv) fn ending(self) -> &'static str {
        match self {
            RecordKind::Edge => "edge",
            RecordKind::Node => "node",
        }
    }
}

/// The checksum (XXH3-64) of each section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kv) struct Sums {
    pub(in crate::kv) tokens: u64,
    pub(in crate::kv) payload: u64,
    pub(in crate::kv) logits: u64,
    pub(in crate::kv) owner: u64,
}

/// All sections of a record except the payload, which is large and is never copied. The section `owner`
/// holds the owner of a snapshot, or the runs of a segment.
pub(in crate::kv) struct Sections {
    pub(in crate::kv) tokens: Vec<u8>,
    pub(in crate::kv) owner: Vec<u8>,
    pub(in crate::kv) logits: Vec<u8>,
}

impl Sections {
    pub(in crate::kv) fn sums(&self, payload: &[u8]) -> Sums {
        Sums {
            tokens: xxh3_64(&self.tokens),
            payload: xxh3_64(payload),
            logits: xxh3_64(&self.logits),
            owner: xxh3_64(&self.owner),
        }
    }
}

/// The fields of a header. `tokens` counts tokens, `logits` counts values, `owner` and `payload` count
/// bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::kv) struct Header {
    pub(in crate::kv) kind: RecordKind,
    pub(in crate::kv) role: Option<SnapshotRole>,
    pub(in crate::kv) p0: usize,
    pub(in crate::kv) p1: usize,
    pub(in crate::kv) from: Digest,
    pub(in crate::kv) to: Digest,
    pub(in crate::kv) hard: Digest,
    pub(in crate::kv) soft: Digest,
    pub(in crate::kv) tokens: usize,
    pub(in crate::kv) owner: usize,
    pub(in crate::kv) logits: usize,
    pub(in crate::kv) payload: usize,
    pub(in crate::kv) sums: Sums,
}

impl Header {
    /// The length of the whole record in bytes.
    pub(in crate::kv) fn file_len(&self) -> u64 {
        (HEADER + self.tokens * 4 + self.owner + self.logits * 4 + self.payload) as u64
    }

    /// The 256 bytes of this header, with its checksum.
    pub(in crate::kv) fn encode(&self) -> [u8; HEADER] {
        let mut out = [0u8; HEADER];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, MAGIC);
        put(8, &VERSION.to_le_bytes());
        put(12, &[self.kind as u8, self.role.map_or(0, |r| r as u8)]);
        let flags = if self.logits > 0 { LOGITS } else { 0 };
        put(14, &flags.to_le_bytes());
        put(16, &(self.p0 as u64).to_le_bytes());
        put(24, &(self.p1 as u64).to_le_bytes());
        put(32, &self.from.0);
        put(64, &self.to.0);
        put(96, &self.hard.0);
        put(128, &(self.tokens as u64).to_le_bytes());
        put(136, &(self.payload as u64).to_le_bytes());
        put(144, &(self.logits as u64).to_le_bytes());
        put(152, &(self.owner as u64).to_le_bytes());
        put(160, &self.sums.tokens.to_le_bytes());
        put(168, &self.sums.payload.to_le_bytes());
        put(176, &self.sums.logits.to_le_bytes());
        put(184, &self.sums.owner.to_le_bytes());
        put(192, &self.soft.0);
        let sum = xxh3_64(&out[..SUMMED]);
        out[SUMMED..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Checks the header of a file that is `file_len` bytes long: steps 1 to 3 of the proof in
    /// docs/kv-format.md.
    pub(in crate::kv) fn parse(
        bytes: &[u8; HEADER],
        file_len: u64,
        limits: &StoreLimits,
    ) -> Result<Header, Damage> {
        if &bytes[..8] != MAGIC {
            return Err(Damage::Magic);
        }
        let version = u32::from_le_bytes(array(bytes, 8));
        if version != VERSION {
            return Err(Damage::Version(version));
        }
        if u64_at(bytes, SUMMED) != xxh3_64(&bytes[..SUMMED]) {
            return Err(Damage::Checksum("header"));
        }
        let (kind, role) = match (bytes[12], SnapshotRole::from_u8(bytes[13])) {
            (1, None) if bytes[13] == 0 => (RecordKind::Edge, None),
            (2, Some(role)) => (RecordKind::Node, Some(role)),
            (1 | 2, _) => return Err(Damage::Field("role")),
            _ => return Err(Damage::Field("kind")),
        };
        let flags = u16::from_le_bytes(array(bytes, 14));
        if flags & !LOGITS != 0 {
            return Err(Damage::Field("flags"));
        }
        if bytes[224..SUMMED].iter().any(|b| *b != 0) {
            return Err(Damage::Field("reserved part"));
        }
        let (p0, p1) = (u64_at(bytes, 16), u64_at(bytes, 24));
        let tokens = u64_at(bytes, 128);
        let payload = u64_at(bytes, 136);
        let logits = u64_at(bytes, 144);
        let owner = u64_at(bytes, 152);
        let edge = kind == RecordKind::Edge;
        if p1 > MOST_POSITION || p0 > p1 || (edge && p0 == p1) {
            return Err(Damage::Field("position"));
        }
        let (most_tokens, most_payload) = match kind {
            RecordKind::Edge => (limits.segment_tokens, limits.segment_bytes),
            RecordKind::Node => (MOST_TAIL as u64, limits.snapshot_bytes),
        };
        let most_logits = if edge { 0 } else { limits.logits };
        let (owner_bytes, most_owner) = match kind {
            RecordKind::Edge => ("run bytes", (runs::MOST * runs::BYTES) as u64),
            RecordKind::Node => ("owner bytes", MOST_OWNER as u64),
        };
        for (what, said, limit) in [
            ("tokens", tokens, most_tokens),
            ("payload bytes", payload, most_payload),
            ("logits", logits, most_logits),
            (owner_bytes, owner, most_owner),
        ] {
            if said > limit {
                return Err(Damage::Limit { what, said, limit });
            }
        }
        if tokens != p1 - p0 {
            return Err(Damage::Field("token count"));
        }
        if (flags & LOGITS != 0) != (logits > 0) {
            return Err(Damage::Field("flags"));
        }
        let said = [
            tokens.checked_mul(4),
            Some(owner),
            logits.checked_mul(4),
            Some(payload),
        ]
        .into_iter()
        .try_fold(HEADER as u64, |sum, part| sum.checked_add(part?))
        .unwrap_or(u64::MAX);
        if said != file_len {
            return Err(Damage::Length { said, is: file_len });
        }
        let small = |n: u64| usize::try_from(n).map_err(|_| Damage::Memory(n));
        Ok(Header {
            kind,
            role,
            p0: small(p0)?,
            p1: small(p1)?,
            from: Digest(array(bytes, 32)),
            to: Digest(array(bytes, 64)),
            hard: Digest(array(bytes, 96)),
            soft: Digest(array(bytes, 192)),
            tokens: small(tokens)?,
            owner: small(owner)?,
            logits: small(logits)?,
            payload: small(payload)?,
            sums: Sums {
                tokens: u64_at(bytes, 160),
                payload: u64_at(bytes, 168),
                logits: u64_at(bytes, 176),
                owner: u64_at(bytes, 184),
            },
        })
    }
}

/// The tokens in the bytes of a tokens section, if the checksum of these bytes is `sum`.
pub(in crate::kv) fn tokens_of(bytes: &[u8], sum: u64) -> Result<Vec<Token>, Damage> {
    if xxh3_64(bytes) != sum {
        return Err(Damage::Checksum("tokens"));
    }
    Token::from_bytes(bytes).ok_or(Damage::Field("tokens"))
}

fn array<const N: usize>(bytes: &[u8; HEADER], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

fn u64_at(bytes: &[u8; HEADER], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}
