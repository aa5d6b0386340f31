//! What idle work cost. Each piece has a receipt, which is said in the log, counted for metrics, and
//! stored with the session it was done for.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::projects::held;
use crate::agent::{IdleRecorder, Receipt};

/// What all work of one name cost since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct IdleSum {
    /// Pieces of work.
    pub jobs: u64,
    /// Tokens that were evaluated.
    pub evaluated: u64,
    /// Tokens that were sampled.
    pub generated: u64,
    /// Bytes that were handed to the KV store, or that merging wrote.
    pub bytes: u64,
    /// Milliseconds.
    pub ms: u64,
}

/// The idle work of a process.
pub struct Book {
    sums: Mutex<BTreeMap<String, IdleSum>>,
    recorder: IdleRecorder,
}

impl Book {
    /// With nothing in it; receipts are stored by `recorder`.
    pub fn new(recorder: IdleRecorder) -> Book {
        Book {
            sums: Mutex::default(),
            recorder,
        }
    }

    /// Work is done that belongs to no open session's thread: its receipt is stored here.
    pub fn enter(&self, owner: &str, receipt: &Receipt) {
        self.count(receipt);
        if let Err(error) = self.recorder.store(owner, receipt) {
            tracing::warn!(%error, owner, "the receipt of idle work could not be stored");
        }
    }

    /// Work is done whose receipt is stored already.
    pub fn count(&self, receipt: &Receipt) {
        let job = receipt.job.as_deref().unwrap_or("call");
        let bytes = receipt.saved_bytes + receipt.snapshot_bytes;
        let ms = receipt.ms.restore + receipt.ms.prefill + receipt.ms.decode + receipt.ms.save;
        tracing::info!(
            job,
            kept = receipt.kept,
            evaluated = receipt.evaluated,
            generated = receipt.generated,
            bytes,
            ms,
            finish = receipt.finish.as_str(),
            "idle work"
        );
        let mut sums = held(&self.sums);
        let sum = sums.entry(job.to_owned()).or_default();
        sum.jobs += 1;
        sum.evaluated += receipt.evaluated as u64;
        sum.generated += receipt.generated as u64;
        sum.bytes += bytes;
        sum.ms += ms;
    }

    /// What was done so far, by name.
    pub fn sums(&self) -> BTreeMap<String, IdleSum> {
        held(&self.sums).clone()
    }
}
