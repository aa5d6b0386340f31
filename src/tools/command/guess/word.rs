//! One word made into the words that a program gets: braces, quotes, `~`, variables.

use std::rc::Rc;

use super::braces;
use super::state::ShellState;
use super::tree::{ParameterForm, RawWord, WordPiece};
use crate::tools::command::{Certainty, ShellWord};

const LONG: &str = "it becomes too long";

/// The words that `raw` becomes; commands inside of it are walked too.
pub(super) fn expand(walk: &mut ShellState<'_>, raw: &RawWord) -> Vec<ShellWord> {
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
pub(super) fn single(walk: &mut ShellState<'_>, pieces: &[WordPiece]) -> ShellWord {
    let mut all = plain(walk, pieces);
    match all.len() {
        0 => ShellWord::fixed(""),
        1 => all.remove(0),
        _ => {
            let texts: Vec<String> = all.into_iter().map(|w| w.text).collect();
            ShellWord::guess(texts.join(" "))
        }
    }
}

fn plain(walk: &mut ShellState<'_>, pieces: &[WordPiece]) -> Vec<ShellWord> {
    let mut building = WordBuilder::default();
    // `[` is a program; elsewhere it begins a class of characters.
    let bracket = matches!(pieces, [WordPiece::Plain(text)] if text == "[");
    for piece in pieces {
        building.piece(walk, piece, bracket);
    }
    building.end(walk);
    building.done
}

/// Words being put together from pieces.
struct WordBuilder {
    done: Vec<ShellWord>,
    text: String,
    known: Certainty,
    /// Something is there, if only a pair of quotes.
    begun: bool,
}

impl Default for WordBuilder {
    fn default() -> Self {
        WordBuilder {
            done: Vec::new(),
            text: String::new(),
            known: Certainty::Fixed,
            begun: false,
        }
    }
}

impl WordBuilder {
    fn end(&mut self, walk: &mut ShellState<'_>) {
        // A variable that may be empty still leaves a word to be judged.
        if (self.begun || self.known == Certainty::Not) && walk.steps.pay(size_of::<ShellWord>()) {
            self.done.push(ShellWord {
                text: std::mem::take(&mut self.text),
                known: self.known,
            });
        }
        self.known = Certainty::Fixed;
        self.begun = false;
    }

    fn push(&mut self, walk: &mut ShellState<'_>, text: &str) {
        self.begun = true;
        match walk.steps.pay(text.len()) {
            true => self.text.push_str(text),
            false => self.known = Certainty::Not,
        }
    }

    fn unknown(&mut self) {
        self.known = Certainty::Not;
    }

    /// A value from a variable or a command: a guess, since what ran before may have changed it.
    /// Unquoted it is split at white space.
    fn value(&mut self, walk: &mut ShellState<'_>, value: &str, quoted: bool) {
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

    fn piece(&mut self, walk: &mut ShellState<'_>, piece: &WordPiece, bracket: bool) {
        walk.steps.took(1);
        match piece {
            WordPiece::Plain(text) => {
                if text.contains(['*', '?', '[']) && !bracket {
                    self.known = self.known.max(Certainty::Glob);
                }
                self.push(walk, text);
            }
            WordPiece::Quoted(text) => self.push(walk, text),
            WordPiece::Home(user) => match user.as_str() {
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
            WordPiece::Parameter { name, form, quoted } => {
                self.parameter(walk, name, form, *quoted)
            }
            WordPiece::Commands { list, quoted } => {
                let said = walk.substituted(list);
                self.value(walk, &said, *quoted);
            }
            WordPiece::Sums(raw) => {
                walk.evaluated(raw);
                self.unknown();
                self.begun = true;
            }
            WordPiece::Files(list) => {
                walk.apart(list);
                self.unknown();
                self.push(walk, "/dev/fd/63");
            }
        }
    }

    fn parameter(
        &mut self,
        walk: &mut ShellState<'_>,
        name: &str,
        form: &ParameterForm,
        quoted: bool,
    ) {
        let fallback = match form {
            ParameterForm::Plain => None,
            ParameterForm::Default(raw) => Some(raw),
            ParameterForm::Alternative(raw) => {
                let value = single(walk, &raw.pieces).text;
                return self.value(walk, &value, quoted);
            }
            ParameterForm::Other(raw) => {
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
