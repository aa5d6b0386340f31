//! Every model on this machine, also of other programs: files of npast's own folder, of the hub's cache,
//! and of Ollama's store. Each has one name that `-m` takes.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::hub::{self, Cached, Hub};
use super::source::Repo;
use super::{ModelsError, ollama};
use crate::durable::{self, Attributes, Links, private};
use crate::llama::gguf;

/// Entries of the models folder that are looked at.
const MAX_ENTRIES: usize = 10_000;
/// Longest name of a model that is read, in bytes.
const MAX_NAME: u64 = 4096;

/// Reads one environment variable.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Where models are looked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelPlaces {
    /// npast's own folder.
    pub folder: PathBuf,
    /// The hub's cache, if there is a place for it.
    pub hub: Option<Hub>,
    /// Ollama's stores.
    pub ollama: Vec<PathBuf>,
}

/// The program that put a model on this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// npast's own folder.
    Folder,
    /// The cache of the hub.
    Hub(Cached),
    /// Ollama's store.
    Ollama,
}

/// A model that can be opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalModel {
    /// What `-m` takes.
    pub name: String,
    /// The file, of a split model the first.
    pub path: PathBuf,
    /// Where it was found.
    pub origin: Origin,
}

impl ModelPlaces {
    /// The hub's cache as llama.cpp finds it, Ollama's store as Ollama does; `folder` is npast's
    /// own.
    pub fn find(folder: PathBuf, env: Env<'_>) -> ModelPlaces {
        let set = |name: &str| {
            let value = env(name).filter(|value| !value.is_empty())?;
            std::path::absolute(value).ok()
        };
        let home = set("HOME");
        let hub = set("LLAMA_CACHE")
            .or_else(|| set("HF_HUB_CACHE"))
            .or_else(|| set("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| set("HF_HOME").map(|path| path.join("hub")))
            .or_else(|| set("XDG_CACHE_HOME").map(|path| path.join("huggingface/hub")))
            .or_else(|| {
                home.as_ref()
                    .map(|path| path.join(".cache/huggingface/hub"))
            });
        let ollama = match set("OLLAMA_MODELS") {
            Some(path) => vec![path],
            None => {
                let own = home.map(|path| path.join(".ollama/models"));
                let service = PathBuf::from("/usr/share/ollama/.ollama/models");
                own.into_iter().chain([service]).collect()
            }
        };
        ModelPlaces {
            folder,
            hub: hub.map(Hub::new),
            ollama,
        }
    }

    /// Every model, npast's own first.
    pub fn all(&self) -> Vec<LocalModel> {
        let mut all = self.own();
        if let Some(hub) = &self.hub {
            let cached = hub.models();
            all.extend(cached.iter().map(|one| of_hub(one, &cached)));
        }
        for root in &self.ollama {
            all.extend(ollama::models(root).into_iter().map(|stored| LocalModel {
                name: format!("ollama:{}", stored.name),
                path: stored.path,
                origin: Origin::Ollama,
            }));
        }
        all
    }

    /// The models of npast's own folder.
    pub fn own(&self) -> Vec<LocalModel> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten();
        let mut all: Vec<PathBuf> = entries
            .take(MAX_ENTRIES)
            .flatten()
            .map(|entry| entry.path())
            .filter(|p| p.extension().is_some_and(|e| e == "gguf") && p.is_file())
            .filter(|p| gguf::split_paths(p).first() == Some(p))
            .collect();
        all.sort();
        let found = |path: PathBuf| LocalModel {
            name: stem(&path),
            path,
            origin: Origin::Folder,
        };
        all.into_iter().map(found).collect()
    }

    /// The model of that name: one of npast's folder with or without `.gguf`, `hf:OWNER/REPO[:TAG]`
    /// of the cache, or `ollama:NAME[:TAG]`.
    pub fn named(&self, name: &str) -> Option<LocalModel> {
        if let Some(rest) = name.strip_prefix("hf:") {
            let (repo, tag) = match rest.split_once(':') {
                Some((repo, tag)) => (repo, Some(tag)),
                None => (rest, None),
            };
            let cached = self.hub.as_ref()?.of(&Repo::parse(repo)?);
            let files: Vec<&str> = cached.iter().map(|c| c.file.as_str()).collect();
            let file = hub::pick(&files, tag)?;
            let one = cached.iter().find(|c| c.file == file)?;
            return Some(of_hub(one, &cached));
        }
        if let Some(rest) = name.strip_prefix("ollama:") {
            let full = match rest.contains(':') {
                true => name.to_owned(),
                false => format!("{name}:latest"),
            };
            return self.all().into_iter().find(|found| found.name == full);
        }
        if Path::new(name).components().count() != 1 {
            return None;
        }
        let whole = self.folder.join(name);
        let with = self.folder.join(format!("{name}.gguf"));
        let path = [whole, with].into_iter().find(|path| path.is_file())?;
        Some(LocalModel {
            name: stem(&path),
            path,
            origin: Origin::Folder,
        })
    }

    /// The model whose file is called that, if there is one and no other: what a session writes down
    /// of its model.
    pub fn with_file_name(&self, name: &str) -> Option<LocalModel> {
        let called = |found: &LocalModel| found.path.file_name().is_some_and(|file| file == name);
        let own = self.folder.join(name);
        if Path::new(name).components().count() == 1 && own.is_file() {
            return Some(LocalModel {
                name: stem(&own),
                path: own,
                origin: Origin::Folder,
            });
        }
        let mut all = self.all().into_iter().filter(called);
        let (one, other) = (all.next()?, all.next());
        // The same blob under two of Ollama's names is one model.
        match other {
            Some(other) if other.path != one.path => None,
            _ => Some(one),
        }
    }

    /// The name of the model that is taken where none is named.
    pub fn default_name(&self) -> Option<String> {
        let mut text = String::new();
        let file = std::fs::File::open(self.default_file()).ok()?;
        file.take(MAX_NAME).read_to_string(&mut text).ok()?;
        let name = text.trim().to_owned();
        (!name.is_empty()).then_some(name)
    }

    /// Takes the model of that name where none is named, from now on.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn set_default(&self, name: &str) -> Result<(), ModelsError> {
        let path = self.default_file();
        private::folder(&self.folder).map_err(ModelsError::io(&self.folder))?;
        let text = format!("{name}\n");
        durable::replace(&path, text.as_bytes(), Attributes::Private, Links::Follow)
            .map_err(|error| ModelsError::io(&path)(std::io::Error::other(error)))
    }

    /// Takes no model where none is named.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn clear_default(&self) -> Result<(), ModelsError> {
        let path = self.default_file();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(ModelsError::io(&path)(error))
            }
            _ => Ok(()),
        }
    }

    fn default_file(&self) -> PathBuf {
        self.folder.join("default")
    }

    /// Removes a model from the disk. Returns the bytes that are free now.
    ///
    /// # Errors
    /// The error of the operating system; [`ModelsError::Foreign`] for one of Ollama's.
    pub fn remove(&self, found: &LocalModel) -> Result<u64, ModelsError> {
        match &found.origin {
            Origin::Hub(cached) => match &self.hub {
                Some(hub) => hub.remove(cached),
                None => Err(ModelsError::NoPlace),
            },
            Origin::Ollama => Err(ModelsError::Foreign {
                name: found.name.clone(),
                owner: "Ollama",
            }),
            Origin::Folder => {
                let mut freed = 0;
                for path in gguf::split_paths(&found.path) {
                    let Ok(meta) = path.symlink_metadata() else {
                        continue;
                    };
                    // Of a link only the link goes.
                    freed += if meta.is_file() { meta.len() } else { 0 };
                    std::fs::remove_file(&path).map_err(ModelsError::io(&path))?;
                }
                Ok(freed)
            }
        }
    }
}

/// The shortest name that means this file among those of its repository.
fn of_hub(one: &Cached, all: &[Cached]) -> LocalModel {
    let beside: Vec<&str> = all
        .iter()
        .filter(|c| c.repo == one.repo)
        .map(|c| c.file.as_str())
        .collect();
    let tags = [hub::quantization(&one.file), Some(one.file.as_str())];
    let tag = tags
        .into_iter()
        .flatten()
        .find(|tag| hub::pick(&beside, Some(tag)) == Some(&one.file));
    LocalModel {
        name: format!("hf:{}:{}", one.repo, tag.unwrap_or(&one.file)),
        path: one.path.clone(),
        origin: Origin::Hub(one.clone()),
    }
}

fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}
