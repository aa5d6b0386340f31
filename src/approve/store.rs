//! What was granted for always: `approvals.toml` in the data folder, readable by its owner only,
//! replaced as a whole or not at all. A grant holds in the project it was given in.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ApprovalRule;
use crate::durable::{self, Attributes, Links, private};
use crate::tools::command::ShellPlaces;

const NAME: &str = "approvals.toml";
/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
const HEAD: &str = "# What was granted for always. Lines may be removed at any time.\n\n";

/// Why grants cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file or its folder.
    #[error("the approvals in {} cannot be used: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file has content that npast did not write.
    #[error("{} is not a list of approvals ({reason}) and stays as it is", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct StoredRules {
    #[serde(default)]
    allow: Vec<StoredRule>,
}

#[derive(Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct StoredRule {
    rule: String,
    project: PathBuf,
}

/// The rules of this project.
pub(super) fn read(places: &ShellPlaces) -> Result<Vec<ApprovalRule>, StoreError> {
    let path = places.data.join(NAME);
    let stored = load(&path)?;
    let mine = stored
        .allow
        .into_iter()
        .filter(|e| e.project == places.project);
    let rules = mine.map(|entry| {
        ApprovalRule::parse(&entry.rule).map_err(|error| StoreError::Foreign {
            path: path.clone(),
            reason: error.to_string(),
        })
    });
    rules.collect()
}

/// Adds rules for this project. Another process may do the same at the same time.
pub(super) fn add(places: &ShellPlaces, rules: &[ApprovalRule]) -> Result<(), StoreError> {
    let path = places.data.join(NAME);
    let wrong = |source| StoreError::Io {
        path: path.clone(),
        source,
    };
    let lock = private::file(&places.data.join("approvals.lock")).map_err(wrong)?;
    lock.lock().map_err(wrong)?;
    let mut stored = load(&path)?;
    for rule in rules {
        let entry = StoredRule {
            rule: rule.to_string(),
            project: places.project.clone(),
        };
        if !stored.allow.contains(&entry) {
            stored.allow.push(entry);
        }
    }
    let text = toml::to_string(&stored).map_err(|e| wrong(io::Error::other(e)))?;
    let text = format!("{HEAD}{text}");
    match durable::replace(&path, text.as_bytes(), Attributes::Private, Links::Follow) {
        Ok(()) => Ok(()),
        Err(durable::ReplaceError::Unchanged(error)) => Err(wrong(error)),
        Err(error) => Err(wrong(io::Error::other(error))),
    }
}

fn load(path: &Path) -> Result<StoredRules, StoreError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|f| f.take(MAX_FILE + 1).read_to_string(&mut text));
    let foreign = |reason: String| StoreError::Foreign {
        path: path.to_owned(),
        reason,
    };
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(StoredRules::default()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(foreign("it is not UTF-8".into()));
        }
        Err(source) => {
            return Err(StoreError::Io {
                path: path.to_owned(),
                source,
            });
        }
        Ok(_) => {}
    }
    if text.len() as u64 > MAX_FILE {
        return Err(foreign("it is larger than 1 MiB".into()));
    }
    toml::from_str(&text).map_err(|e| foreign(e.message().replace('\n', ", ")))
}
