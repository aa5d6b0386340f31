//! Removes an owner and everything that only this owner reaches, for `npast sessions rm`. Invariant: no
//! record that another owner reaches is removed.

use std::collections::HashSet;

use crate::kv::error::Error;
use crate::kv::index::graph::{Graph, GraphItem};
use crate::kv::index::models::StoredModel;
use crate::kv::index::pins::UNCLAIMED;
use crate::kv::index::points::points;
use crate::kv::index::table::SqlResult;
use crate::kv::open::index::IndexOwner;
use crate::kv::write::evict::{self, Collected};
use crate::ledger::{Digest, Token};

use super::handle::KvFolder;

impl KvFolder {
    /// Removes an owner from the index, and removes the records that only it reaches, together with the
    /// records that continue them and that nobody reaches (for example an abandoned branch). `ledger` has
    /// the tokens of the owner's conversation: a rebuilt index does not know all owners, and the tokens
    /// find their records. All files in quarantine are removed too, because nothing says whose they were;
    /// they are not counted.
    ///
    /// # Errors
    /// When files or index fail. Some records may be left then; [`KvFolder::collect`] removes them.
    pub fn forget(&self, owner: &str, ledger: &[Token]) -> Result<Collected, Error> {
        self.sound(|| self.remove_owner(owner, ledger))
    }

    /// [`KvFolder::forget`], for an index without damage.
    fn remove_owner(&self, owner: &str, ledger: &[Token]) -> Result<Collected, Error> {
        let mut all = Collected::default();
        let models = self.index().models().all()?;
        for model in models {
            let (graph, items) = self.release(&model, owner, ledger)?;
            let done = evict::remove_all(self.open_index(), self.files(), &graph, &items)
                .map_err(|error| error.at(self.root()))?;
            all.files += done.files;
            all.bytes += done.bytes;
        }
        let emptied = self.files().empty_quarantine();
        emptied.map_err(Error::folder(self.root()))?;
        Ok(all)
    }

    /// Takes an owner's pin, turn node and snapshots away under one model; returns the records that no
    /// other owner reaches now. All in one transaction, because another process may make an owner reach
    /// these records.
    fn release(
        &self,
        model: &StoredModel,
        owner: &str,
        ledger: &[Token],
    ) -> SqlResult<(Graph, HashSet<GraphItem>)> {
        let index = self.index();
        index.at_once(|| {
            let graph = Graph::load(&index, model)?;
            let points = points(&graph, ledger);
            let on_ledger: HashSet<Digest> = points.iter().map(|p| p.digest).collect();
            let mine = |hold: &str| hold == owner;
            let unclaimed = graph
                .holds
                .iter()
                .filter(|h| h.owner.starts_with(UNCLAIMED));
            let released: HashSet<String> = unclaimed
                .filter(|h| on_ledger.contains(&h.digest))
                .map(|h| h.owner.clone())
                .collect();
            let goes = |hold: &str| mine(hold) || released.contains(hold);
            let kept = graph.reached(|hold| !goes(hold));
            let mut items = graph.reached(goes);
            items.extend(graph.on(&on_ledger));
            items.retain(|i| !kept.contains(i));
            graph.add_later(&mut items, &kept);
            for hold in released.iter().map(String::as_str).chain([owner]) {
                index.owners().forget_under(graph.model, hold)?;
            }
            Ok((graph, items))
        })
    }
}
