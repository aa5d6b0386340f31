//! `edit_file`: exact text is replaced by other text. Where the text is not there exactly once, the
//! answer shows what is there instead, so that the next try can be right.

use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use super::place::{self, Stamp};
use super::{Answer, Effect, Room, Spec, Subject, Tool, results, shown};

/// Largest file that is edited, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// Most places that an answer names.
const MAX_PLACES: usize = 20;

/// Edits a file.
pub struct EditFile {
    spec: Spec,
}

impl Default for EditFile {
    fn default() -> EditFile {
        let parameters = json!({
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "old": {"type": "string", "minLength": 1, "description": "exact text, found once"},
                "new": {"type": "string"},
                "all": {"type": "boolean", "description": "replace every occurrence"},
            },
            "required": ["path", "old", "new"],
            "additionalProperties": false,
        });
        EditFile {
            spec: Spec::new("edit_file", "Replace text in a file.", parameters),
        }
    }
}

impl Tool for EditFile {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn effect(&self, _: &Value) -> Effect {
        Effect::Writes
    }

    fn subject(&self, arguments: &Value, project: &Path) -> Subject {
        place::subject(arguments, project)
    }

    fn run(&self, arguments: &Value, room: &Room<'_>) -> Answer {
        match edit(arguments, room, || ()) {
            Ok(text) => Answer::good(text),
            Err(reason) => Answer::bad(reason),
        }
    }
}

/// `before_replacing` is called when the new content is known and not yet in place.
fn edit(
    arguments: &Value,
    room: &Room<'_>,
    before_replacing: impl FnOnce(),
) -> Result<String, String> {
    let text = |name: &str| arguments[name].as_str().unwrap_or_default();
    let real = place::resolve(text("path"), room.project)?;
    let name = shown::name(&real, &place::project_folder(room.project)?);
    place::writable(&real, room)?;
    if let Some(reason) = results::gone(&real, room) {
        return Err(reason);
    }
    let file = place::open(&real, &name)?;
    let said = |error| place::failed(error, &name);
    let stamp = Stamp::of(&file).map_err(said)?;
    let mut content = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut content)
        .map_err(said)?;
    if content.len() as u64 > MAX_FILE {
        return Err(format!(
            "{name} is larger than {}: change it with a command.",
            shown::size(MAX_FILE)
        ));
    }
    if content.contains(&0) {
        return Err(format!("{name} is no text: it holds NUL bytes."));
    }
    let (old, new) = endings(&content, text("old"), text("new"));
    if old == new {
        return Err("old and new are the same: there is nothing to change.".to_owned());
    }
    let places: Vec<usize> = memchr::memmem::find_iter(&content, &old).collect();
    let all = arguments["all"].as_bool().unwrap_or(false);
    match places.len() {
        0 => return Err(super::nearest::missing(&name, &content, text("old"))),
        1 => {}
        _ if all => {}
        n => {
            return Err(format!(
                "old is in {name} {n} times ({}): add lines around it until it is there once, or \
                 set all.",
                lines(&content, &places)
            ));
        }
    }
    let mut changed = Vec::with_capacity(content.len() + new.len());
    let mut from = 0;
    for at in &places {
        changed.extend_from_slice(&content[from..*at]);
        changed.extend_from_slice(&new);
        from = at + old.len();
    }
    changed.extend_from_slice(&content[from..]);
    before_replacing();
    place::replace(&real, &name, &changed, Some(stamp))?;
    Ok(format!(
        "{name} changed: {}.",
        match places.len() {
            1 => lines(&content, &places),
            n => format!(
                "{} ({})",
                shown::count(n as u64, "place"),
                lines(&content, &places)
            ),
        }
    ))
}

/// Both texts with the file's line ends: a model writes line feeds, and what it was shown of a file
/// with CRLF had none.
fn endings(content: &[u8], old: &str, new: &str) -> (Vec<u8>, Vec<u8>) {
    let there = memchr::memmem::find(content, old.as_bytes()).is_some();
    let crlf = memchr::memmem::find(content, b"\r\n").is_some();
    let with = |text: &str| {
        text.replace("\r\n", "\n")
            .replace('\n', "\r\n")
            .into_bytes()
    };
    // One line of old text says nothing about line ends, but new lines need them.
    match crlf && (!there || !old.contains('\n')) && !lone_feeds(content) {
        true => (with(old), with(new)),
        false => (old.as_bytes().to_vec(), new.as_bytes().to_vec()),
    }
}

/// Whether a line ends without a carriage return: line ends are mixed.
fn lone_feeds(content: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', content).any(|at| at == 0 || content[at - 1] != b'\r')
}

/// The numbers of the lines in which places lie: `line 4`, `lines 4, 9, 12 and 5 more`.
fn lines(content: &[u8], places: &[usize]) -> String {
    let mut numbers = Vec::new();
    let (mut line, mut from) = (1, 0);
    for at in places.iter().take(MAX_PLACES) {
        line += memchr::memchr_iter(b'\n', &content[from..*at]).count();
        from = *at;
        numbers.push(line.to_string());
    }
    let more = places.len() - numbers.len();
    format!(
        "line{} {}{}",
        if places.len() == 1 { "" } else { "s" },
        numbers.join(", "),
        if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        }
    )
}

#[cfg(test)]
#[path = "edit_file_tests.rs"]
mod tests;
