//! `write_file`: a whole file, made or replaced at once.

use std::path::Path;

use serde_json::{Value, json};

use super::{CallContext, Effect, Spec, Subject, Tool, ToolAnswer, place, shown};

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

    fn run(&self, arguments: &Value, room: &CallContext<'_>) -> ToolAnswer {
        match write(arguments, room) {
            Ok(text) => ToolAnswer::good(text),
            Err(reason) => ToolAnswer::bad(reason),
        }
    }
}

fn write(arguments: &Value, room: &CallContext<'_>) -> Result<String, String> {
    let text = |name: &str| arguments[name].as_str().unwrap_or_default();
    let given = text("path");
    let real = place::resolve(given, room.project)?;
    let name = shown::name(&real, &place::project_folder(room.project)?);
    if given.ends_with('/') {
        return Err(format!(
            "{name} is named like a folder: give a file's name."
        ));
    }
    place::writable(&real, room)?;
    let content = text("content");
    let there = place::Stamp::at(&real).map_err(|error| place::failed(error, &name))?;
    place::replace(&real, &name, content.as_bytes(), None)?;
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
