//! Opening the files that npast itself puts into a prompt: project files, skills, memory. A cloned
//! repository may bring such files, so they are opened as a tool opens files: the path is resolved once,
//! compared with the secret places, and then opened name by name without following a link.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::secret::{Linked, Secrets, several_names};
use super::{place, shown};

/// Where a file or a folder in `folder` really is, for a session in `project`; `None` where nothing is.
///
/// # Errors
/// Half a sentence that says what is wrong: a link out of the folder, or to a secret place.
pub fn inside(
    path: &Path,
    folder: &Path,
    project: &Path,
    secrets: &Secrets,
) -> Result<Option<PathBuf>, String> {
    let Some(real) = real(path)? else {
        return Ok(None);
    };
    let really = |folder: &Path| {
        let real = folder.canonicalize();
        real.map_err(|error| format!("it cannot be looked at ({error})"))
    };
    let folder = really(folder)?;
    if !real.starts_with(&folder) {
        return Err(format!(
            "it is a link that leads out of {}, to {}",
            shown::name(&folder, Path::new("")),
            shown::name(&real, Path::new(""))
        ));
    }
    if secrets.closes(&real, &really(project)?) {
        return Err(closed(&real));
    }
    Ok(Some(real))
}

/// Opens a file in `folder`; `None` where nothing is.
///
/// # Errors
/// As [`inside`], and the error of the operating system.
pub fn open_inside(
    path: &Path,
    folder: &Path,
    project: &Path,
    secrets: &Secrets,
) -> Result<Option<File>, String> {
    let Some(real) = inside(path, folder, project, secrets)? else {
        return Ok(None);
    };
    let file = place::open(&real, "it").map_err(half)?;
    let meta = file.metadata().map_err(|error| error.to_string())?;
    if several_names(&meta) && Linked::of(secrets).holds(&meta) {
        return Err("it is a hard link to a file that no tool may touch".to_owned());
    }
    Ok(Some(file))
}

/// Where one of npast's own files really is, such as the memory: where it is named, or where the user
/// put it and left a link. `None` where nothing is.
///
/// # Errors
/// Half a sentence: a link to a secret place, or to nowhere.
pub fn own(path: &Path, secrets: &Secrets) -> Result<Option<PathBuf>, String> {
    let named = path
        .parent()
        .and_then(|folder| Some(folder.canonicalize().ok()?.join(path.file_name()?)));
    match real(path)? {
        Some(real) if named.as_ref() != Some(&real) && secrets.closes(&real, Path::new("/")) => {
            Err(closed(&real))
        }
        real => Ok(real),
    }
}

/// Opens one of npast's own files.
///
/// # Errors
/// As [`own`], and the error of the operating system.
pub fn open_own(path: &Path, secrets: &Secrets) -> Result<Option<File>, String> {
    match own(path, secrets)? {
        Some(real) => place::open(&real, "it").map(Some).map_err(half),
        None => Ok(None),
    }
}

fn real(path: &Path) -> Result<Option<PathBuf>, String> {
    match path.canonicalize() {
        Ok(real) => Ok(Some(real)),
        Err(_)
            if path
                .symlink_metadata()
                .is_err_and(|e| place::is_missing(&e)) =>
        {
            Ok(None)
        }
        Err(error) if path.is_symlink() => {
            Err(format!("it is a link that leads nowhere ({error})"))
        }
        Err(error) => Err(format!("it cannot be read ({error})")),
    }
}

fn closed(real: &Path) -> String {
    format!(
        "it leads to {}, which no tool may touch",
        shown::name(real, Path::new(""))
    )
}

/// A sentence of the tools without its end.
fn half(sentence: String) -> String {
    sentence.trim_end_matches('.').to_owned()
}
