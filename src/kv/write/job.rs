//! What the writer thread can be asked to do.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use crate::kv::error::Error;
use crate::kv::record::item::Edge;
use crate::kv::record::put::Record;
use crate::ledger::Digest;

use super::evict::Collected;
use super::join::Join;
use super::merge::{Merged, MergedChain};

/// A job of the writer; each is a method of `Store` that says what it does.
pub(in crate::kv) enum WriterJob {
    Put(Record),
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
        join: Arc<dyn Join>,
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
    /// Bytes that it holds while it waits.
    pub(in crate::kv) fn bytes(&self) -> usize {
        match self {
            WriterJob::Put(record) => record.bytes(),
            WriterJob::Sample { values, .. } => 4 * values.len(),
            _ => 0,
        }
    }
}
