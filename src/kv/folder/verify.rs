//! Checks all record files in a KV folder and moves damaged ones to quarantine, for `npast kv verify`.
//! Invariant: a file that could not be read, but is not known to be damaged, stays where it is.

use crate::kv::check::verify::prove_all;
use crate::kv::error::{Damage, Error};
use crate::kv::index::connection::Index;
use crate::kv::index::graph::Graph;
use crate::kv::index::table::SqlResult;
use crate::kv::model::facts::short;
use crate::kv::open::index::IndexOwner;
use crate::kv::record::files::{self, Files};
use crate::kv::record::read::ReadFault;

use super::handle::KvFolder;

/// The result of [`KvFolder::verify`].
#[derive(Clone, Default, Debug)]
pub struct Verified {
    /// The number of files whose records passed when they were checked alone. An edge whose digests do not
    /// fit the chain before it counts here, and is in `bad` too.
    pub files: u64,
    /// The bytes of these files.
    pub bytes: u64,
    /// The files that failed a check or could not be read.
    pub bad: Vec<BadFile>,
}

/// A file that failed a check or could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadFile {
    /// Its path below the KV folder.
    pub file: String,
    /// The first check that failed, as a sentence without a full stop.
    pub reason: String,
    /// True when the file was moved to quarantine; false when it could not be read or could not be moved.
    pub aside: bool,
}

impl KvFolder {
    /// Reads and checks every record file: checksums, structure, file name, and the digests of all edges
    /// on chains from position 0. Moves each damaged file to quarantine.
    ///
    /// # Errors
    /// When a folder cannot be listed or the index fails.
    pub fn verify(&self) -> Result<Verified, Error> {
        // This may take minutes, and other processes must be able to start in the meantime.
        self.lock().share()?;
        let mut verified = Verified::default();
        for model in files::folders(&self.files().storage, self.root())? {
            let files = self.files().of(&model);
            let proved = prove_all(&files, &model, self.limits())?;
            verified.files += proved.files;
            verified.bytes += proved.bytes;
            for (name, fault) in proved.bad {
                verified
                    .bad
                    .push(self.quarantine(&files, &model, name, fault)?);
            }
        }
        Ok(verified)
    }

    /// Moves a damaged file to quarantine and removes its index row. A file that is not known to be
    /// damaged stays.
    fn quarantine(
        &self,
        files: &Files,
        model: &str,
        name: String,
        fault: ReadFault,
    ) -> Result<BadFile, Error> {
        let damage = matches!(&fault, ReadFault::Damage(d) if !matches!(d, Damage::Memory(_)));
        let aside = damage && files.quarantine(&name).is_ok();
        if aside {
            self.sound(|| {
                let index = self.index();
                for stored in index.models().all()? {
                    if short(stored.hard) == *model {
                        remove_row(&index, &Graph::load(&index, &stored)?, &name)?;
                    }
                }
                Ok::<_, rusqlite::Error>(())
            })?;
        }
        let reason = match fault {
            ReadFault::Damage(damage) => damage.to_string(),
            ReadFault::Io(error) => format!("it cannot be read: {error}"),
        };
        Ok(BadFile {
            file: format!("v1/{model}/{name}"),
            reason,
            aside,
        })
    }
}

/// Removes the index row of the record with this file name.
fn remove_row(index: &Index, graph: &Graph, name: &str) -> SqlResult<()> {
    for item in graph.items().filter(|i| graph.name(*i) == name) {
        if let Some(edge) = graph.edge(item) {
            index.edges(graph.model).remove(edge)?;
        }
        if let Some(node) = graph.node(item) {
            index.nodes(graph.model).remove(node.digest)?;
        }
    }
    Ok(())
}
