//! `npast models list`: every model of this machine, and what its file says.

use std::path::Path;

use serde_json::json;

use crate::cli::CliContext;
use crate::cli::error::Failure;
use crate::cli::output::{self, bytes, table};
use crate::harmless;
use crate::llama::gguf;
use crate::models::{ModelPlaces, Origin};

/// Prints the list.
pub fn run(run: &CliContext, places: &ModelPlaces) -> Result<i32, Failure> {
    let mut rows = Vec::new();
    let mut lines = Vec::new();
    let default = places.default_name();
    for found in places.all() {
        let origin = match found.origin {
            Origin::Folder => "models folder",
            Origin::Hub(_) => "hub cache",
            Origin::Ollama => "Ollama",
        };
        let is_default = default.as_ref() == Some(&found.name);
        let path = found.path.to_string_lossy();
        let name = harmless::line(&found.name).into_owned();
        let mut notes: Vec<String> = Vec::new();
        if is_default {
            notes.push("default".to_owned());
        }
        match gguf::facts(&found.path) {
            Ok(facts) => {
                lines.push(json!({
                    "name": found.name, "path": path, "bytes": facts.bytes,
                    "architecture": facts.architecture, "files": facts.n_files,
                    "template": facts.chat_template.is_some(), "from": origin,
                    "default": is_default,
                }));
                if facts.chat_template.is_none() {
                    notes.push("no chat template".to_owned());
                }
                let size = bytes(facts.bytes);
                let kind = harmless::line(&facts.architecture).into_owned();
                rows.push(vec![name, kind, size, origin.to_owned(), notes.join(", ")]);
            }
            Err(error) => {
                let error = error.to_string();
                lines.push(
                    json!({"name": found.name, "path": path, "error": error, "from": origin}),
                );
                notes.push(harmless::line(&error).into_owned());
                let unknown = || "?".to_owned();
                rows.push(vec![
                    name,
                    unknown(),
                    unknown(),
                    origin.to_owned(),
                    notes.join(", "),
                ]);
            }
        }
    }
    if run.json {
        return output::json::lines(&lines);
    }
    if rows.is_empty() {
        output::notice(
            &nothing(&places.folder),
            Some("`npast models pull` lists what can be fetched"),
        );
        return Ok(0);
    }
    output::page(&table(
        &["name", "architecture", "size", "from", ""],
        &rows,
        &[2],
    ))
}

fn nothing(folder: &Path) -> String {
    let place = folder.display();
    format!("there is no model in {place}, in the hub's cache, or in Ollama's store")
}
