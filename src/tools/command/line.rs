//! A command line as it was read: its commands, words and redirects, and the bounds of reading one.

use std::path::{Path, PathBuf};

/// Longest command line that is read, in bytes.
pub const MAX_BYTES: usize = 64 << 10;
/// Most simple commands that are read in one line.
pub(in crate::tools::command) const MAX_COMMANDS: usize = 2_000;
/// Most brackets and blocks that may be open at once, and how deep shells may start shells.
pub(in crate::tools::command) const MAX_NESTING: usize = 40;
pub(in crate::tools::command) const MAX_SHELLS: usize = 8;

/// The folders that `~`, `$HOME` and `$PWD` stand for, and npast's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShellPlaces {
    /// The user's home folder.
    pub home: PathBuf,
    /// Where the command starts.
    pub project: PathBuf,
    /// npast's data folder.
    pub data: PathBuf,
}

/// How much of a word is known before it runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Certainty {
    /// All of it.
    Fixed,
    /// The word holds an unquoted glob.
    Glob,
    /// The word holds a variable or the output of a command; these are left out of the text.
    Not,
}

/// One word as the program would get it, quotes removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShellWord {
    /// The text, as far as it is known.
    pub text: String,
    /// How far that is.
    pub known: Certainty,
}

impl ShellWord {
    pub(in crate::tools::command) fn fixed(text: impl Into<String>) -> ShellWord {
        let text = text.into();
        ShellWord {
            text,
            known: Certainty::Fixed,
        }
    }

    pub(in crate::tools::command) fn guess(text: impl Into<String>) -> ShellWord {
        let text = text.into();
        ShellWord {
            text,
            known: Certainty::Not,
        }
    }
}

/// A file that a command opens by `<`, `>` or the like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redirect {
    /// Whether it may be written.
    pub writes: bool,
    /// The file.
    pub target: ShellWord,
}

/// One program, function or builtin with its words.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ShellCommand {
    /// The program first. Empty for assignments and redirects alone.
    pub words: Vec<ShellWord>,
    /// `NAME=value` before the program, or alone.
    pub assigns: Vec<(String, ShellWord)>,
    /// Files.
    pub redirects: Vec<Redirect>,
    /// The folder it runs in, where that is known.
    pub folder: Option<PathBuf>,
    /// Whether another command runs it (`sudo`, `xargs`, `sh -c`…), which is listed before it.
    pub wrapped: bool,
}

impl ShellCommand {
    /// The program's name without its folder; empty when it is not known.
    pub fn program(&self) -> &str {
        match self.words.first() {
            Some(word) if word.known == Certainty::Fixed => name(&word.text),
            _ => "",
        }
    }

    /// The words behind the program.
    pub fn rest(&self) -> &[ShellWord] {
        self.words.get(1..).unwrap_or_default()
    }

    /// Whether every word is known and nothing but words is there, so that a rule about its words
    /// says all about it. Reading a file and writing to nowhere are let pass; what lies in `/dev`
    /// can be a connection.
    pub fn is_plain(&self) -> bool {
        let known = |w: &ShellWord| w.known == Certainty::Fixed;
        let file = |w: &ShellWord| w.text == "/dev/null" || !w.text.starts_with("/dev");
        let harmless = |r: &Redirect| {
            known(&r.target) && file(&r.target) && (!r.writes || r.target.text == "/dev/null")
        };
        !self.words.is_empty()
            && self.assigns.is_empty()
            && self.words.iter().all(known)
            && self.redirects.iter().all(harmless)
    }
}

/// A command line that was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ShellScript {
    /// Everything that would run, in the order of the text.
    pub commands: Vec<ShellCommand>,
    /// Why not everything could be read, as a part of a sentence; `None` when all of it was read.
    pub unknown: Option<String>,
    /// Whether names may mean something else than usual, or programs are given something else:
    /// functions, variables.
    pub renames: bool,
    /// A function or loop that multiplies without end.
    pub bomb: bool,
    /// Whether other shells in it read texts, with the variables that they are given.
    pub(in crate::tools::command) shells: bool,
    /// What reading it cost, in steps.
    pub(in crate::tools::command) steps: usize,
}

/// Why nothing of `text` is looked at.
pub(in crate::tools::command) fn unfit(text: &str) -> Option<&'static str> {
    match () {
        () if text.len() > MAX_BYTES => Some("it is longer than 64 KiB"),
        () if text.contains('\0') => Some("it holds a NUL character"),
        () => None,
    }
}

/// Why `text` can only be guessed at.
pub(in crate::tools::command) fn unreadable(text: &str) -> Option<&'static str> {
    let deep = || (nesting(text) > MAX_NESTING).then_some("it is nested too deeply");
    unfit(text).or_else(deep)
}

/// How many brackets, quotes of commands and blocks are open at once at most: more than there
/// really are, because quotes are not looked at.
fn nesting(text: &str) -> usize {
    const OPEN: &[&str] = &["if", "while", "until", "for", "case", "select", "function"];
    const SHUT: &[&str] = &["fi", "done", "esac"];
    let (mut open, mut most) = (0usize, 0usize);
    let mut word = String::new();
    for c in text.chars().chain([' ']) {
        if c.is_ascii_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        if OPEN.contains(&word.as_str()) {
            open += 1;
        } else if SHUT.contains(&word.as_str()) {
            open = open.saturating_sub(1);
        }
        word.clear();
        match c {
            '(' | '{' | '[' => open += 1,
            ')' | '}' | ']' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    // Nested backquotes are escaped ones: their number bounds their depth.
    let escaped = text.matches("\\`").count();
    most + escaped
}

/// A path's last part.
pub(in crate::tools::command) fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `path` seen from `folder`, without `.`, `..` and empty parts; nothing on disk is looked at.
pub(in crate::tools::command) fn absolute(folder: Option<&Path>, path: &str) -> Option<PathBuf> {
    let whole = match (path.starts_with('/'), folder) {
        (true, _) => PathBuf::from(path),
        (false, Some(folder)) => folder.join(path),
        (false, None) => return None,
    };
    let mut flat = PathBuf::from("/");
    for part in whole.components() {
        match part {
            std::path::Component::ParentDir => {
                flat.pop();
            }
            std::path::Component::Normal(part) => flat.push(part),
            _ => {}
        }
    }
    Some(flat)
}
