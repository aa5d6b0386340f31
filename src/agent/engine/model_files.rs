//! The names of a model: its file name for people, and the name under which this build remembers what it
//! found out about the files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::agent::values::options::Options;
use crate::ledger::Digest;
use crate::llama::gguf::ModelFacts;
use crate::llama::{self, gguf};
use crate::session::ModelFile;

pub(in crate::agent) fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(
        || path.display().to_string(),
        |n| n.to_string_lossy().into_owned(),
    )
}

/// What sessions remember of a model's file; nothing where it cannot be looked at.
pub(in crate::agent) fn remembered(model: &Path, facts: &ModelFacts) -> Option<ModelFile> {
    let path = std::path::absolute(gguf::split_paths(model).first()?).ok()?;
    let meta = fs::metadata(&path).ok()?;
    Some(ModelFile {
        path,
        bytes: meta.len(),
        modified: ModelFile::time_of(&meta),
        tensors: Digest(*facts.tensors.as_bytes()),
    })
}

/// A name for this build and for the files as the system describes them; `None` where one of them
/// cannot be looked at.
pub(in crate::agent) fn files_identity(options: &Options, vocab_only: bool) -> Option<String> {
    let mut hasher = blake3::Hasher::new();
    let mut add = |text: &[u8]| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text);
    };
    add(env!("CARGO_PKG_VERSION").as_bytes());
    add(env!("NPAST_LLAMA_SYS").as_bytes());
    add(llama::backends().join(" ").as_bytes());
    add(&[u8::from(vocab_only)]);
    for path in gguf::split_paths(&options.model) {
        let meta = fs::metadata(&path).ok()?;
        add(fs::canonicalize(&path).ok()?.as_os_str().as_encoded_bytes());
        let facts = [
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        ];
        facts.iter().for_each(|n| add(&n.to_le_bytes()));
        add(&meta.ino().to_le_bytes());
        add(&meta.len().to_le_bytes());
    }
    Some(hasher.finalize().to_hex().to_string())
}
