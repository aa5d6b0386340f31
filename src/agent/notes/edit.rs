//! Memory: MEMORY.md (what the agent learned) and USER.md (who the user is) in the data folder.
//! Each is a Markdown list that people may edit too: a heading, then entries that begin with `- `,
//! further lines of an entry indented by two spaces. A file without this form is not
//! npast's: npast neither reads nor overwrites it, and says so. A change is made whole or not at all: it is
//! checked under a file lock and put in place by renaming.

use std::path::{Path, PathBuf};

use crate::agent::values::notice::Notice;
use crate::tools::{MemoryEdit, MemoryFile, Secrets};

use super::{file, suspicion};

/// Most characters of the entries of a file: what every later prompt pays for.
const fn limit(file: MemoryFile) -> usize {
    match file {
        MemoryFile::Memory => 3000,
        MemoryFile::User => 1500,
    }
}

fn name(file: MemoryFile) -> &'static str {
    match file {
        MemoryFile::Memory => "MEMORY.md",
        MemoryFile::User => "USER.md",
    }
}

fn heading(file: MemoryFile) -> &'static str {
    match file {
        MemoryFile::Memory => "# Memory",
        MemoryFile::User => "# User",
    }
}

const FILES: [MemoryFile; 2] = [MemoryFile::Memory, MemoryFile::User];

/// The two files of a data folder.
#[derive(Clone, Debug)]
pub struct Notes {
    home: PathBuf,
    /// Where a link in a file's place must not lead.
    secret: Secrets,
}

impl Notes {
    /// Those of the data folder `home`; nothing is made before the first entry. A file may be a link,
    /// but not to what is secret.
    pub fn of(home: &Path, secret: &Secrets) -> Notes {
        Notes {
            home: home.to_owned(),
            secret: secret.clone().own(home),
        }
    }

    /// Makes all edits or none, and says what the changed files hold now.
    ///
    /// # Errors
    /// A sentence for the model: a file that is not ours, a part that fits no entry or several, an
    /// entry too many; with the entries that are there.
    pub fn edit(&self, edits: &[MemoryEdit]) -> Result<String, String> {
        let _lock = file::lock(&self.home)?;
        let mut all = [Vec::new(), Vec::new()];
        let mut changed = [false, false];
        let mut warnings = Vec::new();
        for (at, file) in FILES.into_iter().enumerate() {
            if edits.iter().any(|edit| file_of(edit) == file) {
                all[at] = self.entries(file)?;
            }
        }
        // Errors show what the files hold, not what half a batch would have made of them.
        let there = all.clone();
        for edit in edits {
            let at = usize::from(file_of(edit) == MemoryFile::User);
            changed[at] = true;
            apply(&mut all[at], &there[at], edit)?;
            if let MemoryEdit::Add { text, .. } | MemoryEdit::Replace { text, .. } = edit
                && let Some(reason) = suspicion::of(text)
            {
                warnings.push(format!(
                    "Note: an entry {reason}, so it stays in the file and is kept out of prompts."
                ));
            }
        }
        let mut texts = Vec::new();
        let mut said = Vec::new();
        for (at, file) in FILES.into_iter().enumerate().filter(|(at, _)| changed[*at]) {
            let length: usize = all[at].iter().map(|entry| entry.chars().count()).sum();
            if length > limit(file) {
                let what = format!(
                    "{} would have {length} characters, {} are allowed. Nothing was changed: \
                     shorten, replace or remove entries first, or together with this. It holds:",
                    name(file),
                    limit(file)
                );
                return Err(listed(&what, &self.entries(file)?));
            }
            texts.push((self.path(file), written(file, &all[at])));
            let what = format!(
                "{} holds {length} of {} characters:",
                name(file),
                limit(file)
            );
            said.push(listed(&what, &all[at]));
        }
        file::replace(&texts, &self.secret)?;
        said.extend(warnings);
        said.push("Later sessions begin with this; the present prompt stays as it is.".to_owned());
        Ok(said.join("\n"))
    }

    /// The entries of a file for a prompt, and what was left out and why. A file that cannot be
    /// used is a notice, never an error: the session goes on without it.
    pub(in crate::agent) fn for_prompt(&self, file: MemoryFile) -> (Vec<String>, Vec<Notice>) {
        let entries = match self.entries(file) {
            Ok(entries) => entries,
            Err(reason) => {
                let hint = "it is left as it is; correct it, or move it away".to_owned();
                return (Vec::new(), vec![(reason, Some(hint))]);
            }
        };
        let (mut good, mut notices, mut length) = (Vec::new(), Vec::new(), 0);
        for (at, entry) in entries.into_iter().enumerate() {
            length += entry.chars().count();
            let place = format!("entry {} of {}", at + 1, name(file));
            if let Some(reason) = suspicion::of(&entry) {
                notices.push((
                    format!("{place} is kept out of the prompt: it {reason}"),
                    Some(format!("see {}", self.path(file).display())),
                ));
            } else if length > limit(file) {
                notices.push((
                    format!("{place} and what follows is kept out of the prompt: {} characters are allowed", limit(file)),
                    Some(format!("shorten {}", self.path(file).display())),
                ));
                break;
            } else {
                good.push(entry);
            }
        }
        (good, notices)
    }

    fn path(&self, file: MemoryFile) -> PathBuf {
        self.home.join(name(file))
    }

    fn entries(&self, file: MemoryFile) -> Result<Vec<String>, String> {
        let path = self.path(file);
        match file::read(&path, &self.secret)? {
            None => Ok(Vec::new()),
            Some(text) => parse(&text).map_err(|line| {
                format!(
                    "{} is not in the form of a memory file: line {line} is no entry (\"- …\"). It \
                     was neither used nor changed.",
                    path.display()
                )
            }),
        }
    }
}

fn file_of(edit: &MemoryEdit) -> MemoryFile {
    match edit {
        MemoryEdit::Add { file, .. }
        | MemoryEdit::Replace { file, .. }
        | MemoryEdit::Remove { file, .. } => *file,
    }
}

fn apply(entries: &mut Vec<String>, there: &[String], edit: &MemoryEdit) -> Result<(), String> {
    match edit {
        MemoryEdit::Add { text, .. } => {
            let text = entry(text)?;
            if !entries.contains(&text) {
                entries.push(text);
            }
        }
        MemoryEdit::Replace { find, text, .. } => {
            let at = the_one(entries, there, find)?;
            entries[at] = entry(text)?;
        }
        MemoryEdit::Remove { find, .. } => {
            let at = the_one(entries, there, find)?;
            entries.remove(at);
        }
    }
    Ok(())
}

/// An entry in the form that is read back: trimmed lines, none of them empty.
fn entry(text: &str) -> Result<String, String> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    match lines.is_empty() {
        true => Err("An entry needs a text. Nothing was changed.".to_owned()),
        false => Ok(lines.join("\n").replace('\0', "\u{FFFD}")),
    }
}

/// The place of the only entry that contains `find`.
fn the_one(entries: &[String], there: &[String], find: &str) -> Result<usize, String> {
    let find = find.trim();
    let mut places =
        (0..entries.len()).filter(|at| !find.is_empty() && entries[*at].contains(find));
    let first = places.next();
    let more = places.next().is_some();
    match first {
        Some(at) if !more => Ok(at),
        Some(_) => Err(listed(
            "Several entries contain that text. Nothing was changed; give more of the one you mean:",
            there,
        )),
        None => Err(listed(
            "No entry contains that text. Nothing was changed. There are:",
            there,
        )),
    }
}

fn listed(what: &str, entries: &[String]) -> String {
    if entries.is_empty() {
        return format!("{what}\n(no entries)");
    }
    let lines = entries
        .iter()
        .map(|entry| format!("- {}", entry.replace('\n', "\n  ")));
    std::iter::once(what.to_owned())
        .chain(lines)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The entries of a file's text, or the number of the first line that is none.
fn parse(text: &str) -> Result<Vec<String>, usize> {
    let mut entries: Vec<String> = Vec::new();
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if let Some(first) = line.strip_prefix("- ") {
            entries.push(first.trim().to_owned());
        } else if let (true, Some(last)) = (line.starts_with("  "), entries.last_mut()) {
            last.push('\n');
            last.push_str(line.trim());
        } else if !(line.is_empty() || entries.is_empty() && line.starts_with("# ")) {
            return Err(at + 1);
        }
    }
    Ok(entries)
}

fn written(file: MemoryFile, entries: &[String]) -> String {
    let mut text = format!("{}\n\n", heading(file));
    for entry in entries {
        text.push_str(&format!("- {}\n", entry.replace('\n', "\n  ")));
    }
    text
}

#[cfg(test)]
#[path = "notes_tests.rs"]
mod tests;
