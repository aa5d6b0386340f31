//! What a caller hands over to be stored: [`PutSegment`] and [`PutSnapshot`], and [`PendingRecord`], the form in
//! which they wait in the queue of the writer thread. (Elsewhere a record is a file; a value of the type
//! [`PendingRecord`] is in memory, and becomes such a file.) The caller moves the bytes into these values, and
//! does no hashing and no I/O: the writer thread computes the checksums and writes the file. So the only
//! cost of a put for its caller is the copy of the bytes out of the slot. Invariant: [`PendingRecord::encode`]
//! returns only headers that a reader accepts.

use std::sync::Arc;

use crate::kv::error::Damage;
use crate::kv::limits::StoreLimits;
use crate::ledger::{Digest, Token};

use super::format::{HEADER, Header, MOST_TAIL, RecordKind, Sections};
use super::role::SnapshotRole;
use super::runs::{self, TokenRun};

/// A segment to store: the edge `from`→`to`.
#[derive(Debug)]
pub struct PutSegment {
    /// D(p0).
    pub from: Digest,
    /// D(p1).
    pub to: Digest,
    /// First position.
    pub p0: usize,
    /// One past the last position.
    pub p1: usize,
    /// The tokens of [p0, p1).
    pub tokens: Vec<Token>,
    /// The KV bytes; this module does not interpret them. They may be empty: a purely recurrent model
    /// keeps nothing by position.
    pub payload: Vec<u8>,
}

/// A snapshot to store: the node at `digest`.
#[derive(Debug)]
pub struct PutSnapshot<'a> {
    /// The position P of the snapshot: the state is the one after `at` tokens.
    pub at: usize,
    /// D(at).
    pub digest: Digest,
    /// Tokens that end directly before position `at`; the record keeps the last 64 of them.
    pub tail: Vec<Token>,
    /// The part of the state that cannot be cut by position; this module does not interpret it. The
    /// caller may keep the same bytes.
    pub payload: Arc<Vec<u8>>,
    /// The logits row of token `at` - 1, if a reply may be sampled again from here.
    pub logits: Option<Vec<f32>>,
    /// For which reason the snapshot is kept.
    pub role: SnapshotRole,
    /// The owner for which it is stored. After it is stored, some older snapshots of this owner are
    /// removed; a logits row replaces the owner's previous logits row.
    pub owner: Option<&'a str>,
    /// What is stored of the conversation before this snapshot.
    pub past: Past,
}

/// What is stored of a conversation before a new snapshot. It decides which older snapshots are kept
/// (`index::retain`).
#[derive(Clone, Default, Debug)]
pub struct Past {
    /// The position and digest of each snapshot on the way from position 0 to the new one. A snapshot of
    /// the owner that is not in this list belongs to messages that were taken back.
    pub nodes: Vec<(usize, Digest)>,
    /// The bytes of stored KV from position 0 to the new snapshot. `None` if the model keeps no KV by
    /// position.
    pub kv_bytes: Option<u64>,
}

/// A segment or a snapshot that waits to be written.
pub(in crate::kv) struct PendingRecord {
    pub(in crate::kv) kind: RecordKind,
    pub(in crate::kv) role: Option<SnapshotRole>,
    pub(in crate::kv) p0: usize,
    pub(in crate::kv) p1: usize,
    pub(in crate::kv) from: Digest,
    pub(in crate::kv) to: Digest,
    pub(in crate::kv) tokens: Vec<Token>,
    pub(in crate::kv) owner: String,
    pub(in crate::kv) logits: Vec<f32>,
    pub(in crate::kv) payload: Arc<Vec<u8>>,
    pub(in crate::kv) past: Past,
    pub(in crate::kv) runs: Vec<TokenRun>,
    /// For a segment: how many of its first tokens have the bytes that were already stored for them when
    /// the caller asked with `Store::ahead`. `usize::MAX` if the caller did not ask.
    pub(in crate::kv) shared: usize,
}

impl From<PutSegment> for PendingRecord {
    fn from(put: PutSegment) -> PendingRecord {
        PendingRecord {
            kind: RecordKind::Edge,
            role: None,
            p0: put.p0,
            p1: put.p1,
            from: put.from,
            to: put.to,
            tokens: put.tokens,
            owner: String::new(),
            logits: Vec::new(),
            payload: Arc::new(put.payload),
            past: Past::default(),
            runs: Vec::new(),
            shared: usize::MAX,
        }
    }
}

impl From<PutSnapshot<'_>> for PendingRecord {
    fn from(put: PutSnapshot<'_>) -> PendingRecord {
        let mut tokens = put.tail;
        let keep = MOST_TAIL.min(put.at);
        tokens.drain(..tokens.len().saturating_sub(keep));
        PendingRecord {
            kind: RecordKind::Node,
            role: Some(put.role),
            p0: put.at - tokens.len(),
            p1: put.at,
            from: put.digest,
            to: put.digest,
            tokens,
            owner: put.owner.unwrap_or_default().to_string(),
            logits: put.logits.unwrap_or_default(),
            payload: put.payload,
            past: put.past,
            runs: Vec::new(),
            shared: 0,
        }
    }
}

impl PendingRecord {
    /// The record of a segment with digests (from, to) and positions [p0, p1).
    pub(in crate::kv) fn edge(
        (from, to): (Digest, Digest),
        (p0, p1): (usize, usize),
        tokens: Vec<Token>,
        payload: Vec<u8>,
    ) -> PendingRecord {
        PendingRecord::from(PutSegment {
            from,
            to,
            p0,
            p1,
            tokens,
            payload,
        })
    }

    /// The bytes of memory that count for this record while it waits in the queue.
    pub(in crate::kv) fn bytes(&self) -> usize {
        self.payload.len() + self.tokens.len() * 4 + self.logits.len() * 4 + self.owner.len()
    }

    /// The header and the sections as they are written, with `runs`. Returns an error if a reader would
    /// refuse the record, so that no unreadable record is stored.
    pub(in crate::kv) fn encode(
        &self,
        runs: &[TokenRun],
        hard: Digest,
        soft: Digest,
        limits: &StoreLimits,
    ) -> Result<([u8; HEADER], Sections), Damage> {
        let sections = Sections {
            tokens: Token::to_bytes(&self.tokens),
            owner: match self.kind {
                // Invalid runs are left out: because of them a reader would refuse the whole record, and
                // without runs the record is readable.
                RecordKind::Edge => Some(runs::to_bytes(runs))
                    .filter(|bytes| runs::from_bytes(bytes, self.p0, self.p1).is_ok())
                    .unwrap_or_default(),
                RecordKind::Node => self.owner.as_bytes().to_vec(),
            },
            logits: self.logits.iter().flat_map(|f| f.to_le_bytes()).collect(),
        };
        let header = Header {
            kind: self.kind,
            role: self.role,
            p0: self.p0,
            p1: self.p1,
            from: self.from,
            to: self.to,
            hard,
            soft,
            tokens: self.tokens.len(),
            owner: sections.owner.len(),
            logits: self.logits.len(),
            payload: self.payload.len(),
            sums: sections.sums(&self.payload),
        };
        let bytes = header.encode();
        Header::parse(&bytes, header.file_len(), limits)?;
        Ok((bytes, sections))
    }
}
