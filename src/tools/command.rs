//! What a command line would run: every simple command in it, however it is wrapped. Approval and
//! the hard list judge this and never the text, because text can be quoted into anything.
//!
//! A line is read twice. `certain` reads a small part of bash, and what it reads is all that runs:
//! on this rules that allow and the policy `auto` stand. What it does not read has
//! [`Script::unknown`]. `guess` reads all of bash, and programs that run others: for the hard list
//! and for rules that deny, which are reminders and no protection. `steps` bounds what both cost.

mod certain;
mod guess;
mod hard;
mod steps;

use std::path::{Path, PathBuf};

pub use hard::hard;

use certain::Shell;
use guess::Walk;

/// Longest command line that is read, in bytes.
pub const MAX_BYTES: usize = 64 << 10;
/// Most simple commands that are told apart in one line.
const MAX_COMMANDS: usize = 2_000;
/// Most brackets and blocks that may be open at once, and how deep shells may start shells.
const MAX_NESTING: usize = 40;
const MAX_SHELLS: usize = 8;
/// The grammar is recursive: its stack must hold [`MAX_NESTING`] levels in a debug build too.
const STACK: usize = 64 << 20;

/// The folders that `~`, `$HOME` and `$PWD` stand for, and npast's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The user's home folder.
    pub home: PathBuf,
    /// Where the command starts.
    pub project: PathBuf,
    /// npast's data folder.
    pub data: PathBuf,
}

/// How much of a word is known before it runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Known {
    /// All of it.
    Fixed,
    /// It holds an unquoted glob.
    Glob,
    /// It holds a variable or the output of a command; these are left out of the text.
    Not,
}

/// One word as the program would get it, quotes removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Word {
    /// The text, as far as it is known.
    pub text: String,
    /// How far that is.
    pub known: Known,
}

impl Word {
    fn fixed(text: impl Into<String>) -> Word {
        let text = text.into();
        Word {
            text,
            known: Known::Fixed,
        }
    }

    fn guess(text: impl Into<String>) -> Word {
        let text = text.into();
        Word {
            text,
            known: Known::Not,
        }
    }
}

/// A file that a command opens by `<`, `>` or the like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redirect {
    /// Whether it may be written.
    pub writes: bool,
    /// The file.
    pub target: Word,
}

/// One program, function or builtin with its words.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Command {
    /// The program first. Empty for assignments and redirects alone.
    pub words: Vec<Word>,
    /// `NAME=value` before the program, or alone.
    pub assigns: Vec<(String, Word)>,
    /// Files.
    pub redirects: Vec<Redirect>,
    /// The folder it runs in, where that is known.
    pub folder: Option<PathBuf>,
    /// Whether another command runs it (`sudo`, `xargs`, `sh -c`…), which is listed before it.
    pub wrapped: bool,
}

impl Command {
    /// The program's name without its folder; empty when it is not known.
    pub fn program(&self) -> &str {
        match self.words.first() {
            Some(word) if word.known == Known::Fixed => name(&word.text),
            _ => "",
        }
    }

    /// The words behind the program.
    pub fn rest(&self) -> &[Word] {
        self.words.get(1..).unwrap_or_default()
    }

    /// Whether every word is known and nothing but words is there, so that a rule about its words
    /// says all about it. Reading a file and writing to nowhere are let pass; what lies in `/dev`
    /// can be a connection.
    pub fn is_plain(&self) -> bool {
        let known = |w: &Word| w.known == Known::Fixed;
        let file = |w: &Word| w.text == "/dev/null" || !w.text.starts_with("/dev");
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
pub struct Script {
    /// Everything that would run, in the order of the text.
    pub commands: Vec<Command>,
    /// Why not everything could be told, in words, where that is so.
    pub unknown: Option<String>,
    /// Whether names may mean something else than usual, or programs are given something else:
    /// functions, variables.
    pub renames: bool,
    /// A function or loop that multiplies without end.
    pub bomb: bool,
    /// Whether other shells in it read texts, with the variables that they are given.
    shells: bool,
    /// What reading it cost, in steps.
    steps: usize,
}

/// Reads a command line as bash would. Never fails: what cannot be read has `unknown`.
pub fn parse(text: &str, places: &Places) -> Script {
    let refused = |why: &str| Script {
        unknown: Some(why.to_owned()),
        ..Script::default()
    };
    if let Some(why) = unfit(text) {
        return refused(why);
    }
    std::thread::scope(|scope| {
        let read = std::thread::Builder::new()
            .name("npast-command".into())
            .stack_size(STACK)
            .spawn_scoped(scope, || twice(text, places));
        match read.map(|thread| thread.join()) {
            Ok(Ok(script)) => script,
            _ => refused("it could not be read"),
        }
    })
}

/// What both readings found.
fn twice(text: &str, places: &Places) -> Script {
    let mut walk = Walk::new(places);
    let shell = match bash() {
        Some(_) => Shell::Bash,
        None => Shell::Posix,
    };
    let certain = match unreadable(text) {
        Some(why) => Err(why),
        None => certain::read(text, places, shell, true, &mut walk.steps),
    };
    walk.text(text);
    match certain {
        Ok(reading) => {
            let moves_home = reading.moves_home;
            walk.certain(reading);
            if moves_home && walk.script.shells {
                walk.script.unknown = Some(certain::EXOTIC.to_owned());
            }
        }
        Err(why) => walk.script.unknown = Some(why.to_owned()),
    }
    let mut script = walk.script;
    if walk.steps.spent() {
        script.unknown.get_or_insert_with(|| certain::LONG.into());
    }
    script.steps = walk.steps.taken();
    script
}

/// The bash that commands run in, where the system has one; else `/bin/sh` runs them.
pub fn bash() -> Option<&'static Path> {
    let all = ["/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash"];
    all.into_iter().map(Path::new).find(|path| path.exists())
}

/// Why nothing of `text` is looked at.
fn unfit(text: &str) -> Option<&'static str> {
    match () {
        () if text.len() > MAX_BYTES => Some("it is longer than 64 KiB"),
        () if text.contains('\0') => Some("it holds a NUL character"),
        () => None,
    }
}

/// Why `text` can only be guessed at.
fn unreadable(text: &str) -> Option<&'static str> {
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
fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `path` seen from `folder`, without `.`, `..` and empty parts; nothing on disk is looked at.
fn absolute(folder: Option<&Path>, path: &str) -> Option<PathBuf> {
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

#[cfg(test)]
mod tests;
