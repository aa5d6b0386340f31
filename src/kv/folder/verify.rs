//! Proves all files of a KV folder and takes bad ones out of use: for `npast kv verify`.

use crate::kv::check::verify::prove_all;
use crate::kv::error::{Damage, Error};
use crate::kv::index::connection::Index;
use crate::kv::index::graph::Graph;
use crate::kv::index::table::SqlResult;
use crate::kv::model::facts::short;
use crate::kv::open::index::IndexOwner;
use crate::kv::record::files::{self, Files};
use crate::kv::record::read::ReadFault;

use super::handle::Folder;

/// What [`Folder::verify`] found.
#[derive(Clone, Default, Debug)]
pub struct Verified {
    /// Files that were read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that are not as they were written.
    pub bad: Vec<BadFile>,
}

/// A file that is not as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadFile {
    /// Its place below the folder.
    pub file: String,
    /// The first thing wrong, a sentence without its end.
    pub reason: String,
    /// True when it was moved to quarantine; false when it could not be read, or not be moved.
    pub aside: bool,
}

impl Folder {
    /// Reads every file and proves it: checksums, structure, its name, and the digests of every
    /// chain from position 0. A file that fails goes to quarantine.
    ///
    /// # Errors
    /// When a folder cannot be listed or the index fails.
    pub fn verify(&self) -> Result<Verified, Error> {
        // It may take minutes: other processes can start meanwhile.
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

    /// Moves a bad file to quarantine and removes its row. A file that is not known to be damaged stays.
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
