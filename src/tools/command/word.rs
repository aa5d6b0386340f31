//! One word of the grammar made into the words a program gets: braces, quotes, `~`, variables.

use std::collections::HashMap;

use brush_parser::word::{
    BraceExpressionMember, BraceExpressionOrText, Parameter, ParameterExpr, SpecialParameter,
    WordPiece, WordPieceWithSource,
};
use brush_parser::{ParserOptions, word};

use super::walk::Walk;
use super::{Known, Word, ansi};

/// Most words that braces of one word may become.
const MAX_BRACES: usize = 64;

/// What the shell's names stand for, as far as it was followed.
#[derive(Clone, Default)]
pub(super) struct Names {
    /// Assigned in this line: the last value seen.
    pub values: HashMap<String, String>,
    /// `$1`…, of a function or of `set --`.
    pub positional: Vec<String>,
}

/// The words that `raw` becomes; commands inside of it are walked too.
pub(super) fn expand(walk: &mut Walk<'_>, raw: &str) -> Vec<Word> {
    let options = ParserOptions::default();
    let braces = match raw.contains('{') {
        true => word::parse_brace_expansions(raw, &options).ok().flatten(),
        false => None,
    };
    let mut words = Vec::new();
    for raw in braces.map_or_else(|| vec![raw.to_owned()], |b| alternatives(&b)) {
        words.extend(plain(walk, &raw));
    }
    words
}

/// The same as one word: where nothing is split, as in an assignment or behind `>`.
pub(super) fn single(walk: &mut Walk<'_>, raw: &str) -> Word {
    let mut all = plain(walk, raw);
    match all.len() {
        0 => Word::fixed(""),
        1 => all.remove(0),
        _ => {
            let texts: Vec<String> = all.into_iter().map(|w| w.text).collect();
            Word::guess(texts.join(" "))
        }
    }
}

fn plain(walk: &mut Walk<'_>, raw: &str) -> Vec<Word> {
    let Ok(pieces) = word::parse(raw, &ParserOptions::default()) else {
        return vec![Word::guess(raw)];
    };
    let mut building = Building {
        room: walk.room,
        ..Building::default()
    };
    building.pieces(walk, raw, &pieces, false);
    building.end();
    // Less what commands in the word took meanwhile.
    walk.room = walk.room.min(building.room);
    if walk.room == 0 {
        walk.not_known("it becomes too long");
    }
    building.done
}

fn alternatives(all: &[BraceExpressionOrText]) -> Vec<String> {
    let mut out = vec![String::new()];
    for part in all {
        let texts: Vec<String> = match part {
            BraceExpressionOrText::Text(text) => vec![text.clone()],
            BraceExpressionOrText::Expr(members) => members.iter().flat_map(member).collect(),
        };
        out = out
            .iter()
            .flat_map(|head| texts.iter().map(move |text| format!("{head}{text}")))
            .take(MAX_BRACES)
            .collect();
    }
    out
}

fn member(member: &BraceExpressionMember) -> Vec<String> {
    match member {
        BraceExpressionMember::Child(all) => alternatives(all),
        BraceExpressionMember::NumberSequence { start, end, .. } => {
            let (low, high) = (*start.min(end), *start.max(end));
            let last = high.min(low.saturating_add(MAX_BRACES as i64));
            (low..=last).map(|n| n.to_string()).collect()
        }
        BraceExpressionMember::CharSequence { start, end, .. } => {
            let (low, high) = (*start.min(end), *start.max(end));
            (low..=high).take(MAX_BRACES).map(String::from).collect()
        }
    }
}

/// Words being put together from pieces.
struct Building {
    done: Vec<Word>,
    text: String,
    known: Known,
    /// Something is there, if only a pair of quotes.
    begun: bool,
    /// How much more text may come of the line, in bytes.
    room: usize,
}

impl Default for Building {
    fn default() -> Self {
        Building {
            done: Vec::new(),
            text: String::new(),
            known: Known::Fixed,
            begun: false,
            room: 0,
        }
    }
}

impl Building {
    fn end(&mut self) {
        // A variable that may be empty still leaves a word to be judged.
        if self.room > 0 && (self.begun || self.known == Known::Not) {
            self.room = self.room.saturating_sub(size_of::<Word>());
            self.done.push(Word {
                text: std::mem::take(&mut self.text),
                known: self.known,
            });
        }
        self.known = Known::Fixed;
        self.begun = false;
    }

    fn push(&mut self, text: &str) {
        self.begun = true;
        match self.room.checked_sub(text.len()) {
            Some(room) => {
                self.room = room;
                self.text.push_str(text);
            }
            None => {
                self.room = 0;
                self.known = Known::Not;
            }
        }
    }

    fn unknown(&mut self) {
        self.known = Known::Not;
    }

    /// A value that is split at white space, as an unquoted one is.
    fn split(&mut self, value: &str) {
        let mut parts = value.split([' ', '\t', '\n']).peekable();
        while let Some(part) = parts.next() {
            if !part.is_empty() {
                self.push(part);
            }
            self.unknown();
            if parts.peek().is_some() {
                self.end();
                self.unknown();
            }
        }
    }

    fn pieces(
        &mut self,
        walk: &mut Walk<'_>,
        raw: &str,
        pieces: &[WordPieceWithSource],
        quoted: bool,
    ) {
        for piece in pieces {
            self.piece(walk, raw, piece, quoted);
        }
    }

    fn piece(&mut self, walk: &mut Walk<'_>, raw: &str, at: &WordPieceWithSource, quoted: bool) {
        match &at.piece {
            WordPiece::Text(text) => {
                if !quoted && text.contains(['*', '?', '[']) && raw != "[" {
                    self.known = self.known.max(Known::Glob);
                }
                self.push(text);
            }
            WordPiece::SingleQuotedText(text) => self.push(text),
            WordPiece::AnsiCQuotedText(text) => self.push(&ansi::text(text)),
            WordPiece::DoubleQuotedSequence(inner)
            | WordPiece::GettextDoubleQuotedSequence(inner) => {
                self.begun = true;
                self.pieces(walk, raw, inner, true);
            }
            WordPiece::EscapeSequence(text) => {
                let c = text.strip_prefix('\\').unwrap_or(text);
                if c != "\n" {
                    self.push(c);
                }
            }
            WordPiece::TildePrefix(user) => match user.as_str() {
                "" => self.push(&walk.home()),
                "+" | "-" => {
                    self.unknown();
                    self.push(&walk.folder_text());
                }
                // Another user's home folder: a place like one's own.
                user => {
                    self.unknown();
                    self.push(&format!("/home/{user}"));
                }
            },
            WordPiece::ParameterExpansion(expr) => {
                let source = raw.get(at.start_index..at.end_index);
                self.parameter(walk, expr, source, quoted);
            }
            WordPiece::CommandSubstitution(text) => self.substitution(walk, text, quoted),
            WordPiece::BackquotedCommandSubstitution(text) => {
                let text = text.replace("\\`", "`").replace("\\$", "$");
                self.substitution(walk, &text.replace("\\\\", "\\"), quoted);
            }
            WordPiece::ArithmeticExpression(expr) => {
                walk.inside(&expr.value);
                self.unknown();
                self.begun = true;
            }
        }
    }

    fn substitution(&mut self, walk: &mut Walk<'_>, text: &str, quoted: bool) {
        let said = walk.substituted(text);
        self.unknown();
        match quoted {
            true => self.push(&said),
            false => self.split(&said),
        }
    }

    fn parameter(
        &mut self,
        walk: &mut Walk<'_>,
        expr: &ParameterExpr,
        source: Option<&str>,
        quoted: bool,
    ) {
        let (parameter, fallback) = match expr {
            ParameterExpr::Parameter {
                parameter,
                indirect: false,
            } => (parameter, None),
            ParameterExpr::UseDefaultValues {
                parameter,
                default_value,
                ..
            }
            | ParameterExpr::AssignDefaultValues {
                parameter,
                default_value,
                ..
            } => (parameter, default_value.as_deref()),
            ParameterExpr::UseAlternativeValue {
                alternative_value, ..
            } => {
                let value = alternative_value.as_deref().unwrap_or_default();
                let value = single(walk, value).text;
                return self.value(&value, quoted);
            }
            _ => {
                // `${X/$(…)/}` and the like: what runs in it is found, what comes out is not.
                let inner = source.and_then(|s| s.strip_prefix("${")?.strip_suffix('}'));
                walk.inside(inner.unwrap_or_default());
                self.begun |= quoted;
                return self.unknown();
            }
        };
        match parameter {
            Parameter::Named(name) if name == "IFS" => self.value(" ", quoted),
            Parameter::Named(name) => {
                let known = walk.names.values.get(name).cloned();
                match (known, name.as_str()) {
                    (Some(value), _) => self.value(&value, quoted),
                    (None, "HOME") => {
                        let home = walk.home();
                        match quoted || !home.contains([' ', '\t', '*', '?', '[']) {
                            true => self.push(&home),
                            false => self.value(&home, quoted),
                        }
                    }
                    (None, "PWD") => self.value(&walk.folder_text(), quoted),
                    (None, _) => {
                        let value = fallback.map(|f| single(walk, f).text);
                        self.value(&value.unwrap_or_default(), quoted);
                    }
                }
            }
            Parameter::Positional(n) => {
                let at = (*n as usize).checked_sub(1);
                let value = at.and_then(|n| walk.names.positional.get(n)).cloned();
                let value = value.or_else(|| fallback.map(|f| single(walk, f).text));
                self.value(&value.unwrap_or_default(), quoted);
            }
            Parameter::Special(SpecialParameter::AllPositionalParameters { .. }) => {
                let all = walk.names.positional.clone();
                for (n, value) in all.iter().enumerate() {
                    if n > 0 {
                        self.end();
                    }
                    self.value(value, quoted);
                }
                self.unknown();
            }
            _ => {
                self.begun |= quoted;
                self.unknown();
            }
        }
    }

    /// A value from a variable: a guess, since what ran before may have changed it.
    fn value(&mut self, value: &str, quoted: bool) {
        self.unknown();
        match quoted {
            true => self.push(value),
            false => self.split(value),
        }
    }
}
