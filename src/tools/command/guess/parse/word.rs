//! Words: quotes, and what expands.

use std::rc::Rc;

use super::super::tree::{ParameterForm, Pipelines, RawWord, WordPiece};
use super::token::is_meta;
use super::{MAX_DEPTH, ShellParser};
use crate::tools::command::guess::ansi;

/// Longest `[…]` of an assignment that is looked for a blank, in characters.
const MAX_INDEX: usize = 200;

/// Most `=` of a word that may be the one of an assignment: in `a[x==1]=b` it is the third.
const MAX_SIGNS: usize = 4;

/// What text between two marks is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MarkedText {
    /// `"…"`.
    Quotes,
    /// What stands behind the name in `${…}`: in quotes or not, and whether `'` quotes there.
    Braces { quoted: bool, quotes: bool },
    /// `$[…]`.
    Brackets,
    /// To the end.
    Document,
}

impl MarkedText {
    fn end(self) -> Option<char> {
        match self {
            MarkedText::Quotes => Some('"'),
            MarkedText::Braces { .. } => Some('}'),
            MarkedText::Brackets => Some(']'),
            MarkedText::Document => None,
        }
    }

    fn quoted(self) -> bool {
        !matches!(self, MarkedText::Braces { quoted: false, .. })
    }
}

impl ShellParser<'_> {
    pub fn word(&mut self) -> RawWord {
        let mut raw = RawWord::default();
        // The end of `[…]`, in which blanks are no end.
        let mut index = 0;
        let mut signs = 0;
        while let Some(c) = self.look() {
            if is_meta(c) && self.at >= index {
                if !matches!(c, '<' | '>') || !self.behind('(') {
                    break;
                }
                self.bump();
                self.bump_bracket();
                let list = self.commands();
                raw.pieces.push(WordPiece::Files(Rc::new(list)));
                continue;
            }
            match c {
                '\\' => {
                    self.bump();
                    match self.current() {
                        Some(c) => {
                            raw.quoted(c);
                            self.bump();
                        }
                        None => raw.plain('\\'),
                    }
                }
                '\'' => self.single(&mut raw),
                '"' => {
                    self.bump();
                    raw.open();
                    self.span(&mut raw, MarkedText::Quotes);
                }
                '$' => self.dollar(&mut raw, false),
                '`' => self.backquoted(&mut raw, false),
                '~' if self.begins(&raw) => self.home(&mut raw),
                '=' if raw.value.is_none() && signs < MAX_SIGNS => {
                    signs += 1;
                    raw.plain('=');
                    self.bump();
                    self.assigned(&mut raw);
                }
                '[' if index == 0 && raw.variable().is_some() => {
                    index = self.index();
                    raw.plain('[');
                    self.bump();
                }
                c => {
                    raw.plain(c);
                    self.bump();
                }
            }
        }
        raw
    }

    /// The bracket behind a character that was looked at.
    fn bump_bracket(&mut self) {
        self.look();
        self.bump();
    }

    /// Whether `~` would be a home folder behind `raw`.
    fn begins(&self, raw: &RawWord) -> bool {
        match (raw.pieces.last(), &raw.value) {
            (None, _) => true,
            (Some(_), Some((_, at))) if raw.pieces.len() == *at => true,
            (Some(WordPiece::Plain(text)), Some(_)) => text.ends_with(':'),
            _ => false,
        }
    }

    fn home(&mut self, raw: &mut RawWord) {
        let mut user = String::new();
        self.bump();
        while let Some(c) = self.look()
            && !is_meta(c)
            && !"/:'\"$`\\".contains(c)
        {
            user.push(c);
            self.bump();
        }
        let whole = self.look().is_none_or(|c| is_meta(c) || "/:".contains(c));
        match whole {
            true => raw.pieces.push(WordPiece::Home(user)),
            false => format!("~{user}").chars().for_each(|c| raw.plain(c)),
        }
    }

    /// Behind a `=`: whether `raw` gives a variable a value.
    fn assigned(&mut self, raw: &mut RawWord) {
        let first = match raw.pieces.first() {
            Some(WordPiece::Plain(text)) => text.len(),
            _ => return,
        };
        self.steps.took(first);
        // Without the `=`.
        if let Some(WordPiece::Plain(text)) = raw.pieces.last_mut() {
            text.pop();
        }
        let name = raw.variable().map(str::to_owned);
        if let Some(WordPiece::Plain(text)) = raw.pieces.last_mut() {
            text.push('=');
        }
        let Some(name) = name else { return };
        raw.value = Some((name, raw.pieces.len()));
        if self.look() == Some('(') && self.deeper() {
            self.bump();
            self.array(raw);
            self.depth -= 1;
        }
    }

    /// The words of `NAME=(…)`.
    fn array(&mut self, raw: &mut RawWord) {
        loop {
            match self.look() {
                Some(')') => return self.bump(),
                Some(' ' | '\t' | '\n') => self.bump(),
                Some('#') => {
                    while self.current().is_some_and(|c| c != '\n') {
                        self.bump();
                    }
                }
                Some(c) if is_meta(c) && !(matches!(c, '<' | '>') && self.behind('(')) => {
                    self.broken = true;
                    self.bump();
                }
                Some(_) => {
                    self.steps.took(size_of::<RawWord>());
                    let word = self.word();
                    raw.array.push(word);
                }
                None => {
                    self.broken = true;
                    return;
                }
            }
        }
    }

    /// Where `[…]` ends, when it is a variable's that gets a value and holds blanks.
    fn index(&mut self) -> usize {
        self.steps.took(MAX_INDEX);
        let rest = &self.text[self.at..self.end.min(self.at + MAX_INDEX)];
        let end = rest.iter().position(|c| ";&|\n()<>]".contains(*c));
        let assigns = |at: usize| {
            rest[at] == ']'
                && (rest.get(at + 1) == Some(&'=') || rest[at + 1..].starts_with(&['+', '=']))
        };
        end.filter(|at| assigns(*at)).map_or(1, |at| self.at + at)
    }

    /// `'…'`.
    fn single(&mut self, raw: &mut RawWord) {
        self.bump();
        raw.open();
        loop {
            match self.current() {
                Some('\'') => return self.bump(),
                Some(c) => {
                    raw.quoted(c);
                    self.bump();
                }
                None => {
                    self.broken = true;
                    return;
                }
            }
        }
    }

    /// `$'…'`, at its quote.
    fn escaped(&mut self, raw: &mut RawWord) {
        self.bump();
        raw.open();
        let mut text = String::new();
        loop {
            match self.current() {
                Some('\'') => break self.bump(),
                Some('\\') => {
                    text.push('\\');
                    self.bump();
                    text.extend(self.current());
                    self.bump();
                }
                Some(c) => {
                    text.push(c);
                    self.bump();
                }
                None => {
                    self.broken = true;
                    break;
                }
            }
        }
        ansi::text(&text).chars().for_each(|c| raw.quoted(c));
    }

    /// All that is left.
    pub fn document(&mut self) -> RawWord {
        let mut raw = RawWord::default();
        raw.open();
        self.span(&mut raw, MarkedText::Document);
        raw
    }

    /// Up to the end of `span`, which is taken.
    fn span(&mut self, raw: &mut RawWord, span: MarkedText) {
        if !self.deeper() {
            return;
        }
        loop {
            let Some(c) = self.look() else {
                self.broken |= span != MarkedText::Document;
                break;
            };
            match c {
                c if Some(c) == span.end() => {
                    self.bump();
                    break;
                }
                '\\' => {
                    self.bump();
                    let next = self.current();
                    let removed = match next {
                        Some('$' | '`' | '\\') => true,
                        next => !span.quoted() || (next.is_some() && next == span.end()),
                    };
                    if !removed {
                        raw.quoted('\\');
                    }
                    if let Some(c) = next {
                        raw.quoted(c);
                        self.bump();
                    }
                }
                '\'' if matches!(span, MarkedText::Braces { quotes: true, .. }) => self.single(raw),
                '"' if matches!(span, MarkedText::Braces { .. }) => {
                    self.bump();
                    raw.open();
                    self.span(raw, MarkedText::Quotes);
                }
                '$' => self.dollar(raw, span.quoted()),
                '`' => self.backquoted(raw, span.quoted()),
                c => {
                    match span.quoted() {
                        true => raw.quoted(c),
                        false => raw.plain(c),
                    }
                    self.bump();
                }
            }
        }
        self.depth -= 1;
    }

    /// Whether one construct more may open; it is open then.
    fn deeper(&mut self) -> bool {
        let fits = self.depth < MAX_DEPTH;
        self.depth += usize::from(fits);
        self.broken |= !fits;
        fits
    }

    /// Commands up to `)`, which is taken.
    fn commands(&mut self) -> Pipelines {
        self.list_to(")")
    }

    fn list_to(&mut self, closer: &'static str) -> Pipelines {
        if !self.deeper() {
            return Pipelines::new();
        }
        let wanted = std::mem::replace(&mut self.wanted, vec![closer]);
        let here = std::mem::take(&mut self.here);
        let list = self.list();
        match self.peeked.take() {
            Some(token) if token.is(closer) || token.reserved() == Some(closer) => {}
            _ => self.broken = true,
        }
        self.wanted = wanted;
        // Texts of here-documents that follow the line in which this stands.
        let left = std::mem::replace(&mut self.here, here);
        self.here.extend(left);
        self.depth -= 1;
        list
    }

    fn dollar(&mut self, raw: &mut RawWord, quoted: bool) {
        self.bump();
        let Some(c) = self.look() else {
            return self.dollar_sign(raw, quoted);
        };
        match c {
            '(' => {
                self.bump();
                if self.look() == Some('(') && self.deeper() {
                    let sums = self.sums();
                    self.depth -= 1;
                    if let Some(sums) = sums {
                        return raw.pieces.push(WordPiece::Sums(Rc::new(sums)));
                    }
                }
                let list = Rc::new(self.commands());
                raw.pieces.push(WordPiece::Commands { list, quoted });
            }
            '[' => {
                self.bump();
                let mut sums = RawWord::default();
                self.span(&mut sums, MarkedText::Brackets);
                raw.pieces.push(WordPiece::Sums(Rc::new(sums)));
            }
            '{' => {
                self.bump();
                self.parameter(raw, quoted);
            }
            '\'' if !quoted => self.escaped(raw),
            // In quotes it ends them.
            '"' if !quoted => {}
            c if c.is_ascii_alphabetic() || c == '_' => {
                let name = self.name();
                raw.pieces
                    .push(parameter(name, ParameterForm::Plain, quoted));
            }
            c if c.is_ascii_digit() || "@*#?-$!".contains(c) => {
                self.bump();
                raw.pieces
                    .push(parameter(c.into(), ParameterForm::Plain, quoted));
            }
            _ => self.dollar_sign(raw, quoted),
        }
    }

    fn dollar_sign(&mut self, raw: &mut RawWord, quoted: bool) {
        match quoted {
            true => raw.quoted('$'),
            false => raw.plain('$'),
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.look()
            && (c.is_ascii_alphanumeric() || c == '_')
        {
            name.push(c);
            self.bump();
        }
        name
    }

    /// Behind `${`.
    fn parameter(&mut self, raw: &mut RawWord, quoted: bool) {
        // `${ commands; }` of newer shells.
        if let Some(' ' | '\t' | '\n' | '|') = self.look() {
            if self.look() == Some('|') {
                self.bump();
            }
            let list = Rc::new(self.list_to("}"));
            return raw.pieces.push(WordPiece::Commands { list, quoted });
        }
        let changed = matches!(self.look(), Some('!' | '#')) && !self.behind('}');
        if changed {
            self.bump();
        }
        let mut name = self.name();
        if name.is_empty()
            && let Some(c) = self.look()
            && "@*#?-$!".contains(c)
        {
            name.push(c);
            self.bump();
        }
        let form = if !changed && self.take("}") {
            ParameterForm::Plain
        } else if !changed && [":-", "-", ":=", "="].iter().any(|form| self.take(form)) {
            ParameterForm::Default(self.braces(quoted, !quoted))
        } else if !changed && (self.take(":+") || self.take("+")) {
            ParameterForm::Alternative(self.braces(quoted, !quoted))
        } else {
            ParameterForm::Other(self.braces(quoted, true))
        };
        raw.pieces.push(parameter(name, form, quoted));
    }

    /// What stands behind the name in `${…}`; `quotes` says whether `'` quotes there.
    fn braces(&mut self, quoted: bool, quotes: bool) -> RawWord {
        let mut raw = RawWord::default();
        self.span(&mut raw, MarkedText::Braces { quoted, quotes });
        raw
    }

    /// At a backquote.
    fn backquoted(&mut self, raw: &mut RawWord, quoted: bool) {
        self.bump();
        let mut text = Vec::new();
        loop {
            match self.current() {
                Some('`') => break self.bump(),
                Some('\\') => {
                    self.bump();
                    match self.current() {
                        Some('`' | '\\' | '$') => {}
                        Some('"') if quoted => {}
                        _ => {
                            text.push('\\');
                            continue;
                        }
                    }
                    text.extend(self.current());
                    self.bump();
                }
                Some(c) => {
                    text.push(c);
                    self.bump();
                }
                None => {
                    self.broken = true;
                    break;
                }
            }
        }
        if !self.deeper() {
            return;
        }
        let mut inner = ShellParser::new(text, self.depth, self.steps);
        let list = Rc::new(inner.list());
        let whole = !inner.broken && inner.here.is_empty();
        self.broken |= !whole;
        self.depth -= 1;
        raw.pieces.push(WordPiece::Commands { list, quoted });
    }
}

fn parameter(name: String, form: ParameterForm, quoted: bool) -> WordPiece {
    WordPiece::Parameter {
        name,
        form: Rc::new(form),
        quoted,
    }
}
