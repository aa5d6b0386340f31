//! What keeps a store small and sound: eviction, merging, quarantine, and samples for a deep check.

use std::sync::Arc;

use crate::kv::check::deep::{self, SampledSegment};
use crate::kv::error::Error;
use crate::kv::open::index::IndexOwner;
use crate::kv::open::quarantine;
use crate::kv::record::item::{Edge, Node};
use crate::kv::write::evict::Collected;
use crate::kv::write::job::WriterJob;
use crate::kv::write::join::Join;
use crate::kv::write::merge::{Merged, MergedChain};

use super::handle::Store;

impl Store {
    /// Removes what no owner reaches under any fingerprint. If more than the quota is left, also leaves
    /// of what is reached, those first that save the fewest tokens per byte, but nothing that the owner
    /// needs who pinned or put last. Done by the writer, in order with the puts. The writer keeps to
    /// the quota by itself, at the end of each turn.
    ///
    /// # Errors
    /// When the writer has stopped, or files or index fail.
    pub fn collect(&self) -> Result<Collected, Error> {
        if self.changeable().is_none() {
            return Ok(Collected::default());
        }
        let (reply, done) = std::sync::mpsc::channel();
        self.push(WriterJob::Collect { reply });
        done.recv().unwrap_or(Err(Error::Stopped))
    }

    /// Says how payloads are joined. From now on [`Store::merge_one`] and [`Store::merge`] merge small
    /// segments that follow each other: on chains that are pinned from now on, and on those that were pinned
    /// last.
    pub fn merge_with(&self, join: Arc<dyn Join>) {
        self.push(WriterJob::MergeWith { join });
    }

    /// Does one merge, if a chain needs one: it reads and writes at most 12 MiB, on the writer's thread. For
    /// idle time. Nothing before [`Store::merge_with`].
    ///
    /// # Errors
    /// When the writer has stopped. What fails on the way is a notice, and the chain waits until it is pinned
    /// again.
    pub fn merge_one(&self) -> Result<Option<MergedChain>, Error> {
        if self.changeable().is_none() {
            return Ok(None);
        }
        let (reply, done) = std::sync::mpsc::channel();
        self.push(WriterJob::MergeOne { reply });
        done.recv().map_err(|_| Error::Stopped)
    }

    /// Does all merges that are due. Nothing before [`Store::merge_with`].
    ///
    /// # Errors
    /// When the writer has stopped. What fails on the way is a notice, and ends it.
    pub fn merge(&self) -> Result<Merged, Error> {
        if self.is_off() {
            return Ok(Merged::default());
        }
        let (reply, done) = std::sync::mpsc::channel();
        self.push(WriterJob::Merge { reply });
        done.recv().map_err(|_| Error::Stopped)
    }

    /// Evicts what is least useful until `bytes` are free, at the end also what is in use: that is
    /// evaluated again after a restart. Returns the bytes that were freed. Done by the writer, in
    /// order with the puts, and reported by a notice.
    pub fn make_room(&self, bytes: u64) -> u64 {
        if self.changeable().is_none() {
            return 0;
        }
        let (reply, done) = std::sync::mpsc::channel();
        self.push(WriterJob::MakeRoom { bytes, reply });
        done.recv().map_or(0, |collected| collected.bytes)
    }

    /// Takes an edge out of use: its file is moved to quarantine/, its row is removed, a notice says why.
    pub fn quarantine_edge(&self, edge: &Edge, reason: &str) {
        if let Some(open) = self.changeable() {
            quarantine::edge(open, edge, reason);
        }
    }

    /// [`Store::quarantine_edge`] for a node.
    pub fn quarantine_node(&self, node: &Node, reason: &str) {
        if let Some(open) = self.changeable() {
            quarantine::node(open, node, reason);
        }
    }

    /// Takes edges and a node out of use that another machine computed and that are not right on this
    /// one; one notice for all of them.
    pub fn refuse(&self, edges: &[Edge], node: Option<&Node>, reason: &str) {
        if let Some(open) = self.changeable() {
            quarantine::all(open, edges, node, reason);
        }
    }

    /// At most `most` segments, spread over all that are stored for this fingerprint, with what it
    /// takes to evaluate them again.
    ///
    /// # Errors
    /// When the index or a file cannot be read.
    pub fn sampled(&self, most: usize) -> Result<Vec<SampledSegment>, Error> {
        self.open_store().map_or(Ok(Vec::new()), |open| {
            open.sound(|| deep::sampled(open, most))
        })
    }
}
