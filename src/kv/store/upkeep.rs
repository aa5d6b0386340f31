//! The methods of `Store` that keep a store small and free of damage: garbage collection, merging, freeing
//! disk space, quarantine, and choosing segments for `npast kv verify --deep`. Invariant: of these methods
//! only `make_room` evicts records that the conversation in the slot needs.
//!
//! `Store::collect` may run while other processes use the folder. Then it may also remove what such a
//! process has just stored and no owner reaches yet; these tokens are evaluated again. (`Folder::collect`,
//! which `npast kv gc` calls, refuses to run in this case.)

use std::sync::Arc;

use crate::kv::check::deep::{self, SampledSegment};
use crate::kv::error::Error;
use crate::kv::open::index::IndexOwner;
use crate::kv::open::quarantine;
use crate::kv::record::item::{Edge, Node};
use crate::kv::write::evict::Collected;
use crate::kv::write::job::WriterJob;
use crate::kv::write::join::JoinPayloads;
use crate::kv::write::merge::{Merged, MergedChain};

use super::handle::Store;

impl Store {
    /// Garbage collection: removes every record that no owner reaches, under every model. If more than
    /// the quota is left, also removes leaves that owners reach (see `write::evict`), those first that
    /// save the fewest tokens per byte; records of the owner with the latest pin or put stay. The writer
    /// thread does it, in order with the puts. The thread also keeps to the quota by itself, at the end
    /// of each turn.
    ///
    /// # Errors
    /// When the writer thread has ended, or the files or the index fail.
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
    pub fn merge_with(&self, join: Arc<dyn JoinPayloads>) {
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
    /// When the writer thread has ended. A failed merge becomes a notice, and ends this call.
    pub fn merge(&self) -> Result<Merged, Error> {
        if self.is_off() {
            return Ok(Merged::default());
        }
        let (reply, done) = std::sync::mpsc::channel();
        self.push(WriterJob::Merge { reply });
        done.recv().map_err(|_| Error::Stopped)
    }

    /// Frees `bytes` bytes of disk space for npast.db: removes files in quarantine, then the least useful
    /// records, and at last also records in use, which are then evaluated again after a restart. Returns
    /// the number of freed bytes. The writer thread does it, in order with the puts, and adds a notice.
    pub fn make_room(&self, bytes: u64) -> u64 {
        if self.changeable().is_none() {
            return 0;
        }
        let (reply, done) = std::sync::mpsc::channel();
        self.push(WriterJob::MakeRoom { bytes, reply });
        done.recv().map_or(0, |collected| collected.bytes)
    }

    /// Takes an edge out of use: moves its file to quarantine, removes its index row, and adds a notice
    /// with the reason.
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

    /// Takes edges and a node out of use that another machine has evaluated and that are not right on
    /// this machine. There is one notice for all of them.
    pub fn refuse(&self, edges: &[Edge], node: Option<&Node>, reason: &str) {
        if let Some(open) = self.changeable() {
            quarantine::all(open, edges, node, reason);
        }
    }

    /// Chooses at most `most` segments, spread over everything that is stored for this model, with the
    /// tokens and runs that the slot needs to evaluate them again.
    ///
    /// # Errors
    /// When the index or a file cannot be read.
    pub fn sampled(&self, most: usize) -> Result<Vec<SampledSegment>, Error> {
        self.open_store().map_or(Ok(Vec::new()), |open| {
            open.sound(|| deep::sampled(open, most))
        })
    }
}
