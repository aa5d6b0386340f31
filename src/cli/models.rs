//! Which file a model's name means, and `npast models`: what lies in the models folder.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::Run;
use super::error::Failure;
use super::output::{self, table};
use crate::llama::gguf;

/// Entries of the models folder that are looked at.
const MAX_ENTRIES: usize = 10_000;

/// The file that `given` names: a path, or the name of a file in `folder` with or without
/// `.gguf`. Without one, the only one that lies there.
///
/// # Errors
/// Wrong usage, with how to get a model if there is none.
pub fn find(given: Option<&Path>, folder: &Path) -> Result<PathBuf, Failure> {
    let Some(given) = given else {
        return only(folder);
    };
    let named = |name: &Path| {
        let whole = folder.join(name);
        let mut with = whole.clone().into_os_string();
        with.push(".gguf");
        [whole, with.into()].into_iter().find(|p| p.is_file())
    };
    if given.is_file() {
        return Ok(given.to_owned());
    }
    let bare = given.components().count() == 1;
    if let Some(path) = bare.then(|| named(given)).flatten() {
        return Ok(path);
    }
    if given.is_dir() {
        return Err(Failure::usage(
            format!("the model {} is a folder", given.display()),
            "name a GGUF file in it; of a split model the first one",
        ));
    }
    let why = match std::fs::metadata(given) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => e.to_string(),
        _ if bare => format!("no such file here or in {}", folder.display()),
        _ => "no such file".to_owned(),
    };
    Err(Failure::usage(
        format!("the model {} cannot be read: {why}", given.display()),
        known(&list(folder)),
    ))
}

fn only(folder: &Path) -> Result<PathBuf, Failure> {
    let mut all = list(folder);
    match all.len() {
        1 => Ok(all.remove(0)),
        0 => Err(Failure::usage(
            "no model was named, and there is none in the models folder",
            format!(
                "give a GGUF file with -m, or put one into {}",
                folder.display()
            ),
        )),
        _ => Err(Failure::usage(
            "no model was named, and there are several in the models folder",
            known(&all),
        )),
    }
}

fn known(all: &[PathBuf]) -> String {
    if all.is_empty() {
        return "give the path of a GGUF file with -m".into();
    }
    let names: Vec<_> = all.iter().take(8).map(|p| name(p)).collect();
    format!("-m takes a path or one of: {}", names.join(", "))
}

/// The file's name without `.gguf`.
fn name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// The GGUF files of a folder, the first of each split one, sorted.
fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut all: Vec<PathBuf> = entries
        .take(MAX_ENTRIES)
        .flatten()
        .map(|entry| entry.path())
        .filter(|p| p.extension().is_some_and(|e| e == "gguf") && p.is_file())
        .filter(|p| gguf::split_paths(p).first() == Some(p))
        .collect();
    all.sort();
    all
}

/// `npast models`.
pub fn run(run: &Run) -> Result<i32, Failure> {
    let folder = run.places.models();
    let mut rows = Vec::new();
    let mut lines = Vec::new();
    for path in list(&folder) {
        let name = name(&path);
        match gguf::facts(&path) {
            Ok(facts) => {
                lines.push(json!({
                    "name": name, "path": path.to_string_lossy(), "bytes": facts.bytes,
                    "architecture": facts.architecture, "files": facts.n_files,
                    "template": facts.chat_template.is_some(),
                }));
                let template = match facts.chat_template {
                    Some(_) => "",
                    None => "no chat template",
                };
                let size = output::bytes(facts.bytes);
                rows.push(vec![name, facts.architecture, size, template.to_owned()]);
            }
            Err(error) => {
                lines.push(json!({
                    "name": name, "path": path.to_string_lossy(), "error": error.to_string(),
                }));
                rows.push(vec![name, "?".into(), "?".into(), error.to_string()]);
            }
        }
    }
    if run.json {
        return output::json::lines(&lines);
    }
    if rows.is_empty() {
        let place = folder.display();
        eprintln!("There is no model in {place}; -m takes a path as well.");
        return Ok(0);
    }
    output::page(&table(&["name", "architecture", "size", ""], &rows, &[2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            std::fs::write(dir.path().join(file), "x").unwrap();
        }
        dir
    }

    fn told(given: Option<&str>, folder: &Path) -> String {
        match find(given.map(Path::new), folder) {
            Ok(path) => path.file_name().unwrap().to_string_lossy().into_owned(),
            Err(failure) => {
                assert_eq!((failure.kind, failure.exit), ("usage", 2));
                let text = format!("{} | {}", failure.message, failure.hint.unwrap());
                text.replace(folder.to_str().unwrap(), "DIR")
            }
        }
    }

    #[test]
    fn a_model_is_a_path_or_a_name_with_or_without_its_ending() {
        let dir = folder(&["a.gguf", "b.gguf", "notes.txt"]);
        let path = dir.path().join("notes.txt");
        let dir_text = dir.path().to_str().unwrap();
        let table = [
            (Some("a"), "a.gguf"),
            (Some("a.gguf"), "a.gguf"),
            (path.to_str(), "notes.txt"),
            (
                None,
                "no model was named, and there are several in the models folder | \
                 -m takes a path or one of: a, b",
            ),
            (
                Some("c"),
                "the model c cannot be read: no such file here or in DIR | \
                 -m takes a path or one of: a, b",
            ),
            (
                Some("nowhere/c.gguf"),
                "the model nowhere/c.gguf cannot be read: no such file | \
                 -m takes a path or one of: a, b",
            ),
            (
                Some(dir_text),
                "the model DIR is a folder | \
                 name a GGUF file in it; of a split model the first one",
            ),
        ];
        for (given, want) in table {
            assert_eq!(told(given, dir.path()), want, "{given:?}");
        }
    }

    #[test]
    fn the_only_model_needs_no_name_and_a_split_one_counts_once() {
        let dir = folder(&["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]);
        assert_eq!(told(None, dir.path()), "m-00001-of-00002.gguf");
        let none = folder(&[]);
        assert_eq!(
            told(None, none.path()),
            "no model was named, and there is none in the models folder | \
             give a GGUF file with -m, or put one into DIR"
        );
    }
}
