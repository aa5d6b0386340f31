//! Reading ahead: during a restore a thread reads and proves the segments of a chain, one after another,
//! while the caller imports the segments before them into the slot. The caller gives buffers back, and the
//! thread uses them again. Invariant: the payloads that wait for the caller, together with the payload
//! that the caller has, are at most `Limits::ahead_bytes` bytes. Only a payload that is larger than the
//! limit may exceed it, and then no other payload waits. (The payload that the thread is just reading is
//! not counted.)

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use crate::ledger::{RunningDigest, Token};

use crate::kv::error::Error;
use crate::kv::open::store::OpenStore;
use crate::kv::queue::{JobQueue, NextJob};
use crate::kv::record::format::HEADER;
use crate::kv::record::item::Edge;
use crate::kv::record::read::{self, ProvenSegment};

/// The maximum number of buffers that are kept for later segments.
const SPARE: usize = 4;

type Segments = JobQueue<Result<ProvenSegment, Error>>;

/// The proven segments of a chain, in its order, as an iterator. After the first error (also a panic of
/// the thread) no more segments come. Dropping this value stops the thread.
pub struct Chain {
    segments: Arc<Segments>,
    spare: Sender<Vec<u8>>,
    /// The bytes of the segment that the caller has now; they count until the caller asks for the next
    /// segment.
    given: Option<usize>,
    reader: Option<JoinHandle<()>>,
}

impl Chain {
    /// Starts reading. Each edge comes with the position up to which it is wanted: its p1, or less for
    /// the last edge. The edges must have the tokens of `target`.
    pub(in crate::kv) fn start(
        store: Arc<OpenStore>,
        edges: Vec<(Edge, usize)>,
        target: Arc<[Token]>,
    ) -> Result<Chain, Error> {
        let segments = Arc::new(JobQueue::new(store.limits.ahead_bytes));
        let (spare, buffers) = mpsc::channel();
        let (queue, folder) = (segments.clone(), store.files.folder.clone());
        let reader = thread::Builder::new()
            .name("npast-kv-read".to_string())
            .spawn(move || {
                let queue = Closes(queue);
                let read = || read_all(&store, &edges, &target, &queue.0, &buffers);
                if let Err(panic) = catch_unwind(AssertUnwindSafe(read)) {
                    let error = Error::Panicked(message(panic.as_ref()));
                    tracing::error!(%error, "reading ahead");
                    queue.0.push(Err(error), 0);
                }
            })
            .map_err(Error::folder(&folder))?;
        Ok(Chain {
            segments,
            spare,
            given: None,
            reader: Some(reader),
        })
    }

    /// Takes back the buffer of a segment that the caller does not need any more.
    pub fn give_back(&self, payload: Vec<u8>) {
        // When the last segment was read, the thread has ended, and the buffer is dropped.
        let _ = self.spare.send(payload);
    }
}

/// Closes the queue when the reading thread ends, also after a panic, because the caller waits for the
/// queue.
struct Closes(Arc<Segments>);

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The message of a panic.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no reason was given".to_owned())
}

/// The work of the thread: reads all edges, until the first error.
fn read_all(
    store: &OpenStore,
    edges: &[(Edge, usize)],
    target: &[Token],
    queue: &Segments,
    buffers: &Receiver<Vec<u8>>,
) {
    let hard = store.fingerprint.hard;
    let mut running = RunningDigest::new(hard);
    let mut spare: Vec<Vec<u8>> = Vec::new();
    for (edge, upto) in edges {
        spare.extend(buffers.try_iter());
        spare.drain(..spare.len().saturating_sub(SPARE));
        let small = HEADER + edge.p1.saturating_sub(edge.p0) * 4;
        let want = usize::try_from(edge.bytes)
            .unwrap_or(usize::MAX)
            .saturating_sub(small);
        // The buffer that was given back last is probably still in the processor's cache.
        let fits = spare.iter().rposition(|b| b.capacity() >= want);
        let buffer = fits.map_or_else(Vec::new, |i| spare.remove(i));
        let wanted = read::WantedEdge {
            edge,
            target,
            upto: *upto,
        };
        let read = read::segment(
            &store.files,
            hard,
            &store.limits,
            &wanted,
            &mut running,
            buffer,
        );
        let (bytes, last) = match &read {
            Ok(segment) => (segment.payload.len(), false),
            Err(_) => (0, true),
        };
        if !queue.push(read, bytes) || last {
            return;
        }
    }
}

impl Iterator for Chain {
    type Item = Result<ProvenSegment, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(bytes) = self.given.take() {
            self.segments.done(bytes);
        }
        match self.segments.next() {
            NextJob::Job(segment, bytes) => {
                self.given = Some(bytes);
                Some(segment)
            }
            NextJob::Closed => None,
        }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // A `push` that waits returns now. If the thread is reading a segment, it reads the segment to
        // its end.
        self.segments.die();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
