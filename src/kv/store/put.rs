//! The methods of `Store` that hand over something to be stored: segments, snapshots, and samples of
//! logits (see `index::samples`). The slot calls them at the end of a model call, at snapshot points and
//! segment boundaries inside a long append, and in idle time. Invariant: the writer thread stores in the
//! order of the calls.

use crate::kv::record::item::Edge;
use crate::kv::record::put::{PendingRecord, PutSegment, PutSnapshot};
use crate::kv::record::runs::TokenRun;
use crate::kv::write::job::WriterJob;
use crate::ledger::Digest;

use super::handle::Store;

impl Store {
    /// Hands over a segment to be stored. It is ignored if it is stored already. Blocks only while more
    /// than `Limits::queue_bytes` wait. A failure becomes a notice.
    pub fn put_segment(&self, put: PutSegment) {
        self.put_segment_of(put, Vec::new());
    }

    /// [`Store::put_segment`] with the runs of the segment: they follow each other without a gap, the
    /// first one begins at p0 or before p0, and the last one ends at p1. No runs if they are not known.
    pub fn put_segment_of(&self, put: PutSegment, runs: Vec<TokenRun>) {
        let record = PendingRecord { runs, ..put.into() };
        self.push(WriterJob::Put(record));
    }

    /// [`Store::put_segment_of`] for a segment whose first `shared` tokens have the stored bytes that
    /// [`Store::ahead`] found. If more of its tokens are stored when the writer thread comes to it, it is
    /// not stored, and [`Store::take_others`] returns the digest at its end.
    pub fn put_version(&self, put: PutSegment, runs: Vec<TokenRun>, shared: usize) {
        let record = PendingRecord {
            runs,
            shared,
            ..put.into()
        };
        self.push(WriterJob::Put(record));
    }

    /// Makes two segments of one: [p0, at) and [at, p1). `middle` is D(at). The writer thread does it, in
    /// order with the puts. If the segment is not stored any more, nothing is changed, and
    /// [`Changes::lost`](crate::kv::Changes) counts it.
    pub fn split(&self, edge: &Edge, at: usize, middle: Digest) {
        self.push(WriterJob::Split {
            edge: edge.clone(),
            at,
            middle,
        });
    }

    /// Hands over a snapshot to be stored, like [`Store::put_segment`]. When a snapshot with an owner is
    /// durable, the writer thread removes older ones of this owner (docs/kv-format.md, Snapshots of a
    /// conversation). The file of a snapshot whose digest another owner holds stays.
    pub fn put_snapshot(&self, put: PutSnapshot<'_>) {
        self.push(WriterJob::Put(put.into()));
    }

    /// Stores a sample: the logits that the state at `digest` gives on this machine, at most 1,024
    /// values. Samples are in the index only; the last 32 of an owner are kept. The writer thread does
    /// it, in order with the puts.
    pub fn put_sample(&self, owner: &str, digest: Digest, values: Vec<f32>) {
        let owner = owner.to_owned();
        self.push(WriterJob::Sample {
            owner,
            digest,
            values,
        });
    }

    /// Stores the result of a comparison of samples: the snapshot at `digest`, and everything on the way
    /// from position 0 to it, is right on this machine; see [`Store::agrees`]. The writer thread does it,
    /// in order with the puts.
    pub fn agree(&self, owner: &str, digest: Digest) {
        let owner = owner.to_owned();
        self.push(WriterJob::Agree { owner, digest });
    }
}
