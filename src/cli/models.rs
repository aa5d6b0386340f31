//! Which file a model's name means, and `npast models`: what this machine has, and fetching,
//! examining and removing it.

mod first;
mod info;
mod list;
mod own;
mod pull;
mod recommend;

use std::path::{Path, PathBuf};

use super::CliContext;
use super::args::{ModelsArgs, ModelsCommand};
use super::error::Failure;
use super::output::{self, bytes};
use super::{confirm, names};
use crate::harmless;
use crate::models::{LocalModel, ModelPlaces};

pub use first::offer;
pub use own::{continued, of_session};

/// Names that are shown where one is missing.
const SHOWN: usize = 8;

/// Where this run looks for models.
pub fn places(run: &CliContext) -> ModelPlaces {
    ModelPlaces::find(run.places.models(), &|name| std::env::var_os(name))
}

/// The file that `given` names: a path, or the name of a model of this machine. Without one, the
/// default model, else the only one of npast's own folder.
///
/// # Errors
/// Wrong usage, with how to get a model if there is none.
pub fn find(given: Option<&Path>, places: &ModelPlaces) -> Result<PathBuf, Failure> {
    let Some(given) = given else {
        return unnamed(places);
    };
    if given.is_file() {
        return Ok(given.to_owned());
    }
    let word = given.to_str().unwrap_or_default();
    if let Some(found) = places.named(word) {
        return Ok(found.path);
    }
    if word.starts_with("hf:") {
        return Err(Failure::usage(
            format!("the model {} is not on this machine", harmless::line(word)),
            format!("`npast models pull {}` fetches it", harmless::line(word)),
        ));
    }
    if given.is_dir() {
        return Err(Failure::usage(
            format!("the model {} is a folder", given.display()),
            "name a GGUF file in it; of a split model the first one",
        ));
    }
    let why = match std::fs::metadata(given) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => e.to_string(),
        _ if given.components().count() == 1 => {
            format!("no such file here or in {}", places.folder.display())
        }
        _ => "no such file".to_owned(),
    };
    Err(Failure::usage(
        format!("the model {} cannot be read: {why}", given.display()),
        known(&places.all()),
    ))
}

fn unnamed(places: &ModelPlaces) -> Result<PathBuf, Failure> {
    if let Some(name) = places.default_name() {
        return places.named(&name).map(|found| found.path).ok_or_else(|| {
            Failure::usage(
                format!("the default model {} is gone", harmless::line(&name)),
                "`npast models default NAME` names another, `npast models` lists what is there",
            )
        });
    }
    let mut own = places.own();
    match own.len() {
        1 => Ok(own.remove(0).path),
        0 => {
            let all = places.all();
            let hint = match all.is_empty() {
                true => format!(
                    "`npast models pull {}` fetches one, then the same command again; or -m takes \
                     a GGUF file",
                    pull::FIRST
                ),
                false => known(&all),
            };
            let text = "no model was named, and there is none in the models folder";
            Err(Failure::usage(text, hint))
        }
        _ => Err(Failure::usage(
            "no model was named, and there are several in the models folder",
            known(&own),
        )),
    }
}

fn known(all: &[LocalModel]) -> String {
    if all.is_empty() {
        return "give the path of a GGUF file with -m".into();
    }
    let names: Vec<_> = all.iter().take(SHOWN).map(|f| f.name.as_str()).collect();
    format!(
        "-m takes a path or one of: {}",
        harmless::line(&names.join(", "))
    )
}

/// `npast models`.
pub fn run(run: &CliContext, args: &ModelsArgs) -> Result<i32, Failure> {
    let places = places(run);
    match &args.command {
        None | Some(ModelsCommand::List) => list::run(run, &places),
        Some(ModelsCommand::Pull { model: None }) => pull::short_names(run),
        Some(ModelsCommand::Pull { model: Some(model) }) => pull::run(run, &places, model),
        Some(ModelsCommand::Info { model }) => info::run(run, &find(Some(model), &places)?),
        Some(ModelsCommand::Recommend) => recommend::run(run),
        Some(ModelsCommand::Rm { names, yes }) => remove(&places, names, *yes),
        Some(ModelsCommand::Default { model: None }) => match places.default_name() {
            Some(name) => output::page(&format!("{}\n", harmless::line(&name))),
            None => output::page("none: without -m the only model of the folder is taken\n"),
        },
        Some(ModelsCommand::Default { model: Some(model) }) => {
            let found = one(&places, model)?;
            places.set_default(&found.name)?;
            Ok(0)
        }
    }
}

/// The model that a name of the list means.
fn one(places: &ModelPlaces, name: &str) -> Result<LocalModel, Failure> {
    places.named(name).ok_or_else(|| no_such(name, places))
}

fn no_such(name: &str, places: &ModelPlaces) -> Failure {
    Failure::usage(
        format!("there is no model {}", harmless::line(name)),
        known(&places.all()),
    )
}

fn remove(places: &ModelPlaces, typed: &[String], yes: bool) -> Result<i32, Failure> {
    let all: Vec<String> = places.all().into_iter().map(|one| one.name).collect();
    // A name that the list has in another form (without a tag) is one too.
    let mut found: Vec<LocalModel> = Vec::new();
    for name in typed {
        let several = match name.contains(['*', '?', '[']) {
            true => {
                let missing = |name: &str| no_such(name, places);
                names::meant(std::slice::from_ref(name), &all, "model", &missing)?
            }
            false => vec![name.clone()],
        };
        for name in several {
            let one = one(places, &name)?;
            if !found.contains(&one) {
                found.push(one);
            }
        }
    }
    let shown: Vec<String> = found
        .iter()
        .map(|one| harmless::line(&one.name).into_owned())
        .collect();
    let what = shown.join(", ");
    if !yes && !confirm::agreed(&format!("Remove {what} from the disk? [y/N] "), &what)? {
        return Err(Failure::failed("declined", "nothing was removed"));
    }
    for (one, name) in found.iter().zip(shown) {
        let freed = places.remove(one)?;
        if places.default_name().as_deref() == Some(&one.name) {
            places.clear_default()?;
        }
        output::notice(
            &format!("{name} is removed: {} are free", bytes(freed)),
            None,
        );
    }
    Ok(0)
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
        let places = ModelPlaces::find(folder.to_owned(), &|_| None);
        match find(given.map(Path::new), &places) {
            Ok(path) => path.file_name().unwrap().to_string_lossy().into_owned(),
            Err(failure) => {
                assert_eq!((&*failure.kind, failure.exit), ("usage", 2));
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
             `npast models pull qwen3-4b` fetches one, then the same command again; or -m takes a \
             GGUF file"
        );
    }
}
