//! Characters to tokens, with the texts of here-documents.

use std::cell::OnceCell;
use std::rc::Rc;

use super::super::tree::{Body, RawWord, WordPiece};
use super::ShellParser;

/// What a token costs: about the bytes that its shapes take.
const TOKEN: usize = 64;
/// Most searches for an end that may fail, each of which reads to the end of the text.
const MAX_FAILED: usize = 16;

/// Words that are no programs where a command begins.
const RESERVED: &[&str] = &[
    "!", "[[", "case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for", "function",
    "if", "select", "then", "time", "until", "while", "{", "}",
];

#[derive(Debug)]
pub(super) enum ShellToken {
    End,
    Word(RawWord),
    /// `;`, `;;` (for `;&` and `;;&` too), `&`, `&&`, `|`, `|&`, `||`, `(`, `)` and the line feed.
    Op(&'static str),
    /// A redirect without its target.
    Redirect(&'static str),
    /// `<<` with its mark.
    Here(Rc<OnceCell<Body>>),
}

/// A here-document whose text is still to come.
pub(super) struct HereDocument {
    mark: String,
    tabs: bool,
    quoted: bool,
    body: Rc<OnceCell<Body>>,
}

impl ShellToken {
    pub fn is(&self, operator: &str) -> bool {
        matches!(self, ShellToken::Op(op) if *op == operator)
    }

    pub fn bare(&self) -> Option<&str> {
        match self {
            ShellToken::Word(raw) => raw.bare(),
            _ => None,
        }
    }

    /// The reserved word it is where a command begins.
    pub fn reserved(&self) -> Option<&'static str> {
        let text = self.bare()?;
        RESERVED.iter().find(|word| **word == text).copied()
    }

    /// Whether a command in another one may begin behind it.
    pub fn opens(&self) -> bool {
        self.is("(") || (self.reserved().is_some() && self.closes().is_none())
    }

    /// The reserved word by which it ends or continues a construct.
    pub fn closes(&self) -> Option<&'static str> {
        let closers = ["do", "done", "elif", "else", "esac", "fi", "then", "}"];
        self.reserved().filter(|word| closers.contains(word))
    }
}

/// Whether the middle part of `for ((…;…;…))` is always true.
pub(super) fn is_endless(text: &RawWord) -> bool {
    let mut flat = String::new();
    for piece in &text.pieces {
        match piece {
            WordPiece::Plain(text) | WordPiece::Quoted(text) => flat.push_str(text),
            _ => flat.push('$'),
        }
    }
    let condition = flat.split(';').nth(1).unwrap_or_default();
    matches!(condition.trim(), "" | "1")
}

/// What ends a word.
pub(super) fn is_meta(c: char) -> bool {
    " \t\n;&|()<>".contains(c)
}

impl ShellParser<'_> {
    /// The character as it stands, which is not taken.
    pub fn current(&self) -> Option<char> {
        (self.at < self.end && !self.steps.spent()).then(|| self.text[self.at])
    }

    /// The next character behind joined lines.
    pub fn look(&mut self) -> Option<char> {
        while self.current() == Some('\\') && self.text[..self.end].get(self.at + 1) == Some(&'\n')
        {
            self.at += 2;
            self.steps.took(2);
        }
        self.current()
    }

    /// Takes the character that was looked at.
    pub fn bump(&mut self) {
        self.at = (self.at + 1).min(self.end);
        self.steps.took(1);
    }

    pub fn take(&mut self, text: &str) -> bool {
        let from = self.at;
        for c in text.chars() {
            if self.look() != Some(c) {
                self.at = from;
                return false;
            }
            self.bump();
        }
        true
    }

    /// Whether `next` stands behind the character that was looked at.
    pub fn behind(&mut self, next: char) -> bool {
        let from = self.at;
        self.at += 1;
        let found = self.look() == Some(next);
        self.at = from;
        found
    }

    pub fn peek(&mut self) -> &ShellToken {
        let token = match self.peeked.take() {
            Some(token) => token,
            None => self.token(),
        };
        self.peeked.insert(token)
    }

    pub fn next(&mut self) -> ShellToken {
        match self.peeked.take() {
            Some(token) => token,
            None => self.token(),
        }
    }

    fn token(&mut self) -> ShellToken {
        self.steps.took(TOKEN);
        let c = loop {
            match self.look() {
                Some(' ' | '\t') => self.bump(),
                Some('#') => {
                    while self.current().is_some_and(|c| c != '\n') {
                        self.bump();
                    }
                }
                Some(c) => break c,
                None => return ShellToken::End,
            }
        };
        match c {
            '\n' => {
                self.bump();
                self.documents();
                return ShellToken::Op("\n");
            }
            '<' | '>' if !self.behind('(') => return self.redirection(),
            '&' if self.behind('>') => return self.redirection(),
            _ => {}
        }
        for (op, token) in [
            (";;&", ";;"),
            (";;", ";;"),
            (";&", ";;"),
            (";", ";"),
            ("&&", "&&"),
            ("||", "||"),
            ("|&", "|&"),
            ("&", "&"),
            ("|", "|"),
            ("(", "("),
            (")", ")"),
        ] {
            if self.take(op) {
                return ShellToken::Op(token);
            }
        }
        let word = self.word();
        // `2>` and `{fd}>`.
        let opens = matches!(self.look(), Some('<' | '>')) && !self.behind('(');
        let number = |text: &str| text.chars().all(|c| c.is_ascii_digit());
        let named = |text: &str| text.starts_with('{') && text.ends_with('}') && text.len() > 2;
        match word.bare() {
            Some(text) if opens && (number(text) || named(text)) => self.redirection(),
            _ => ShellToken::Word(word),
        }
    }

    fn redirection(&mut self) -> ShellToken {
        for op in [
            "<<<", "<<-", "<<", "<>", "<&", "&>>", "&>", ">>", ">&", ">|", "<", ">",
        ] {
            if self.take(op) {
                return match op {
                    "<<" | "<<-" => self.mark(op == "<<-"),
                    op => ShellToken::Redirect(op),
                };
            }
        }
        ShellToken::End
    }

    /// The mark of a here-document. Of one that holds what expands nobody knows what bash makes of
    /// it: the lines behind it are read as commands.
    fn mark(&mut self, tabs: bool) -> ShellToken {
        while let Some(' ' | '\t') = self.look() {
            self.bump();
        }
        let (mut mark, mut quoted, mut odd) = (String::new(), false, false);
        let mut open: Option<char> = None;
        while let Some(c) = self.look() {
            match (open, c) {
                (None, c) if is_meta(c) => break,
                (Some(quote), c) if c == quote => open = None,
                (None, '\'' | '"') => {
                    open = Some(c);
                    quoted = true;
                }
                (None | Some('"'), '\\') => {
                    self.bump();
                    quoted = true;
                    mark.extend(self.current());
                }
                (_, c) => {
                    odd |= open != Some('\'') && matches!(c, '$' | '`');
                    mark.push(c);
                }
            }
            self.bump();
        }
        let body = Rc::default();
        if odd || open.is_some() {
            self.broken = true;
        } else {
            self.here.push(HereDocument {
                mark,
                tabs,
                quoted,
                body: Rc::clone(&body),
            });
        }
        ShellToken::Here(body)
    }

    /// The texts of the here-documents that the line before named.
    fn documents(&mut self) {
        for here in std::mem::take(&mut self.here) {
            // What expands up to the end was looked for once then.
            let looked = self.failed > 0;
            let mut expands = !here.quoted;
            let (end, behind) = match self.marked(&here) {
                Some(found) => found,
                // bash takes all that follows for the text, or what it takes for that. It is read
                // as commands too.
                None if self.failed < MAX_FAILED && !self.steps.spent() => {
                    self.failed += 1;
                    self.broken = true;
                    expands &= !looked;
                    (self.end, self.at)
                }
                None => {
                    self.broken = true;
                    continue;
                }
            };
            let lines = &self.text[self.at.min(end)..end];
            self.steps.took(lines.len());
            let mut text: String = lines.iter().collect();
            if here.tabs {
                let lines = text.split_inclusive('\n');
                text = lines.map(|line| line.trim_start_matches('\t')).collect();
            }
            let mut pieces = RawWord::default();
            if expands {
                pieces = self.within(end, ShellParser::document);
            }
            self.at = behind;
            let _ = here.body.set(Body { text, pieces });
        }
    }

    /// Where the text of a here-document that begins here ends, and where the line of its mark does.
    fn marked(&mut self, here: &HereDocument) -> Option<(usize, usize)> {
        if self.failed >= MAX_FAILED {
            return None;
        }
        let mut at = self.at;
        while at < self.end {
            let begin = at;
            let mut line = String::new();
            while at < self.end && self.text[at] != '\n' {
                // Joined with the next, which may be the mark then.
                let joined = !here.quoted && self.text[at] == '\\' && at + 1 < self.end;
                match joined {
                    true if self.text[at + 1] == '\n' => at += 2,
                    true => {
                        line.extend(&self.text[at..at + 2]);
                        at += 2;
                    }
                    false => {
                        line.push(self.text[at]);
                        at += 1;
                    }
                }
            }
            if !self.steps.pay(at + 1 - begin) {
                return None;
            }
            let text = match here.tabs {
                true => line.trim_start_matches('\t'),
                false => &line,
            };
            at = (at + 1).min(self.end);
            if text == here.mark {
                return Some((begin, at));
            }
        }
        None
    }

    /// Reads what is here up to `end` by `read`, as if the text ended there.
    pub fn within<T>(&mut self, end: usize, read: impl Fn(&mut Self) -> T) -> T {
        let end = std::mem::replace(&mut self.end, end);
        let here = std::mem::take(&mut self.here);
        let found = read(self);
        self.here = here;
        self.end = end;
        found
    }

    /// What stands in `((…))`, when this is the second of its brackets; `None` where the brackets
    /// are those of shells in shells. In quotes it is looked into too, because bash does so.
    pub fn sums(&mut self) -> Option<RawWord> {
        let mut open = 0;
        let mut at = self.at + 1;
        let mut quote = None;
        if self.failed >= MAX_FAILED {
            return None;
        }
        while at < self.end {
            if !self.steps.pay(1) {
                return None;
            }
            match (quote, self.text[at]) {
                (None | Some('"'), '\\') => at += 1,
                (Some(mark), c) if c == mark => quote = None,
                (Some(_), _) => {}
                (None, c @ ('\'' | '"')) => quote = Some(c),
                (None, '(') => open += 1,
                (None, ')') if open > 0 => open -= 1,
                (None, ')') if self.text[..self.end].get(at + 1) == Some(&')') => {
                    self.bump();
                    let found = self.within(at, ShellParser::document);
                    self.at = at + 2;
                    return Some(found);
                }
                (None, ')') => return None,
                _ => {}
            }
            at += 1;
        }
        self.failed += 1;
        None
    }
}
