//! The jobs of the writer thread. Each is one method of `Store`, whose doc comment says what it does.
//! Invariant: a job owns all its bytes, so a caller can go on while the job waits.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use crate::kv::error::Error;
use crate::kv::record::item::Edge;
use crate::kv::record::put::PendingRecord;
use crate::ledger::Digest;

use super::evict::Collected;
use super::join::JoinPayloads;
use super::merge::{Merged, MergedChain};

/// A job of the writer thread; the method of `Store` with the same name describes it. (`Put` is for
/// `put_segment` and `put_snapshot`.)
pub(in crate::kv) enum WriterJob {
    Put(PendingRecord),
    Pin {
        owner: String,
        digest: Digest,
    },
    Hold {
        owner: String,
        digest: Digest,
    },
    Unpin {
        owner: String,
    },
    Sample {
        owner: String,
        digest: Digest,
        values: Vec<f32>,
    },
    Agree {
        owner: String,
        digest: Digest,
    },
    Collect {
        reply: Sender<Result<Collected, Error>>,
    },
    MakeRoom {
        bytes: u64,
        reply: Sender<Collected>,
    },
    MergeWith {
        join: Arc<dyn JoinPayloads>,
    },
    Merge {
        reply: Sender<Merged>,
    },
    MergeOne {
        reply: Sender<Option<MergedChain>>,
    },
    Split {
        edge: Edge,
        at: usize,
        middle: Digest,
    },
}

impl WriterJob {
    /// The bytes of memory that the job takes while it waits.
    pub(in crate::kv) fn bytes(&self) -> usize {
        match self {
            WriterJob::Put(record) => record.bytes(),
            WriterJob::Sample { values, .. } => 4 * values.len(),
            _ => 0,
        }
    }
}
