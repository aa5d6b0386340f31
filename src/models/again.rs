//! Whether a session's model is still where it was, and where else it is. A file is known by its tensors:
//! their names, shapes, types and samples. So a file that was moved or renamed is found, and another model
//! under the same name is not taken for it.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use super::ModelPlaces;
use crate::llama::gguf;
use crate::session::ModelFile;

/// Entries of a folder that are looked at.
const MAX_ENTRIES: usize = 10_000;

/// Where a session's model is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FoundAgain {
    /// Where it was.
    Same,
    /// In another place.
    Moved(PathBuf),
    /// Nowhere that npast looks; and there is nothing where it was.
    Gone,
    /// Nowhere that npast looks; and where it was there is another model now.
    Replaced,
}

impl ModelPlaces {
    /// Looks for a model: where it was, beside that, among all models of this machine, and in `folders`.
    ///
    /// Cost: nothing is read of a file that was not changed. Otherwise the headers and samples of the files
    /// that have the same length are read.
    pub fn find_again(&self, file: &ModelFile, folders: &[PathBuf]) -> FoundAgain {
        let there = std::fs::metadata(&file.path).ok();
        let there = there.filter(Metadata::is_file);
        if let Some(meta) = &there
            && file.is_as(meta)
        {
            return FoundAgain::Same;
        }
        if there.is_some() && has_tensors_of(&file.path, file) {
            return FoundAgain::Same;
        }
        let beside = file.path.parent().into_iter();
        let beside = beside.chain(folders.iter().map(PathBuf::as_path));
        let models = self.all().into_iter().map(|model| model.path);
        let mut candidates = beside.flat_map(models_of).chain(models);
        let other = candidates.find(|path| {
            *path != file.path
                && path.metadata().is_ok_and(|meta| meta.len() == file.bytes)
                && has_tensors_of(path, file)
        });
        match other {
            Some(path) => FoundAgain::Moved(path),
            None if there.is_some() => FoundAgain::Replaced,
            None => FoundAgain::Gone,
        }
    }
}

/// Whether the model at `path` is this one.
pub fn has_tensors_of(path: &Path, file: &ModelFile) -> bool {
    gguf::facts(path).is_ok_and(|facts| *facts.tensors.as_bytes() == file.tensors.0)
}

/// The GGUF files of a folder, in the order of their names; of a split model the first.
fn models_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut all: Vec<PathBuf> = entries
        .take(MAX_ENTRIES)
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "gguf"))
        .filter(|path| gguf::split_paths(path).first() == Some(path))
        .collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Digest;
    use crate::tiny;

    /// A tiny model at a path, and what a session remembers of it.
    fn put(path: &Path, seed: u64) -> ModelFile {
        let options = tiny::Options {
            seed,
            ..tiny::Options::default()
        };
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        tiny::write_tiny_model(tiny::Class::Dense, &options, path).unwrap();
        let meta = path.metadata().unwrap();
        ModelFile {
            path: path.to_owned(),
            bytes: meta.len(),
            modified: ModelFile::time_of(&meta),
            tensors: Digest(*gguf::facts(path).unwrap().tensors.as_bytes()),
        }
    }

    #[test]
    fn a_model_is_found_where_it_was_beside_that_and_in_the_known_folders() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let places = ModelPlaces::find(at("models"), &|_| None);
        let file = put(&at("old/m.gguf"), 1);
        let look = |folders: &[PathBuf]| places.find_again(&file, folders);
        assert_eq!(look(&[]), FoundAgain::Same);
        // Only its time is another.
        std::fs::File::options()
            .append(true)
            .open(&file.path)
            .unwrap()
            .set_modified(std::time::UNIX_EPOCH)
            .unwrap();
        assert_eq!(look(&[]), FoundAgain::Same);
        for place in ["old/renamed, by me.gguf", "models/m.gguf", "third/x.gguf"] {
            std::fs::create_dir_all(at(place).parent().unwrap()).unwrap();
            std::fs::rename(&file.path, at(place)).unwrap();
            // A name that leads nowhere, and a model of the same length in its place.
            std::os::unix::fs::symlink(at("nowhere"), &file.path).unwrap();
            let folders = [at("third"), at("not there")];
            assert_eq!(look(&folders), FoundAgain::Moved(at(place)), "{place}");
            std::fs::remove_file(&file.path).unwrap();
            let other = put(&file.path, 2);
            assert_eq!(other.bytes, file.bytes);
            assert_eq!(look(&folders), FoundAgain::Moved(at(place)), "{place}");
            std::fs::remove_file(&file.path).unwrap();
            std::fs::rename(at(place), &file.path).unwrap();
        }
        std::fs::remove_file(&file.path).unwrap();
        assert_eq!(look(&[at("third")]), FoundAgain::Gone);
        std::fs::create_dir(&file.path).unwrap();
        assert_eq!(look(&[]), FoundAgain::Gone);
        std::fs::remove_dir(&file.path).unwrap();
        put(&file.path, 2);
        assert_eq!(look(&[]), FoundAgain::Replaced);
        std::fs::write(&file.path, "no model").unwrap();
        assert_eq!(look(&[]), FoundAgain::Replaced);
    }
}
