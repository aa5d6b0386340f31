//! `search`: lines that match a regular expression, by the libraries that ripgrep is made of. A
//! pattern sees a line without its end, which is LF, CR LF or CR.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkMatch};
use ignore::DirEntry;
use serde_json::{Value, json};

use super::lines::Fed;
use super::pattern::{Pattern, Stop};
use super::secret::{Linked, several_names};
use super::{CallContext, Effect, Spec, Subject, Tool, ToolAnswer, place, results, shown, walk};

/// Most lines that are shown.
const MAX_MATCHES: usize = 200;

/// Most bytes of a line that are shown.
const MAX_LINE: usize = 240;

/// Longest line that is searched, in bytes.
const MAX_HEAP: usize = 16 << 20;

/// How long a search may take.
const MAX_TIME: Duration = Duration::from_secs(30);

/// Searches files.
pub struct SearchTool {
    spec: Spec,
}

impl Default for SearchTool {
    fn default() -> SearchTool {
        let parameters = json!({
            "type": "object",
            "properties": {
                "pattern": {"type": "string", "minLength": 1, "maxLength": 10000,
                    "description": "regex, one line; (?i) ignores case"},
                "path": {"type": "string", "description": "file or folder"},
                "glob": {"type": "string", "description": "only these files, e.g. *.rs"},
            },
            "required": ["pattern"],
            "additionalProperties": false,
        });
        SearchTool {
            spec: Spec::new(
                "search",
                "Find lines in files; skips what .gitignore names.",
                parameters,
            ),
        }
    }
}

impl Tool for SearchTool {
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
        match search(arguments, room, Instant::now() + MAX_TIME) {
            Ok(text) => ToolAnswer::good(text),
            Err(reason) => ToolAnswer::bad(reason),
        }
    }
}

/// Until that moment.
fn search(arguments: &Value, room: &CallContext<'_>, until: Instant) -> Result<String, String> {
    let text = |name: &str| arguments.get(name).and_then(Value::as_str);
    let pattern = text("pattern").unwrap_or_default();
    let late = || room.cancelled() || Instant::now() > until;
    let pattern = Pattern::new(pattern, &late)?;
    let root = place::resolve(text("path").unwrap_or("."), room.project)?;
    place::allowed(&root, room)?;
    let base = place::project_folder(room.project)?;
    let name = shown::name(&root, &base);
    if let Some(reason) = results::gone(&root, room.temp) {
        return Err(reason);
    }
    let meta = root
        .symlink_metadata()
        .map_err(|error| place::failed(error, &name))?;
    let mut found = Matches::new(pattern, room, &late);
    if meta.is_file() {
        found.file(&root, &name)?;
    } else {
        let glob = text("glob").map(walk::Glob::new).transpose()?;
        let wanted = |entry: &DirEntry| {
            entry.file_type().is_some_and(|kind| kind.is_file())
                && glob.as_ref().is_none_or(|glob| glob.wants(entry, &root))
        };
        let mut walk = walk::walk(&root, None, room);
        for entry in &mut walk {
            match entry {
                Ok(entry) if wanted(&entry) => {
                    // A file that vanished or cannot be read is counted, and the rest goes on.
                    if found
                        .file(entry.path(), &shown::name(entry.path(), &base))
                        .is_err()
                    {
                        found.unread += 1;
                    }
                }
                Ok(_) => {}
                Err(_) => found.unread += 1,
            }
            if found.ended() {
                break;
            }
        }
        found.notes = walk.notes();
    }
    Ok(found.said(&name, text("pattern").unwrap_or_default()))
}

/// What was found so far.
struct Matches<'a> {
    room: &'a CallContext<'a>,
    pattern: Pattern<'a>,
    searcher: Searcher,
    late: Stop<'a>,
    /// Looked up once, where a file has several names.
    linked: OnceCell<Linked>,
    text: String,
    lines: usize,
    files: usize,
    /// Files that could not be read.
    unread: usize,
    /// More would have been found.
    more: bool,
    /// What else there is to say.
    notes: Vec<String>,
}

impl<'a> Matches<'a> {
    fn new(pattern: Pattern<'a>, room: &'a CallContext<'a>, late: Stop<'a>) -> Matches<'a> {
        let searcher = SearcherBuilder::new()
            .binary_detection(BinaryDetection::quit(0))
            .heap_limit(Some(MAX_HEAP))
            .line_number(true)
            .build();
        Matches {
            room,
            pattern,
            searcher,
            late,
            linked: OnceCell::new(),
            text: String::new(),
            lines: 0,
            files: 0,
            unread: 0,
            more: false,
            notes: Vec::new(),
        }
    }

    fn ended(&self) -> bool {
        self.more || (self.late)()
    }

    fn file(&mut self, real: &Path, name: &str) -> Result<(), String> {
        let file = place::open(real, name)?;
        let meta = file
            .metadata()
            .map_err(|error| place::failed(error, name))?;
        if several_names(&meta) {
            let linked = self.linked.get_or_init(|| Linked::of(self.room.secret));
            if linked.holds(&meta) {
                return Err(place::linked(name));
            }
        }
        let reader = Fed::new(Timed {
            file,
            late: self.late,
        });
        let mut lines = MatchingLines {
            name,
            pattern: &self.pattern,
            text: &mut self.text,
            left: MAX_MATCHES - self.lines,
            room: self.room.limits.bytes.saturating_sub(512).max(512),
            lines: 0,
            more: false,
        };
        let searched = self
            .searcher
            .search_reader(&self.pattern, reader, &mut lines);
        let (found, more) = (lines.lines, lines.more);
        self.lines += found;
        self.files += usize::from(found > 0);
        self.more |= more;
        match searched {
            // One line says that, for all files.
            Err(_) if (self.late)() => Ok(()),
            searched => searched.map_err(|error| place::failed(error, name)),
        }
    }

    fn said(self, name: &str, pattern: &str) -> String {
        let mut text = match self.lines {
            0 => format!("No line in {name} matches."),
            _ => self.text.trim_end_matches('\n').to_owned(),
        };
        let mut notes = self.notes;
        if self.more {
            notes.push(format!(
                "there is more than these {}: narrow it with path, glob or pattern",
                shown::count(self.lines as u64, "line")
            ));
        } else if self.room.cancelled() {
            notes.push("interrupted: not everything was searched".to_owned());
        } else if (self.late)() {
            notes.push(format!(
                "not everything was searched: it ended after {} s; narrow it with path or glob",
                MAX_TIME.as_secs()
            ));
        }
        if self.unread > 0 {
            notes.push(format!(
                "{} could not be searched",
                shown::count(self.unread as u64, "file")
            ));
        }
        if self.pattern.unread() > 0 {
            notes.push(format!(
                "{} too long for this pattern",
                shown::count(self.pattern.unread() as u64, "line")
            ));
        }
        if self.lines == 0
            && ["\\r", "\\n", "\r", "\n"]
                .iter()
                .any(|end| pattern.contains(end))
        {
            notes.push("a line is searched without its end: no CR or LF is in it".to_owned());
        }
        if !notes.is_empty() {
            text += &format!("\n[{}]", notes.join("; "));
        }
        text
    }
}

/// Ends a search within one read of a large file.
struct Timed<'a> {
    file: File,
    late: Stop<'a>,
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.late)() {
            return Err(io::Error::other("the search ended"));
        }
        self.file.read(buffer)
    }
}

/// The matching lines of one file, below its name.
struct MatchingLines<'a> {
    name: &'a str,
    pattern: &'a Pattern<'a>,
    text: &'a mut String,
    /// Lines that may still be shown.
    left: usize,
    /// Bytes that may be shown in all.
    room: usize,
    lines: usize,
    more: bool,
}

impl Sink for MatchingLines<'_> {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> io::Result<bool> {
        let number = found.line_number().unwrap_or(0);
        let line = format!("{number}: {}\n", around(self.pattern, found.bytes()));
        let head = if self.lines == 0 {
            self.name.len() + 1
        } else {
            0
        };
        if self.lines >= self.left || self.text.len() + head + line.len() > self.room {
            self.more = true;
            return Ok(false);
        }
        if self.lines == 0 {
            self.text.push_str(self.name);
            self.text.push('\n');
        }
        self.text.push_str(&line);
        self.lines += 1;
        Ok(true)
    }
}

/// A line, or the part of a long one where the match is.
fn around(pattern: &Pattern<'_>, line: &[u8]) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() <= MAX_LINE {
        return one_line(line);
    }
    let at = pattern
        .find(line)
        .ok()
        .flatten()
        .map_or(0, |found| found.start());
    let from = at.saturating_sub(MAX_LINE / 3);
    let to = (from + MAX_LINE).min(line.len());
    let (before, after) = (
        if from > 0 { "…" } else { "" },
        if to < line.len() { "…" } else { "" },
    );
    // A character that is cut at an end is no broken one of the file's.
    let part = one_line(&line[from..to]);
    let part = part.trim_matches('\u{fffd}');
    format!("{before}{part}{after}")
}

fn one_line(bytes: &[u8]) -> String {
    shown::clean(bytes).replace('\n', " ")
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
