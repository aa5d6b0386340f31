//! What callers hand over to be stored. They give owned bytes away: the writer thread computes
//! checksums and touches the disk, so a put costs the caller nothing but the copy it made.

use std::sync::Arc;

use crate::ledger::{Digest, Token};

use crate::kv::error::Damage;
use crate::kv::record::format::{Header, Kind, Limits, MOST_TAIL, Sections};
use crate::kv::record::runs::{self, Run};

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
    /// Whose it is: an opaque id. What the owner had before is thinned when it is stored; a row
    /// replaces the owner's previous one.
    pub owner: Option<&'a str>,
    /// What its conversation has stored before it.
    pub past: Past,
}

/// What a conversation has stored before a snapshot: decides which older snapshots stay.
#[derive(Clone, Default, Debug)]
pub struct Past {
    /// Snapshots on the way: positions and digests. An owner's snapshot that is not among them is
    /// on a way that was left.
    pub nodes: Vec<(usize, Digest)>,
    /// Bytes of KV that is kept by position, up to the snapshot; `None` where a model has none.
    pub kv_bytes: Option<u64>,
}

/// Why a snapshot is kept. The order is by strength: a digest put twice keeps the stronger role.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum SnapshotRole {
    /// The end of a frozen head; shared by every conversation that starts with it.
    Head = 1,
    /// The head of a conversation; later ones of its owner thin it out.
    Turn = 2,
    /// A point inside a long prefix, or where a call was cut: with an owner it goes at the next such
    /// point and at the end of the turn.
    Step = 3,
    /// The logits row at the end of a prompt, where the memory can be cut and needs no state: the
    /// payload is empty. Replaced at each of its owner's turns, as a turn is.
    Row = 4,
}

impl SnapshotRole {
    pub(in crate::kv) fn from_u8(byte: u8) -> Option<SnapshotRole> {
        use SnapshotRole::*;
        [Head, Turn, Step, Row]
            .into_iter()
            .find(|r| *r as u8 == byte)
    }
}

/// A put on its way to the disk.
pub(in crate::kv) struct Record {
    pub(in crate::kv) kind: Kind,
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
    pub(in crate::kv) runs: Vec<Run>,
    /// Of an edge's tokens so many have the bytes that are stored for them already, see
    /// [`crate::kv::store::handle::Store::ahead`].
    pub(in crate::kv) shared: usize,
}

impl From<PutSegment> for Record {
    fn from(put: PutSegment) -> Record {
        Record {
            kind: Kind::Edge,
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
            kind: Kind::Node,
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

    /// The header and sections as they are written, with the runs given. Refuses what a reader would
    /// refuse, so that nothing unreadable is ever stored.
    pub(in crate::kv) fn encode(
        &self,
        runs: &[Run],
        hard: Digest,
        soft: Digest,
        limits: &Limits,
    ) -> Result<([u8; crate::kv::record::format::HEADER], Sections), Damage> {
        let sections = Sections {
            tokens: Token::to_bytes(&self.tokens),
            owner: match self.kind {
                // A reader would refuse the whole record for runs that make no sense.
                Kind::Edge => Some(runs::to_bytes(runs))
                    .filter(|bytes| runs::from_bytes(bytes, self.p0, self.p1).is_ok())
                    .unwrap_or_default(),
                Kind::Node => self.owner.as_bytes().to_vec(),
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
