//! What owners want kept.

use crate::kv::error::Error;
use crate::kv::index::graph::Graph;
use crate::kv::index::points::hold;
use crate::kv::open::index::IndexOwner;
use crate::kv::write::job::WriterJob;
use crate::ledger::{Digest, Token};

use super::handle::Store;

impl Store {
    /// Makes `digest` what this owner wants kept under this fingerprint, instead of what it pinned
    /// before. Done by the writer, in order with the puts.
    pub fn pin(&self, owner: &str, digest: Digest) {
        let owner = owner.to_string();
        self.push(WriterJob::Pin { owner, digest });
    }

    /// [`Store::pin`] for an owner whose conversation is not the one in the slot.
    fn hold_at(&self, owner: &str, digest: Digest) {
        let owner = owner.to_string();
        self.push(WriterJob::Hold { owner, digest });
    }

    /// `Folder::hold` under this store's model, for a process that has it open.
    ///
    /// # Errors
    /// When the index fails or the writer has died.
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

    /// Forgets an owner, under every fingerprint.
    pub fn unpin(&self, owner: &str) {
        let owner = owner.to_string();
        self.push(WriterJob::Unpin { owner });
    }
}
