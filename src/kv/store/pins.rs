//! The methods of `Store` by which a caller says what an owner wants kept: the slot sets a pin at the end
//! of a turn, and the agent gives a fork a pin and a turn node, so that the fork's owner reaches the
//! records that it shares. (`write::pins` does the jobs, `index::pins` has the table.) Invariant: the
//! writer thread does these jobs in the order of the calls, after the puts before them.

use crate::kv::error::Error;
use crate::kv::index::graph::Graph;
use crate::kv::index::points::hold;
use crate::kv::open::index::IndexOwner;
use crate::kv::write::job::WriterJob;
use crate::ledger::{Digest, Token};

use super::handle::Store;

impl Store {
    /// Makes `digest` the pin of this owner under this model; it replaces the owner's previous pin. The
    /// owner's conversation must be the one in the slot. The writer thread does it, in order with the
    /// puts.
    pub fn pin(&self, owner: &str, digest: Digest) {
        let owner = owner.to_string();
        self.push(WriterJob::Pin { owner, digest });
    }

    /// [`Store::pin`] for an owner whose conversation is not the one in the slot: what the conversation
    /// in the slot needs stays in use.
    fn hold_at(&self, owner: &str, digest: Digest) {
        let owner = owner.to_string();
        self.push(WriterJob::Hold { owner, digest });
    }

    /// `Folder::hold` under the model of this store, for a process that has the store open: makes `owner`
    /// reach what is stored of the first `len` tokens of `ledger`.
    ///
    /// # Errors
    /// When the index fails or the writer thread has ended.
    pub fn hold(&self, owner: &str, ledger: &[Token], len: usize) -> Result<(), Error> {
        self.flush()?;
        let Some(open) = self.open_store() else {
            return Ok(());
        };
        let digest = open.sound(|| {
            let index = open.index();
            index.at_once(|| {
                let Some(model) = index.models().get(open.model())? else {
                    return Ok(None);
                };
                hold(&index, &Graph::load(&index, &model)?, owner, ledger, len)
            })
        })?;
        if let Some(digest) = digest {
            self.hold_at(owner, digest);
        }
        Ok(())
    }

    /// Removes an owner from the index, under every model.
    pub fn unpin(&self, owner: &str) {
        let owner = owner.to_string();
        self.push(WriterJob::Unpin { owner });
    }
}
