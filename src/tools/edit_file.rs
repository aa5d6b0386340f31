//! `edit_file`: text is replaced by other text. It is looked for as `read_file` shows the file, since
//! that is what a model knows of it, and all that stays keeps its bytes: line ends, form feeds, bytes
//! that are not UTF-8. Where the text is not there exactly once, the answer shows what is there
//! instead, so that the next try can be right.

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::change::OldFile;
use super::place::{self, Stamp};
use super::replace::replaced;
use super::seen::Seen;
use super::{
    CallContext, Effect, FileChange, ForeseenRefusal, Spec, Subject, Tool, ToolAnswer, lines,
    results, shown,
};

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

    fn foresee(
        &self,
        arguments: &Value,
        room: &CallContext<'_>,
    ) -> Result<Option<FileChange>, ForeseenRefusal> {
        place::refused_unseen(arguments, room, place::unwritable)?;
        let edit = planned(arguments, room)?;
        let change = FileChange::new(edit.name, OldFile::Content(edit.content), edit.changed);
        Ok(Some(change))
    }

    fn run(&self, arguments: &Value, room: &CallContext<'_>) -> ToolAnswer {
        match edit(arguments, room, || ()) {
            Ok(text) => ToolAnswer::good(text),
            Err(reason) => ToolAnswer::bad(reason),
        }
    }
}

/// `before_replacing` is called when the new content is known and not yet in place.
fn edit(
    arguments: &Value,
    room: &CallContext<'_>,
    before_replacing: impl FnOnce(),
) -> Result<String, String> {
    let edit = planned(arguments, room)?;
    before_replacing();
    let expected = Some(edit.stamp);
    place::replace(&edit.real, &edit.name, &edit.changed, expected, room.asked)?;
    Ok(edit.said)
}

/// An edit that can be made.
struct PlannedEdit {
    real: PathBuf,
    name: String,
    /// Of the file that was read.
    stamp: Stamp,
    content: Vec<u8>,
    changed: Vec<u8>,
    /// The result, once it is made.
    said: String,
}

/// Reads the file and makes its new content; nothing is changed.
fn planned(arguments: &Value, room: &CallContext<'_>) -> Result<PlannedEdit, String> {
    let text = |name: &str| arguments[name].as_str().unwrap_or_default();
    let real = place::resolve(text("path"), room.project)?;
    let name = shown::name(&real, &place::project_folder(room.project)?);
    place::writable(&real, room)?;
    if let Some(reason) = results::gone(&real, room.temp) {
        return Err(reason);
    }
    // It could be opened when the question was asked.
    let file = place::open(&real, &name).map_err(|why| match room.asked {
        Some(_) => place::changed_since(&name),
        None => why,
    })?;
    let said = |error| place::failed(error, &name);
    let stamp = Stamp::of(&file).map_err(said)?;
    let mut content = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut content)
        .map_err(said)?;
    // Before all that its content could be refused for: this is why it is refused.
    if room.asked.is_some_and(|asked| !asked.held(&content)) {
        return Err(place::changed_since(&name));
    }
    if content.len() as u64 > MAX_FILE {
        return Err(format!(
            "{name} is larger than {}: change it with a command.",
            shown::size(MAX_FILE)
        ));
    }
    if content.contains(&0) {
        return Err(format!("{name} is no text: it holds NUL bytes."));
    }
    let (old, new) = (text("old"), text("new"));
    if lines::plain(old) == lines::plain(new) {
        return Err(match old == new {
            true => "old and new are the same: there is nothing to change.".to_owned(),
            false => {
                "old and new differ only in line ends, and those stay as the file has them: a \
                      command, or write_file, changes them."
                    .to_owned()
            }
        });
    }
    let found = TextPlaces::new(&content, old);
    let places = &found.places;
    let all = arguments["all"].as_bool().unwrap_or(false);
    match places.len() {
        0 => return Err(super::nearest::missing(&name, &content, old)),
        1 => {}
        _ if all => {}
        n => {
            return Err(format!(
                "old is in {name} {n} times ({}): add lines around it until it is there once, or \
                 set all.",
                found.lines()
            ));
        }
    }
    let (changed, lost) = found.changed(&content, new)?;
    let said = format!(
        "{name} changed: {}.{}",
        match places.len() {
            1 => found.lines(),
            n => format!("{} ({})", shown::count(n as u64, "place"), found.lines()),
        },
        match lost {
            true => " Control characters that are not shown were in the text, and are gone.",
            false => "",
        }
    );
    drop(found);
    Ok(PlannedEdit {
        real,
        name,
        stamp,
        content,
        changed,
        said,
    })
}

/// Where a text is in a file.
struct TextPlaces {
    seen: Seen,
    /// In `seen`, in order, none over another.
    places: Vec<Range<usize>>,
    /// `seen` and the text hold what is otherwise not shown.
    whole: bool,
    /// The last place is the end of the file, which lacks the line end of the text.
    unended: bool,
}

impl TextPlaces {
    /// Looks for a text as the model saw the file. If it holds something that is never shown, it is
    /// meant with that.
    fn new(content: &[u8], old: &str) -> TextPlaces {
        let plain = lines::plain(old);
        if plain.chars().any(shown::is_hidden) {
            let found = TextPlaces::of(Seen::whole(content), &plain, true);
            if !found.places.is_empty() {
                return found;
            }
        }
        let old = Seen::shown(old.as_bytes());
        TextPlaces::of(Seen::shown(content), old.text(), false)
    }

    fn of(seen: Seen, old: &str, whole: bool) -> TextPlaces {
        let mut places = Vec::new();
        let mut unended = false;
        let text = seen.text();
        if !old.is_empty() {
            let starts = memchr::memmem::find_iter(text.as_bytes(), old);
            places.extend(starts.map(|at| at..at + old.len()));
        }
        // The text of a file's last line does not say whether the line has an end.
        if let Some(last) = old.strip_suffix('\n')
            && !last.is_empty()
            && !text.ends_with('\n')
            && text.ends_with(last)
        {
            let from = text.len() - last.len();
            unended = places.last().is_none_or(|place| place.end <= from);
            if unended {
                places.push(from..text.len());
            }
        }
        TextPlaces {
            seen,
            places,
            whole,
            unended,
        }
    }

    /// The file with `new` in all places; whether something went that is not shown.
    fn changed(&self, content: &[u8], new: &str) -> Result<(Vec<u8>, bool), String> {
        let mut out = Vec::with_capacity(content.len() + new.len());
        let (mut from, mut lost) = (0, false);
        for (at, place) in self.places.iter().enumerate() {
            let mut file = self.seen.file(place);
            // What is not shown at the start of a line belongs to the line.
            if let Some(before) = self.seen.text()[..place.start].strip_suffix('\n') {
                file.start = self.seen.file(&(before.len()..place.start)).end;
            } else if place.start == 0 {
                file.start = 0;
            }
            let last = self.unended && at + 1 == self.places.len();
            let new = match new.strip_suffix('\n').filter(|_| last) {
                Some(new) => new.strip_suffix('\r').unwrap_or(new),
                None => new,
            };
            let end = line_end(content, &file);
            let replaced = replaced(&content[file.clone()], new, self.whole, end)?;
            out.extend_from_slice(&content[from..file.start]);
            out.extend_from_slice(&replaced.bytes);
            lost |= replaced.lost;
            from = file.end;
        }
        out.extend_from_slice(&content[from..]);
        Ok((out, lost))
    }

    /// The numbers of the lines in which the places lie: `line 4`, `lines 4, 9, 12 and 5 more`.
    fn lines(&self) -> String {
        let text = self.seen.text().as_bytes();
        let mut numbers = Vec::new();
        let (mut line, mut from) = (1, 0);
        for place in self.places.iter().take(MAX_PLACES) {
            line += memchr::memchr_iter(b'\n', &text[from..place.start]).count();
            from = place.start;
            numbers.push(line.to_string());
        }
        let more = self.places.len() - numbers.len();
        format!(
            "line{} {}{}",
            if self.places.len() == 1 { "" } else { "s" },
            numbers.join(", "),
            if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            }
        )
    }
}

/// The line end for a line that is new in a place: that of the line in which the place ends, else the
/// one before it, else LF.
fn line_end<'a>(content: &'a [u8], place: &Range<usize>) -> &'a [u8] {
    if let Some((at, length)) = lines::end(&content[place.end..]) {
        return &content[place.end + at..][..length];
    }
    match memchr::memrchr2(b'\r', b'\n', &content[..place.end]) {
        Some(at) if content[..at + 1].ends_with(b"\r\n") => b"\r\n",
        Some(at) => &content[at..at + 1],
        None => b"\n",
    }
}

#[cfg(test)]
#[path = "edit_file_tests.rs"]
mod tests;
