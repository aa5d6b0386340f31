//! One word made into the words that a program gets: braces, quotes, `~`, variables.

use std::collections::HashMap;
use std::rc::Rc;

use super::braces;
use super::tree::{Form, Piece, Raw};
use super::walk::Walk;
use crate::tools::command::{Known, Word};

const LONG: &str = "it becomes too long";

/// What the shell's names stand for, as far as it was followed.
#[derive(Default)]
pub(super) struct Names {
    /// Assigned in this line: the last value seen.
    values: HashMap<String, String>,
    /// Assignments in their order, with the values before: for shells that end.
    log: Vec<(String, Option<String>)>,
    /// `$1`…, of a function or of `set --`.
    pub positional: Rc<[String]>,
}

impl Names {
    pub fn get(&self, name: &str) -> Option<&String> {
        self.values.get(name)
    }

    pub fn set(&mut self, name: &str, value: String) {
        let before = self.values.insert(name.to_owned(), value);
        self.log.push((name.to_owned(), before));
    }

    /// How many assignments there were.
    pub fn count(&self) -> usize {
        self.log.len()
    }

    /// Takes back all assignments but the first `count`.
    pub fn back(&mut self, count: usize) {
        for (name, before) in self.log.drain(count..).rev() {
            match before {
                Some(value) => self.values.insert(name, value),
                None => self.values.remove(&name),
            };
        }
    }
}

/// The words that `raw` becomes; commands inside of it are walked too.
pub(super) fn expand(walk: &mut Walk<'_>, raw: &Raw) -> Vec<Word> {
    let Some(all) = braces::alternatives(&raw.pieces, &mut walk.steps) else {
        return plain(walk, &raw.pieces);
    };
    if all.cut {
        walk.not_known(LONG);
    }
    let mut words = Vec::new();
    for pieces in &all.words {
        if walk.steps.spent() {
            break;
        }
        words.extend(plain(walk, pieces));
    }
    words
}

/// The same as one word: where nothing is split, as in an assignment or behind `>`.
pub(super) fn single(walk: &mut Walk<'_>, pieces: &[Piece]) -> Word {
    let mut all = plain(walk, pieces);
    match all.len() {
        0 => Word::fixed(""),
        1 => all.remove(0),
        _ => {
            let texts: Vec<String> = all.into_iter().map(|w| w.text).collect();
            Word::guess(texts.join(" "))
        }
    }
}

fn plain(walk: &mut Walk<'_>, pieces: &[Piece]) -> Vec<Word> {
    let mut building = Building::default();
    // `[` is a program; elsewhere it begins a class of characters.
    let bracket = matches!(pieces, [Piece::Plain(text)] if text == "[");
    for piece in pieces {
        building.piece(walk, piece, bracket);
    }
    building.end(walk);
    building.done
}

/// Words being put together from pieces.
struct Building {
    done: Vec<Word>,
    text: String,
    known: Known,
    /// Something is there, if only a pair of quotes.
    begun: bool,
}

impl Default for Building {
    fn default() -> Self {
        Building {
            done: Vec::new(),
            text: String::new(),
            known: Known::Fixed,
            begun: false,
        }
    }
}

impl Building {
    fn end(&mut self, walk: &mut Walk<'_>) {
        // A variable that may be empty still leaves a word to be judged.
        if (self.begun || self.known == Known::Not) && walk.steps.pay(size_of::<Word>()) {
            self.done.push(Word {
                text: std::mem::take(&mut self.text),
                known: self.known,
            });
        }
        self.known = Known::Fixed;
        self.begun = false;
    }

    fn push(&mut self, walk: &mut Walk<'_>, text: &str) {
        self.begun = true;
        match walk.steps.pay(text.len()) {
            true => self.text.push_str(text),
            false => self.known = Known::Not,
        }
    }

    fn unknown(&mut self) {
        self.known = Known::Not;
    }

    /// A value from a variable or a command: a guess, since what ran before may have changed it.
    /// Unquoted it is split at white space.
    fn value(&mut self, walk: &mut Walk<'_>, value: &str, quoted: bool) {
        self.unknown();
        if quoted {
            return self.push(walk, value);
        }
        let mut parts = value.split([' ', '\t', '\n']).peekable();
        while let Some(part) = parts.next() {
            if !part.is_empty() {
                self.push(walk, part);
            }
            self.unknown();
            if parts.peek().is_some() {
                self.end(walk);
                self.unknown();
            }
        }
    }

    fn piece(&mut self, walk: &mut Walk<'_>, piece: &Piece, bracket: bool) {
        walk.steps.took(1);
        match piece {
            Piece::Plain(text) => {
                if text.contains(['*', '?', '[']) && !bracket {
                    self.known = self.known.max(Known::Glob);
                }
                self.push(walk, text);
            }
            Piece::Quoted(text) => self.push(walk, text),
            Piece::Home(user) => match user.as_str() {
                "" => {
                    let home = walk.home();
                    self.push(walk, &home);
                }
                "+" | "-" => {
                    self.unknown();
                    let folder = walk.folder_text();
                    self.push(walk, &folder);
                }
                // Another user's home folder: a place like one's own.
                user => {
                    self.unknown();
                    self.push(walk, &format!("/home/{user}"));
                }
            },
            Piece::Parameter { name, form, quoted } => self.parameter(walk, name, form, *quoted),
            Piece::Commands { list, quoted } => {
                let said = walk.substituted(list);
                self.value(walk, &said, *quoted);
            }
            Piece::Sums(raw) => {
                walk.evaluated(raw);
                self.unknown();
                self.begun = true;
            }
            Piece::Files(list) => {
                walk.apart(list);
                self.unknown();
                self.push(walk, "/dev/fd/63");
            }
        }
    }

    fn parameter(&mut self, walk: &mut Walk<'_>, name: &str, form: &Form, quoted: bool) {
        let fallback = match form {
            Form::Plain => None,
            Form::Default(raw) => Some(raw),
            Form::Alternative(raw) => {
                let value = single(walk, &raw.pieces).text;
                return self.value(walk, &value, quoted);
            }
            Form::Other(raw) => {
                // `${X/$(…)/}` and the like: what runs in it is found, what comes out is not.
                walk.evaluated(raw);
                self.begun |= quoted;
                return self.unknown();
            }
        };
        let number = name.parse::<usize>().ok();
        let known = match (name, number) {
            ("IFS", _) => return self.value(walk, " ", quoted),
            ("@" | "*", _) => {
                let all = Rc::clone(&walk.names.positional);
                for (n, value) in all.iter().enumerate() {
                    if n > 0 {
                        self.end(walk);
                    }
                    self.value(walk, value, quoted);
                }
                return self.unknown();
            }
            (_, Some(number)) => {
                let at = number.checked_sub(1);
                at.and_then(|at| walk.names.positional.get(at)).cloned()
            }
            ("#" | "?" | "-" | "$" | "!", _) => {
                self.begun |= quoted;
                return self.unknown();
            }
            (name, _) => walk.names.get(name).cloned(),
        };
        match (known, name) {
            (Some(value), _) => self.value(walk, &value, quoted),
            (None, "HOME") => {
                let home = walk.home();
                match quoted || !home.contains([' ', '\t', '*', '?', '[']) {
                    true => self.push(walk, &home),
                    false => self.value(walk, &home, quoted),
                }
            }
            (None, "PWD") => {
                let folder = walk.folder_text();
                self.value(walk, &folder, quoted);
            }
            (None, _) => {
                let value = fallback.map(|raw| single(walk, &raw.pieces).text);
                self.value(walk, &value.unwrap_or_default(), quoted);
            }
        }
    }
}
