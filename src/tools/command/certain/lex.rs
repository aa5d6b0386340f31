//! Characters to tokens, with the texts of here-documents. Every character that is not known to mean
//! to bash what it means here is refused.

use super::{EXOTIC, LONG, LineReader, NOT_READ, RESERVED, Unsure};
use crate::tools::command::Certainty;
use crate::tools::command::steps::Steps;

/// A token.
#[derive(Clone, Debug)]
pub(super) enum LexToken {
    End,
    Word(LexedWord),
    /// `;`, `&`, `&&`, `|`, `|&`, `||`, `(`, `)` and the line feed.
    Op(&'static str),
    /// A redirect without its target; of a here-document (`<<`) the mark was read.
    Redirect(&'static str),
}

impl LexToken {
    pub fn is(&self, operator: &str) -> bool {
        matches!(self, LexToken::Op(op) if *op == operator)
    }

    /// The reserved word it is where a command begins.
    pub fn reserved(&self) -> Option<&'static str> {
        match self {
            LexToken::Word(part) => part.reserved(),
            _ => None,
        }
    }
}

/// A word.
#[derive(Clone, Debug)]
pub(super) struct LexedWord {
    /// What is known of it, quotes removed.
    pub text: String,
    pub known: Certainty,
    /// Its first character, where that is written and not expanded.
    pub head: Option<char>,
    /// Nothing in it is quoted or expanded.
    pub bare: bool,
    /// The word may become several words, or none.
    pub many: bool,
    /// What is written in it; for what expands to digits a digit.
    pub written: String,
    /// The variables in it.
    pub variables: Vec<String>,
    /// The word holds the output of a command, or a variable that is changed.
    pub wild: bool,
    /// Where the value begins, when it is `NAME=value` or `NAME+=value`.
    pub value: Option<usize>,
}

impl Default for LexedWord {
    fn default() -> LexedWord {
        LexedWord {
            text: String::new(),
            known: Certainty::Fixed,
            head: None,
            bare: true,
            many: false,
            written: String::new(),
            variables: Vec::new(),
            wild: false,
            value: None,
        }
    }
}

impl LexedWord {
    /// What nothing is known of.
    pub fn anything() -> LexedWord {
        LexedWord {
            known: Certainty::Not,
            wild: true,
            ..LexedWord::default()
        }
    }

    pub fn reserved(&self) -> Option<&'static str> {
        let word = RESERVED.iter().find(|word| **word == self.text);
        word.copied().filter(|_| self.bare)
    }

    /// The name of a variable or a function that it is.
    pub fn name(&self) -> Option<&str> {
        (self.bare && is_name(&self.text)).then_some(&self.text)
    }

    /// The parts of `NAME=value`.
    pub fn assigned(&self) -> Option<(&str, LexedWord)> {
        let at = self.value?;
        let (name, adds) = match self.text[..at - 1].strip_suffix('+') {
            Some(name) => (name, true),
            None => (&self.text[..at - 1], false),
        };
        let value = LexedWord {
            text: self.text[at..].to_owned(),
            written: self.written[at..].to_owned(),
            wild: self.wild || adds,
            known: if adds { Certainty::Not } else { self.known },
            ..self.clone()
        };
        Some((name, value))
    }

    /// A character as it stands.
    pub fn push(&mut self, c: char) {
        if self.text.is_empty() && self.written.is_empty() && self.known == Certainty::Fixed {
            self.head = Some(c);
        }
        self.text.push(c);
        self.written.push(c);
    }

    pub fn expands(&mut self, quoted: bool) {
        self.known = Certainty::Not;
        self.bare = false;
        self.many |= !quoted;
    }
}

pub(super) fn is_name(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.chars().all(good) && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// What ends a word.
pub(super) fn is_meta(c: char) -> bool {
    " \t\n;&|()<>".contains(c)
}

/// A here-document whose text is still to come.
#[derive(Debug)]
pub(super) struct QuotedDocument {
    mark: String,
    tabs: bool,
    quoted: bool,
}

/// A text and where it was read to.
pub(super) struct Lexer {
    text: Vec<char>,
    pub at: usize,
    peeked: Option<LexToken>,
    pub here: Vec<QuotedDocument>,
    /// Command substitutions around this.
    pub nested: usize,
    /// Whether `#` begins a comment here and nothing but a comment.
    pub comments: bool,
}

impl Lexer {
    /// Each character of `text` is read once, and paid for here.
    pub fn new(text: &str, steps: &mut Steps) -> Result<Lexer, Unsure> {
        if !steps.pay(text.len()) {
            return Err(LONG);
        }
        let text: Vec<char> = text.chars().collect();
        let odd = |c: &char| c.is_control() && !matches!(c, '\n' | '\t');
        // In some character sets these can be the second byte of a character.
        let joined = |two: &[char]| !two[0].is_ascii() && "\\`|{}[]^~".contains(two[1]);
        if text.iter().any(odd) || text.windows(2).any(joined) {
            return Err(EXOTIC);
        }
        Ok(Lexer {
            text,
            at: 0,
            peeked: None,
            here: Vec::new(),
            nested: 0,
            comments: true,
        })
    }

    pub fn look(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    /// Whether `c` comes next, nothing between.
    pub fn follows(&self, c: char) -> bool {
        self.peeked.is_none() && self.look(0) == Some(c)
    }

    pub fn take(&mut self, text: &str) -> bool {
        let found = text
            .chars()
            .enumerate()
            .all(|(n, c)| self.look(n) == Some(c));
        self.at += if found { text.len() } else { 0 };
        found
    }

    /// Takes characters while `good` holds.
    pub fn run(&mut self, good: impl Fn(char) -> bool) -> String {
        let run: String = self.text[self.at..]
            .iter()
            .take_while(|c| good(**c))
            .collect();
        self.at += run.chars().count();
        run
    }

    /// White space, continued lines and comments.
    fn skip(&mut self) -> Result<(), Unsure> {
        loop {
            match self.look(0) {
                Some(' ' | '\t') => self.at += 1,
                Some('\\') if self.look(1) == Some('\n') => {
                    let blank = self.at > 0 && matches!(self.text[self.at - 1], ' ' | '\t');
                    if !blank || self.look(2) == Some('#') || !self.here.is_empty() {
                        return Err(EXOTIC);
                    }
                    self.at += 2;
                    // As if it had stood behind the blank.
                    if self.look(0) == Some('\\') && self.look(1) == Some('\n') {
                        return Err(EXOTIC);
                    }
                }
                Some('#') if !self.comments || self.nested > 0 => return Err(EXOTIC),
                Some('#') => {
                    self.run(|c| c != '\n');
                }
                _ => return Ok(()),
            }
        }
    }
}

impl LineReader<'_> {
    pub fn peek(&mut self) -> Result<&LexToken, Unsure> {
        let token = match self.lexer.peeked.take() {
            Some(token) => token,
            None => self.token()?,
        };
        Ok(self.lexer.peeked.insert(token))
    }

    pub fn next(&mut self) -> Result<LexToken, Unsure> {
        match self.lexer.peeked.take() {
            Some(token) => Ok(token),
            None => self.token(),
        }
    }

    fn token(&mut self) -> Result<LexToken, Unsure> {
        if !self.steps.pay(size_of::<LexToken>()) {
            return Err(LONG);
        }
        self.lexer.skip()?;
        let Some(c) = self.lexer.look(0) else {
            return match self.lexer.here.is_empty() {
                true => Ok(LexToken::End),
                false => Err(NOT_READ),
            };
        };
        match c {
            '\n' => {
                self.lexer.at += 1;
                self.documents()?;
                return Ok(LexToken::Op("\n"));
            }
            '<' | '>' if self.lexer.look(1) == Some('(') => {
                return self.process().map(LexToken::Word);
            }
            '<' | '>' => return self.redirection(),
            '&' if self.lexer.look(1) == Some('>') => return self.redirection(),
            _ => {}
        }
        for op in ["&&", "||", "|&", "&", "|", "(", ")"] {
            if self.lexer.take(op) {
                return Ok(LexToken::Op(op));
            }
        }
        if c == ';' {
            self.lexer.at += 1;
            return match self.lexer.look(0) {
                // Of `case`.
                Some(';' | '&') => Err(NOT_READ),
                _ => Ok(LexToken::Op(";")),
            };
        }
        let word = self.word()?;
        match self.lexer.look(0) {
            Some('<' | '>') if word.bare && word.text.chars().all(|c| c.is_ascii_digit()) => {
                match word.text.len() {
                    1 => self.redirection(),
                    _ => Err(EXOTIC),
                }
            }
            // `{fd}>` opens a file too, and `a<(b)` is one word.
            Some('<' | '>') if word.text.ends_with('}') || self.lexer.look(1) == Some('(') => {
                Err(EXOTIC)
            }
            _ => Ok(LexToken::Word(word)),
        }
    }

    fn redirection(&mut self) -> Result<LexToken, Unsure> {
        for op in [
            "<<<", "<<", "<>", "<&", "&>>", "&>", ">>", ">&", ">|", "<", ">",
        ] {
            if !self.lexer.take(op) {
                continue;
            }
            match op {
                "<>" => return Err(EXOTIC),
                "<<" => self.mark()?,
                // `> >(…)` is fine with a blank between.
                _ if matches!(self.lexer.look(0), Some('<' | '>' | '&' | '|')) => {
                    return Err(EXOTIC);
                }
                _ => {}
            }
            return Ok(LexToken::Redirect(op));
        }
        Err(NOT_READ)
    }

    /// The mark of a here-document: a plain word, all of it quoted or nothing.
    fn mark(&mut self) -> Result<(), Unsure> {
        if self.lexer.nested > 0 {
            return Err(EXOTIC);
        }
        let tabs = self.lexer.take("-");
        self.lexer.run(|c| c == ' ' || c == '\t');
        let quote = self.lexer.look(0).filter(|c| matches!(c, '\'' | '"'));
        self.lexer.at += usize::from(quote.is_some());
        let mark = self.lexer.run(|c| c.is_ascii_alphanumeric() || c == '_');
        let closed = quote.is_none_or(|q| self.lexer.take(&q.to_string()));
        if mark.is_empty() || !closed || !self.lexer.look(0).is_none_or(is_meta) {
            return Err(EXOTIC);
        }
        let quoted = quote.is_some();
        self.lexer.here.push(QuotedDocument { mark, tabs, quoted });
        Ok(())
    }

    /// The texts of the here-documents that the line before named.
    fn documents(&mut self) -> Result<(), Unsure> {
        for here in std::mem::take(&mut self.lexer.here) {
            if self.lexer.nested > 0 {
                return Err(EXOTIC);
            }
            let mut body = String::new();
            loop {
                if self.lexer.look(0).is_none() {
                    return Err(NOT_READ);
                }
                if here.tabs {
                    self.lexer.run(|c| c == '\t');
                }
                let line = self.lexer.run(|c| c != '\n');
                self.lexer.at += 1;
                if line == here.mark {
                    break;
                }
                // Joined with the next, which may be the mark then.
                if !here.quoted && line.ends_with('\\') {
                    return Err(EXOTIC);
                }
                body.push_str(&line);
                body.push('\n');
            }
            if !here.quoted {
                let outer = std::mem::replace(&mut self.lexer, Lexer::new(&body, self.steps)?);
                self.quoted(&mut LexedWord::default(), None)?;
                self.lexer = outer;
            }
        }
        // Behind the last mark the text may end without a line feed.
        self.lexer.at = self.lexer.at.min(self.lexer.text.len());
        Ok(())
    }
}
