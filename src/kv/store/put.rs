//! What callers hand to the writer to be stored: segments, snapshots, samples. The writer does all of it in
//! the order of the calls.

use crate::kv::record::item::Edge;
use crate::kv::record::put::{PutSegment, PutSnapshot, Record};
use crate::kv::record::runs::TokenRun;
use crate::kv::write::job::WriterJob;
use crate::ledger::Digest;

use super::handle::Store;

impl Store {
    /// Hands a segment to the writer. One that is stored already is dropped there. Blocks only
    /// while more than `Limits::queue_bytes` wait. A failure becomes a notice.
    pub fn put_segment(&self, put: PutSegment) {
        self.put_segment_of(put, Vec::new());
    }

    /// [`Store::put_segment`] with how it was evaluated: without a gap from p0 or before it to p1,
    /// or nothing where that is not known.
    pub fn put_segment_of(&self, put: PutSegment, runs: Vec<TokenRun>) {
        let record = Record { runs, ..put.into() };
        self.push(WriterJob::Put(record));
    }

    /// [`Store::put_segment_of`] for a segment whose first `shared` tokens have the bytes that
    /// [`Store::ahead`] found for them. If more of its tokens are stored when the writer comes to it,
    /// it is not stored, and [`Store::take_others`] returns its end.
    pub fn put_version(&self, put: PutSegment, runs: Vec<TokenRun>, shared: usize) {
        let record = Record {
            runs,
            shared,
            ..put.into()
        };
        self.push(WriterJob::Put(record));
    }

    /// Makes two segments of one: [p0, at) and [at, p1). `middle` is D(at). Done by the writer, in
    /// order with the puts. Nothing happens where the segment is not stored any more.
    pub fn split(&self, edge: &Edge, at: usize, middle: Digest) {
        self.push(WriterJob::Split {
            edge: edge.clone(),
            at,
            middle,
        });
    }

    /// Hands a snapshot to the writer, as [`Store::put_segment`]. When a snapshot with an owner is
    /// durable, the writer removes older ones of that owner (docs/kv-format.md); files that another
    /// owner holds stay.
    pub fn put_snapshot(&self, put: PutSnapshot<'_>) {
        self.push(WriterJob::Put(put.into()));
    }

    /// Stores what the state at a digest gives here, at most 1,024 values, in the index alone; the last
    /// 32 of an owner are kept. Done by the writer, in order with the puts.
    pub fn put_sample(&self, owner: &str, digest: Digest, values: Vec<f32>) {
        let owner = owner.to_owned();
        self.push(WriterJob::Sample {
            owner,
            digest,
            values,
        });
    }

    /// Stores that a comparison found the snapshot at a digest, and all that leads to it, to be right
    /// here: see [`Store::agrees`]. Done by the writer, in order with the puts.
    pub fn agree(&self, owner: &str, digest: Digest) {
        let owner = owner.to_owned();
        self.push(WriterJob::Agree { owner, digest });
    }
}
