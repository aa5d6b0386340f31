//! Errors of this room: one sentence each, with what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why a model was not found, brought or removed.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// What was typed names nothing that can be pulled.
    #[error("{given:?} cannot be pulled: {why}")]
    Source {
        /// As typed.
        given: String,
        /// What is wrong with it.
        why: String,
    },
    /// A variable holds what it cannot mean.
    #[error("the variable {name} cannot be used: {why}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is no folder for what is pulled: no home folder is known.
    #[error("no home folder is known, so there is no place for models")]
    NoPlace,
    /// The repository holds no such file.
    #[error("{repo} has no {what}")]
    NoFile {
        /// The repository.
        repo: String,
        /// What was looked for.
        what: String,
        /// What the user can name instead.
        there: Vec<String>,
    },
    /// The server refused.
    #[error("{what}: the server answers {status} {}", meaning(*status))]
    Status {
        /// The address without its query.
        what: String,
        /// The HTTP status.
        status: u16,
        /// Whether a token was sent.
        token: bool,
    },
    /// The server was not reached, or it went away too often.
    #[error("{what} cannot be fetched: {why}")]
    Network {
        /// The address without its query.
        what: String,
        /// What happened last.
        why: String,
    },
    /// What came is not what was announced. None of it lies under a name that is used.
    #[error("{what} is not what it should be: {why}")]
    Wrong {
        /// The file.
        what: String,
        /// The difference.
        why: String,
    },
    /// The disk has no room for it. Nothing was written.
    #[error("{} needs {} MB on disk, and {} MB are free", folder.display(), mb(*need), mb(*free))]
    NoRoom {
        /// Where it would lie.
        folder: PathBuf,
        /// Bytes that are missing, with a reserve.
        need: u64,
        /// Bytes that can be written.
        free: u64,
    },
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A model of another program: npast does not remove it.
    #[error("{name} belongs to {owner}")]
    Foreign {
        /// The model.
        name: String,
        /// Whose it is.
        owner: &'static str,
    },
    /// The user ended it. What came stays, and the next pull goes on from there.
    #[error("interrupted")]
    Interrupted,
}

impl ModelsError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> ModelsError {
        let path = path.to_owned();
        move |source| ModelsError::Io { path, source }
    }

    pub(super) fn source(given: &str, why: impl Into<String>) -> ModelsError {
        ModelsError::Source {
            given: given.chars().take(200).collect(),
            why: why.into(),
        }
    }

    pub(super) fn wrong(what: &str, why: impl Into<String>) -> ModelsError {
        ModelsError::Wrong {
            what: what.to_owned(),
            why: why.into(),
        }
    }

    /// Whether the command line, and not the world, is at fault.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            ModelsError::Source { .. } | ModelsError::Variable { .. } | ModelsError::NoFile { .. }
        )
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            ModelsError::Source { .. } => {
                "hf:OWNER/REPO[:QUANT], https://…/MODEL.gguf, or a name that `npast models pull` \
                 alone lists"
                    .into()
            }
            ModelsError::Variable { .. } => "unset it, or correct it".into(),
            ModelsError::NoPlace => "set HF_HUB_CACHE and NPAST_HOME to folders".into(),
            ModelsError::NoFile { there, .. } if there.is_empty() => {
                "npast runs GGUF files; such a repository often has GGUF at the end of its name".into()
            }
            ModelsError::NoFile { there, .. } => format!("it has {}", there.join(", ")),
            ModelsError::Status { status, token, .. } => match (status, token) {
                (401 | 403, false) => {
                    "it is private, wants its licence accepted, or does not exist: HF_TOKEN takes a \
                     token"
                        .into()
                }
                (401 | 403, true) => {
                    "the token in HF_TOKEN may not read it: accept its licence on its page, or take \
                     another token"
                        .into()
                }
                (404, _) => "look at the spelling: upper and lower case count".into(),
                (429, false) => "wait some minutes; with a token in HF_TOKEN more is allowed".into(),
                (429, true) => "wait some minutes".into(),
                _ => "try again later; a pull goes on where it ended".into(),
            },
            ModelsError::Network { .. } => {
                "pull it again: it goes on where it ended; HF_ENDPOINT names another server".into()
            }
            ModelsError::Wrong { .. } => {
                "nothing of it is used; pull it again, and if that does not help, tell its owner"
                    .into()
            }
            ModelsError::NoRoom { .. } => {
                "make room, or set HF_HUB_CACHE to a folder on another disk".into()
            }
            ModelsError::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::FileTooLarge => {
                    "make room and pull it again: it goes on where it ended".into()
                }
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    "make that folder writable, or set HF_HUB_CACHE to one that is".into()
                }
                _ => return None,
            },
            ModelsError::Foreign { .. } => "remove it with that program".into(),
            ModelsError::Interrupted => return None,
        })
    }
}

fn mb(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

fn meaning(status: u16) -> &'static str {
    match status {
        401 => "(unauthorized)",
        403 => "(forbidden)",
        404 => "(not found)",
        416 => "(range not satisfiable)",
        429 => "(too many requests)",
        500..=599 => "(its own failure)",
        _ => "",
    }
}
