//! Words: quotes, the simple expansions, and what is known of the words that come of them.

use super::lex::{LexedWord, is_meta, is_name};
use super::{EXOTIC, LineReader, NOT_READ, Unsure};
use crate::tools::command::Certainty;

impl LineReader<'_> {
    /// `<(…)` and `>(…)`.
    pub fn process(&mut self) -> Result<LexedWord, Unsure> {
        self.only_bash()?;
        self.lexer.at += 2;
        let mut part = LexedWord::default();
        self.commands()?;
        part.expands(true);
        part.wild = true;
        match self.lexer.look(0).is_none_or(is_meta) {
            true => Ok(part),
            false => Err(EXOTIC),
        }
    }

    /// Commands up to the closing bracket.
    fn commands(&mut self) -> Result<(), Unsure> {
        let comments = std::mem::replace(&mut self.lexer.comments, true);
        self.lexer.nested += 1;
        self.maybe(Self::list)?;
        self.operator(")")?;
        self.lexer.nested -= 1;
        self.lexer.comments = comments;
        Ok(())
    }

    pub fn word(&mut self) -> Result<LexedWord, Unsure> {
        let mut part = LexedWord::default();
        let (mut braces, mut glob) = (false, false);
        while let Some(c) = self.lexer.look(0).filter(|c| !is_meta(*c)) {
            self.lexer.at += 1;
            match c {
                '\\' => {
                    let next = self.lexer.look(0).filter(|c| matches!(c, ' '..='~'));
                    part.push(next.ok_or(EXOTIC)?);
                    part.bare = false;
                    self.lexer.at += 1;
                }
                '\'' => {
                    part.bare = false;
                    let text = self.lexer.run(|c| c != '\'');
                    if !self.lexer.take("'") {
                        return Err(NOT_READ);
                    }
                    if text.contains('\n') && !self.lexer.here.is_empty() {
                        return Err(EXOTIC);
                    }
                    text.chars().for_each(|c| part.push(c));
                }
                '"' => {
                    part.bare = false;
                    self.quoted(&mut part, Some('"'))?;
                }
                '$' => self.dollar(&mut part, false)?,
                '`' => self.backquoted(&mut part, false)?,
                '~' if part.text.is_empty() && part.bare => {
                    match self.lexer.look(0).is_none_or(|c| c == '/' || is_meta(c)) {
                        true => {
                            part.text.push_str(&self.home);
                            part.written.push_str(&self.home);
                            self.reading.uses_home = true;
                        }
                        false => {
                            part.push('~');
                            part.known = Certainty::Not;
                        }
                    }
                    part.bare = false;
                }
                '=' if part.bare && part.value.is_none() => {
                    let name = part.text.strip_suffix('+').unwrap_or(&part.text);
                    let assigns = is_name(name);
                    part.push('=');
                    part.value = assigns.then_some(part.text.len());
                }
                c => {
                    let after = part.text.ends_with(['=', ':']);
                    match c {
                        // After these some words begin again.
                        '~' if after => part.known = Certainty::Not,
                        '{' | '}' => braces = true,
                        '*' | '?' | '[' => glob = true,
                        _ => {}
                    }
                    part.push(c);
                }
            }
        }
        if glob && part.text != "[" {
            part.known = part.known.max(Certainty::Glob);
            part.many = true;
            part.wild = true;
        }
        if braces && part.reserved().is_none() {
            self.braces(&mut part)?;
        }
        Ok(part)
    }

    /// `{a,b}` and `{1..9}` become several words that nobody looks at here; `{}` stays.
    fn braces(&mut self, part: &mut LexedWord) -> Result<(), Unsure> {
        if !part.bare {
            return Err(EXOTIC);
        }
        if !part.text.replace("{}", "").contains(['{', '}']) {
            return Ok(());
        }
        let inner = part
            .text
            .strip_prefix('{')
            .and_then(|t| t.strip_suffix('}'));
        let ends = inner.and_then(|inner| inner.split_once(".."));
        let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        part.wild = true;
        if ends.is_some_and(|(low, high)| digits(low) && digits(high)) {
            part.wild = false;
            part.written = "0".into();
        }
        part.known = Certainty::Not;
        part.head = None;
        part.many = true;
        Ok(())
    }

    /// What stands between double quotes, or in a here-document (`end` is `None`).
    pub fn quoted(&mut self, part: &mut LexedWord, end: Option<char>) -> Result<(), Unsure> {
        loop {
            let c = match self.lexer.look(0) {
                None if end.is_none() => return Ok(()),
                None => return Err(NOT_READ),
                Some(c) => c,
            };
            self.lexer.at += 1;
            match c {
                c if Some(c) == end => return Ok(()),
                '\n' if !self.lexer.here.is_empty() => return Err(EXOTIC),
                '\\' => match self.lexer.look(0) {
                    Some('\n') | None => return Err(EXOTIC),
                    Some(c) if "$`\\".contains(c) || Some(c) == end => {
                        part.push(c);
                        self.lexer.at += 1;
                    }
                    Some(_) => part.push('\\'),
                },
                '$' => self.dollar(part, true)?,
                '`' => self.backquoted(part, true)?,
                c => part.push(c),
            }
        }
    }

    /// What follows a `$`.
    fn dollar(&mut self, part: &mut LexedWord, quoted: bool) -> Result<(), Unsure> {
        match self.lexer.look(0) {
            Some('(') if self.lexer.look(1) == Some('(') => self.arithmetic(part, quoted),
            Some('(') => {
                self.lexer.at += 1;
                self.commands()?;
                part.expands(quoted);
                part.wild = true;
                Ok(())
            }
            Some('{') => self.parameter(part, quoted),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let name = self.lexer.run(|c| c.is_ascii_alphanumeric() || c == '_');
                self.variable(part, &name, quoted);
                Ok(())
            }
            // Numbers.
            Some('?' | '#' | '$' | '!') => {
                self.lexer.at += 1;
                part.expands(quoted);
                part.written.push('0');
                Ok(())
            }
            Some('@' | '*' | '0'..='9') => {
                let several = self.lexer.take("@");
                self.lexer.at += usize::from(!several);
                part.expands(quoted && !several);
                part.wild = true;
                Ok(())
            }
            Some('"' | '\'') if quoted => {
                part.push('$');
                Ok(())
            }
            None => {
                part.push('$');
                Ok(())
            }
            Some(c) if " \t\n/.,;:|)%^=".contains(c) => {
                part.push('$');
                Ok(())
            }
            _ => Err(EXOTIC),
        }
    }

    fn variable(&mut self, part: &mut LexedWord, name: &str, quoted: bool) {
        part.variables.push(name.to_owned());
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        match name == "HOME" && (quoted || self.home.chars().all(plain)) {
            true => {
                part.text.push_str(&self.home);
                part.written.push_str(&self.home);
                part.bare = false;
                self.reading.uses_home = true;
            }
            false => part.expands(quoted),
        }
    }

    /// `${NAME}`, and a few of its forms without anything in them that expands.
    fn parameter(&mut self, part: &mut LexedWord, quoted: bool) -> Result<(), Unsure> {
        self.lexer.at += 1;
        let length = self.lexer.take("#");
        let name = self.lexer.run(|c| c.is_ascii_alphanumeric() || c == '_');
        let positional = !name.is_empty() && name.chars().all(|c| c.is_ascii_digit());
        if !positional && !is_name(&name) {
            return Err(EXOTIC);
        }
        if self.lexer.take("}") {
            match (length, positional) {
                (true, _) => {
                    part.expands(quoted);
                    part.written.push('0');
                }
                (false, true) => {
                    part.expands(quoted);
                    part.wild = true;
                }
                (false, false) => self.variable(part, &name, quoted),
            }
            return Ok(());
        }
        let forms = [":-", ":+", "-", "+", "%", "#", "/", "^^}", ",,}"];
        let form = forms
            .iter()
            .find(|form| self.lexer.take(form))
            .ok_or(EXOTIC)?;
        if !form.ends_with('}') {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_./*?:,=+@%#-".contains(c);
            self.lexer.run(|c| plain(c) || (quoted && c == ' '));
            if !self.lexer.take("}") {
                return Err(EXOTIC);
            }
        }
        if length {
            return Err(EXOTIC);
        }
        part.expands(quoted);
        part.wild = true;
        Ok(())
    }

    /// `$((…))` of numbers, variables and the five operations.
    fn arithmetic(&mut self, part: &mut LexedWord, quoted: bool) -> Result<(), Unsure> {
        self.lexer.at += 2;
        let mut open = 0;
        loop {
            let name = self.lexer.run(|c| c.is_ascii_alphanumeric() || c == '_');
            if is_name(&name) {
                self.values.need_variable(&name);
            } else if !name.chars().all(|c| c.is_ascii_digit()) {
                return Err(EXOTIC);
            }
            let twice = self.lexer.look(0) == self.lexer.look(1);
            match self.lexer.look(0).ok_or(NOT_READ)? {
                '+' | '-' if twice => return Err(EXOTIC),
                '(' => open += 1,
                ')' if open > 0 => open -= 1,
                ')' if twice => break,
                ' ' | '+' | '-' | '*' | '/' | '%' => {}
                '$' if self.lexer.look(1).is_some_and(|c| c.is_ascii_alphabetic()) => {}
                _ => return Err(EXOTIC),
            }
            self.lexer.at += 1;
        }
        self.lexer.at += 2;
        part.expands(quoted);
        part.written.push('0');
        Ok(())
    }

    /// Between backquotes: words, and what joins them.
    fn backquoted(&mut self, part: &mut LexedWord, quoted: bool) -> Result<(), Unsure> {
        let plain = |c: char| c.is_ascii_alphanumeric() || " _./-=:,+@%^|;&<>".contains(c);
        let text = self.lexer.run(plain);
        if !self.lexer.take("`") {
            return Err(EXOTIC);
        }
        self.maybe(|reader| reader.text(&text))?;
        part.expands(quoted);
        part.wild = true;
        Ok(())
    }
}
