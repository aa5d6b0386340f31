//! What callers hand over to be stored. They give owned bytes away, and the writer thread computes checksums
//! and writes: so a put costs its caller only the copy that it made.

use std::sync::Arc;

use crate::kv::error::Damage;
use crate::kv::limits::Limits;
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
    /// The KV bytes, opaque here. May be empty (recurrent-only models keep nothing by position).
    pub payload: Vec<u8>,
}

/// A snapshot to store: the node at `digest`.
#[derive(Debug)]
pub struct PutSnapshot<'a> {
    /// Position P: the state after `at` tokens.
    pub at: usize,
    /// D(at).
    pub digest: Digest,
    /// Tokens before `at`; the last 64 of them are kept.
    pub tail: Vec<Token>,
    /// The uncuttable part of the state, opaque here; the caller may keep it too.
    pub payload: Arc<Vec<u8>>,
    /// The logits row of token `at` - 1, where someone may sample again.
    pub logits: Option<Vec<f32>>,
    /// Why it is kept.
    pub role: SnapshotRole,
    /// Whose it is: an opaque id. When it is stored, some older snapshots of the owner are removed; a
    /// logits row replaces the owner's previous one.
    pub owner: Option<&'a str>,
    /// What its conversation has stored before it.
    pub past: Past,
}

/// What a conversation has stored before a snapshot: decides which older snapshots stay.
#[derive(Clone, Default, Debug)]
pub struct Past {
    /// The snapshots that lead to it: positions and digests. An owner's snapshot that is not among them
    /// belongs to messages that were taken back.
    pub nodes: Vec<(usize, Digest)>,
    /// Bytes of KV that is kept by position, up to the snapshot; `None` where a model has none.
    pub kv_bytes: Option<u64>,
}

/// A segment or a snapshot on its way to the disk.
pub(in crate::kv) struct Record {
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
    /// For an edge: how many of its first tokens have the bytes that were stored for them when the
    /// caller looked. `usize::MAX` where the caller did not look.
    pub(in crate::kv) shared: usize,
}

impl From<PutSegment> for Record {
    fn from(put: PutSegment) -> Record {
        Record {
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

impl From<PutSnapshot<'_>> for Record {
    fn from(put: PutSnapshot<'_>) -> Record {
        let mut tokens = put.tail;
        let keep = MOST_TAIL.min(put.at);
        tokens.drain(..tokens.len().saturating_sub(keep));
        Record {
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

impl Record {
    /// An edge of (from, to) and [p0, p1).
    pub(in crate::kv) fn edge(
        (from, to): (Digest, Digest),
        (p0, p1): (usize, usize),
        tokens: Vec<Token>,
        payload: Vec<u8>,
    ) -> Record {
        Record::from(PutSegment {
            from,
            to,
            p0,
            p1,
            tokens,
            payload,
        })
    }

    /// Bytes it holds while it waits.
    pub(in crate::kv) fn bytes(&self) -> usize {
        self.payload.len() + self.tokens.len() * 4 + self.logits.len() * 4 + self.owner.len()
    }

    /// The header and sections as they are written, with `runs`. Refuses what a reader would refuse, so
    /// that no unreadable record is stored.
    pub(in crate::kv) fn encode(
        &self,
        runs: &[TokenRun],
        hard: Digest,
        soft: Digest,
        limits: &Limits,
    ) -> Result<([u8; HEADER], Sections), Damage> {
        let sections = Sections {
            tokens: Token::to_bytes(&self.tokens),
            owner: match self.kind {
                // A reader would refuse the whole record for invalid runs: without runs it is readable.
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
