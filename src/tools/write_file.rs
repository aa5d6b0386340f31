//! `write_file`: a whole file, made or replaced at once.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::change::{OldFile, Unread};
use super::place::Stamp;
use super::{
    CallContext, Effect, FileChange, ForeseenRefusal, Spec, Subject, Tool, ToolAnswer, place, shown,
};

/// Largest file whose content is compared with the new one, in bytes.
const MAX_COMPARED: u64 = 16 << 20;

/// Writes a file.
pub struct WriteFile {
    spec: Spec,
}

impl Default for WriteFile {
    fn default() -> WriteFile {
        let parameters = json!({
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "content": {"type": "string"},
            },
            "required": ["path", "content"],
            "additionalProperties": false,
        });
        WriteFile {
            spec: Spec::new(
                "write_file",
                "Create a file or replace all of it; makes missing folders.",
                parameters,
            ),
        }
    }
}

impl Tool for WriteFile {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn effect(&self, _: &Value) -> Effect {
        Effect::Writes
    }

    fn subject(&self, arguments: &Value, project: &Path) -> Subject {
        place::subject(arguments, project)
    }

    fn foresee(
        &self,
        arguments: &Value,
        room: &CallContext<'_>,
    ) -> Result<Option<FileChange>, ForeseenRefusal> {
        place::refused_unseen(arguments, room, place::unwritable)?;
        let (real, name) = target(arguments, room)?;
        let old = old(&real, &name)?;
        let new = arguments["content"].as_str().unwrap_or_default();
        Ok(Some(FileChange::new(name, old, new.as_bytes().to_vec())))
    }

    fn run(&self, arguments: &Value, room: &CallContext<'_>) -> ToolAnswer {
        match write(arguments, room) {
            Ok(text) => ToolAnswer::good(text),
            Err(reason) => ToolAnswer::bad(reason),
        }
    }
}

/// The file that a call is about, and what results call it.
///
/// # Errors
/// It may not be written.
fn target(arguments: &Value, room: &CallContext<'_>) -> Result<(PathBuf, String), String> {
    let given = arguments["path"].as_str().unwrap_or_default();
    let real = place::resolve(given, room.project)?;
    let name = shown::name(&real, &place::project_folder(room.project)?);
    if given.ends_with('/') {
        return Err(format!(
            "{name} is named like a folder: give a file's name."
        ));
    }
    place::writable(&real, room)?;
    Ok((real, name))
}

/// What a file holds, to be compared.
///
/// # Errors
/// It cannot be replaced.
fn old(real: &Path, name: &str) -> Result<OldFile, String> {
    if !place::replaceable(real, name)? {
        return Ok(OldFile::Absent);
    }
    // Before it is read: what is written meanwhile is a change.
    let Some(stamp) = Stamp::at(real).map_err(|error| place::failed(error, name))? else {
        return Ok(OldFile::Absent);
    };
    let mut content = Vec::new();
    let read = place::open(real, name).and_then(|file| {
        let read = file.take(MAX_COMPARED + 1).read_to_end(&mut content);
        read.map_err(|error| place::failed(error, name))
    });
    Ok(match read {
        Ok(_) if content.len() as u64 <= MAX_COMPARED => OldFile::Content(content),
        Ok(_) => OldFile::Unread(Unread::TooLarge, stamp),
        Err(why) => {
            tracing::debug!(why, "a file that is replaced cannot be read");
            OldFile::Unread(Unread::Unreadable, stamp)
        }
    })
}

fn write(arguments: &Value, room: &CallContext<'_>) -> Result<String, String> {
    let (real, name) = target(arguments, room)?;
    let content = arguments["content"].as_str().unwrap_or_default();
    let there = Stamp::at(&real).map_err(|error| place::failed(error, &name))?;
    place::replace(&real, &name, content.as_bytes(), None, room.asked)?;
    Ok(format!(
        "{name} {}: {}, {}.",
        if there.is_some() { "replaced" } else { "made" },
        shown::count(content.lines().count() as u64, "line"),
        shown::size(content.len() as u64),
    ))
}

#[cfg(test)]
#[path = "write_file_tests.rs"]
mod tests;
