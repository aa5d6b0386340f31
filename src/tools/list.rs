//! `list`: what is in a folder, as git sees it.

use std::path::Path;

use ignore::DirEntry;
use serde_json::{Value, json};

use super::{CallContext, Effect, Spec, Subject, Tool, ToolAnswer, place, shown, walk};

/// Files of at least this size are shown with it, in bytes.
const LARGE: u64 = 100_000;

/// Entries that are looked at, shown or not.
const MAX_SEEN: usize = 200_000;

/// Lists files.
pub struct ListTool {
    spec: Spec,
}

impl Default for ListTool {
    fn default() -> ListTool {
        let parameters = json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "folder"},
                "glob": {"type": "string", "description": "find files at any depth, e.g. *.rs"},
                "depth": {"type": "integer", "minimum": 1, "description": "default 1"},
            },
            "additionalProperties": false,
        });
        ListTool {
            spec: Spec::new(
                "list",
                "List files; skips what .gitignore names.",
                parameters,
            ),
        }
    }
}

impl Tool for ListTool {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn effect(&self, _: &Value) -> Effect {
        Effect::Reads
    }

    fn subject(&self, arguments: &Value, project: &Path) -> Subject {
        place::subject(arguments, project)
    }

    fn foresee(
        &self,
        arguments: &Value,
        room: &CallContext<'_>,
    ) -> Result<Option<super::FileChange>, super::ForeseenRefusal> {
        place::readable(arguments, room)
    }

    fn run(&self, arguments: &Value, room: &CallContext<'_>) -> ToolAnswer {
        match list(arguments, room) {
            Ok(text) => ToolAnswer::good(text),
            Err(reason) => ToolAnswer::bad(reason),
        }
    }
}

fn list(arguments: &Value, room: &CallContext<'_>) -> Result<String, String> {
    let text = |name: &str| arguments.get(name).and_then(Value::as_str);
    let root = place::resolve(text("path").unwrap_or("."), room.project)?;
    place::allowed(&root, room)?;
    let base = place::project_folder(room.project)?;
    let name = shown::name(&root, &base);
    let meta = root
        .symlink_metadata()
        .map_err(|error| place::failed(error, &name))?;
    if !meta.is_dir() {
        return Err(format!("{name} is no folder: read_file reads files."));
    }
    let glob = text("glob").map(walk::Glob::new).transpose()?;
    let depth = arguments.get("depth").and_then(Value::as_u64);
    let depth = match (depth, &glob) {
        (Some(depth), _) => Some(usize::try_from(depth).unwrap_or(usize::MAX)),
        (None, Some(_)) => None,
        (None, None) => Some(1),
    };
    let most = room.limits.lines.saturating_sub(4).max(4);
    let bytes = room.limits.bytes.saturating_sub(512).max(512);
    let (mut out, mut shown, mut seen, mut unread) = (String::new(), 0, 0, 0);
    let mut more = None;
    let mut walk = walk::walk(&root, depth, room);
    for entry in &mut walk {
        seen += 1;
        if room.cancelled() {
            more = Some("interrupted: this is not everything");
            break;
        }
        let entry = match entry {
            Ok(entry) if entry.depth() == 0 => continue,
            Ok(entry) => entry,
            Err(_) => {
                unread += 1;
                continue;
            }
        };
        // With a glob folders are only the way.
        let folder = entry.file_type().is_some_and(|kind| kind.is_dir());
        if let Some(glob) = &glob
            && (folder || !glob.wants(&entry, &root))
        {
            continue;
        }
        let line = line(&entry, &root);
        if shown == most || out.len() + line.len() + 1 > bytes || seen > MAX_SEEN {
            more = Some("there is more: narrow it with path, glob or depth");
            break;
        }
        out.push_str(&line);
        out.push('\n');
        shown += 1;
    }
    let mut out = match shown {
        0 if glob.is_some() => format!("No file in {name} fits the glob."),
        0 => format!("{name} is empty, or all in it is ignored."),
        _ => format!("{name}:\n{}", out.trim_end_matches('\n')),
    };
    if let Some(more) = more {
        out += &format!("\n[{more}]");
    }
    for note in walk.notes() {
        out += &format!("\n[{note}]");
    }
    if unread > 0 {
        out += &format!("\n[{} could not be read]", shown::count(unread, "name"));
    }
    Ok(out)
}

fn line(entry: &DirEntry, root: &Path) -> String {
    let name = shown::name(entry.path(), root);
    let Some(kind) = entry.file_type() else {
        return name;
    };
    if kind.is_dir() {
        return format!("{name}/");
    }
    if kind.is_symlink() {
        return match std::fs::read_link(entry.path()) {
            Ok(target) => format!("{name} -> {}", shown::name(&target, Path::new(""))),
            Err(_) => format!("{name} -> ?"),
        };
    }
    if !kind.is_file() {
        return format!("{name} (no regular file)");
    }
    match entry.metadata() {
        Ok(meta) if meta.len() >= LARGE => format!("{name} ({})", shown::size(meta.len())),
        _ => name,
    }
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
