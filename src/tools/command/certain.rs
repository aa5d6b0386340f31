//! The part of bash that is read with certainty: words, plain quotes, simple variables, pipes,
//! lists, blocks, loops, known redirects. A text of this part runs what [`read`] lists and nothing
//! else. Whatever is not in this part is an [`Unsure`], with no attempt to understand it.
//!
//! - `lex`: characters to tokens; `word`: quotes and expansions, and what is known of a word.
//! - `builtin`: the programs inside of bash that can run text or change what names mean.
//! - `value`: which variables may hold something that arithmetic or `[` would run.

mod builtin;
mod lex;
mod value;
mod word;

#[cfg(test)]
mod tests;

use super::steps::Steps;
use super::{Certainty, MAX_COMMANDS, MAX_SHELLS, Redirect, ShellCommand, ShellPlaces, ShellWord};
use lex::{LexToken, LexedWord, Lexer};
use value::Values;

/// Why a text is not read, in words.
pub(super) type Unsure = &'static str;

pub(super) const NOT_READ: Unsure = "it is not a command line that can be read";
pub(super) const EXOTIC: Unsure = "a part of it cannot be read with certainty before it runs";
const NAMELESS: Unsure = "it runs a program whose name is not known";
const VALUE: Unsure = "a variable in it may hold a command";
const DEEP: Unsure = "shells are nested too deeply in it";
pub(super) const LONG: Unsure = "it has too many parts";

/// Which shell runs the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shell {
    Bash,
    /// `sh` of any make: what only bash has is not read.
    Posix,
}

/// What a text runs.
#[derive(Debug, Default)]
pub(super) struct CertainReading {
    /// Every command, also those that run only under a condition.
    pub commands: Vec<ShellCommand>,
    /// Whether it may change what the names of programs mean, or what they are given: variables,
    /// functions, files that the shell reads.
    pub renames: bool,
    /// Whether it may change the home folder.
    pub moves_home: bool,
    /// Whether it has words that begin with the home folder.
    uses_home: bool,
}

/// Reads `text`, which [`super::unreadable`] let pass. `own` says whether the variables that it
/// begins with are the user's, and not another text's.
///
/// # Errors
/// What is not certain.
pub(super) fn read(
    text: &str,
    places: &ShellPlaces,
    shell: Shell,
    own: bool,
    steps: &mut Steps,
) -> Result<CertainReading, Unsure> {
    let mut reader = LineReader {
        lexer: Lexer::new(text, steps)?,
        home: places.home.to_string_lossy().into_owned(),
        shell,
        reading: CertainReading::default(),
        values: Values::new(own),
        depth: 0,
        steps,
    };
    reader.whole()?;
    let reading = reader.reading;
    match () {
        () if !reader.values.hold(reader.steps) => Err(VALUE),
        () if reading.moves_home && reading.uses_home => Err(EXOTIC),
        () => Ok(reading),
    }
}

/// Words that are no programs where a command begins.
const RESERVED: &[&str] = &[
    "!", "[[", "]]", "case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for",
    "function", "if", "in", "select", "then", "time", "until", "while", "{", "}",
];

struct LineReader<'s> {
    lexer: Lexer,
    home: String,
    shell: Shell,
    reading: CertainReading,
    values: Values,
    /// Texts around this one that run as commands.
    depth: usize,
    steps: &'s mut Steps,
}

impl LineReader<'_> {
    fn whole(&mut self) -> Result<(), Unsure> {
        self.list()?;
        match self.next()? {
            LexToken::End => Ok(()),
            _ => Err(NOT_READ),
        }
    }

    /// A text that runs in this shell, such as that of `eval`.
    fn text(&mut self, text: &str) -> Result<(), Unsure> {
        if self.depth >= MAX_SHELLS {
            return Err(DEEP);
        }
        if let Some(why) = super::unreadable(text) {
            return Err(why);
        }
        let outer = std::mem::replace(&mut self.lexer, Lexer::new(text, self.steps)?);
        self.depth += 1;
        let read = self.whole();
        self.depth -= 1;
        self.lexer = outer;
        read
    }

    fn push(&mut self, command: ShellCommand) -> Result<(), Unsure> {
        let words = command
            .words
            .iter()
            .map(|w| size_of::<ShellWord>() + w.text.len());
        let paid = self.steps.pay(words.sum());
        if self.reading.commands.len() >= MAX_COMMANDS || !paid {
            return Err(LONG);
        }
        self.reading.commands.push(command);
        Ok(())
    }

    fn only_bash(&self) -> Result<(), Unsure> {
        match self.shell {
            Shell::Bash => Ok(()),
            Shell::Posix => Err(EXOTIC),
        }
    }

    fn newlines(&mut self) -> Result<(), Unsure> {
        while self.peek()?.is("\n") {
            self.next()?;
        }
        Ok(())
    }

    /// Takes a reserved word.
    fn keyword(&mut self, word: &str) -> Result<(), Unsure> {
        match self.next()?.reserved() {
            Some(found) if found == word => Ok(()),
            _ => Err(NOT_READ),
        }
    }

    fn operator(&mut self, operator: &str) -> Result<(), Unsure> {
        match self.next()?.is(operator) {
            true => Ok(()),
            false => Err(NOT_READ),
        }
    }

    /// Commands up to something that cannot begin one.
    fn list(&mut self) -> Result<(), Unsure> {
        loop {
            self.newlines()?;
            let ends = match self.peek()? {
                LexToken::End => true,
                LexToken::Op(op) => *op == ")",
                token => matches!(
                    token.reserved(),
                    Some("do" | "done" | "elif" | "else" | "fi" | "then" | "}")
                ),
            };
            if ends {
                return Ok(());
            }
            let sure = self.values.sure();
            self.chain()?;
            match self.peek()? {
                LexToken::Op("&") => {
                    self.values.back(sure);
                    self.next()?
                }
                LexToken::Op(";" | "\n") => self.next()?,
                _ => return Ok(()),
            };
        }
    }

    /// Pipelines joined by `&&` and `||`.
    fn chain(&mut self) -> Result<(), Unsure> {
        self.pipeline()?;
        while let LexToken::Op("&&" | "||") = self.peek()? {
            self.next()?;
            self.newlines()?;
            self.maybe(Self::pipeline)?;
        }
        Ok(())
    }

    /// Reads what may not run, or runs in a shell of its own: no variable has its value from there.
    fn maybe(&mut self, read: impl FnOnce(&mut Self) -> Result<(), Unsure>) -> Result<(), Unsure> {
        let sure = self.values.sure();
        read(self)?;
        self.values.back(sure);
        Ok(())
    }

    fn pipeline(&mut self) -> Result<(), Unsure> {
        while let Some(word @ ("!" | "time")) = self.peek()?.reserved() {
            if word == "time" {
                self.only_bash()?;
                self.next()?;
                // `time -p`, and `time` alone, which times nothing.
                match self.peek()? {
                    LexToken::Word(word) if word.head.is_some_and(|c| c != '-') => {}
                    _ => return Err(EXOTIC),
                }
            } else {
                self.next()?;
            }
        }
        let sure = self.values.sure();
        self.command()?;
        while let LexToken::Op(op @ ("|" | "|&")) = *self.peek()? {
            if op == "|&" {
                self.only_bash()?;
            }
            self.values.back(sure);
            self.next()?;
            self.newlines()?;
            self.maybe(Self::command)?;
        }
        Ok(())
    }

    fn command(&mut self) -> Result<(), Unsure> {
        let token = self.peek()?;
        if token.is("(") {
            self.next()?;
            // `((` is arithmetic, or looks like it.
            if self.lexer.follows('(') {
                return Err(EXOTIC);
            }
            self.maybe(Self::list)?;
            self.operator(")")?;
            return self.redirects();
        }
        match token.reserved() {
            Some("{") => self.group()?,
            Some("if") => self.condition()?,
            Some("while" | "until") => {
                self.next()?;
                self.maybe(|reader| {
                    reader.list()?;
                    reader.body()
                })?;
            }
            Some("for") => self.each()?,
            Some("[[") => self.test()?,
            Some(_) => return Err(EXOTIC),
            None => return self.simple(),
        }
        self.redirects()
    }

    fn group(&mut self) -> Result<(), Unsure> {
        self.keyword("{")?;
        self.list()?;
        self.keyword("}")
    }

    fn body(&mut self) -> Result<(), Unsure> {
        self.keyword("do")?;
        self.list()?;
        self.keyword("done")
    }

    fn condition(&mut self) -> Result<(), Unsure> {
        self.keyword("if")?;
        self.list()?;
        loop {
            self.keyword("then")?;
            self.maybe(Self::list)?;
            match self.next()?.reserved() {
                Some("elif") => self.maybe(Self::list)?,
                Some("else") => {
                    self.maybe(Self::list)?;
                    return self.keyword("fi");
                }
                Some("fi") => return Ok(()),
                _ => return Err(NOT_READ),
            }
        }
    }

    /// `for NAME in WORDS; do …; done`.
    fn each(&mut self) -> Result<(), Unsure> {
        self.keyword("for")?;
        let LexToken::Word(name) = self.next()? else {
            return Err(EXOTIC);
        };
        let name = name.name().ok_or(EXOTIC)?.to_owned();
        self.keyword("in")?;
        loop {
            match self.next()? {
                LexToken::Word(word) => self.assign(&name, &word)?,
                LexToken::Op(";" | "\n") => break,
                _ => return Err(NOT_READ),
            }
        }
        // What the environment can hold under these names is nothing that a program heeds.
        let common = ["file", "dir", "name", "line"].contains(&name.as_str())
            || (name.len() == 1 && name.as_bytes()[0].is_ascii_lowercase());
        self.reading.renames |= !common;
        self.newlines()?;
        self.maybe(|reader| {
            reader.values.assigned(&name);
            reader.body()
        })
    }

    /// `[[ … ]]` of plain terms. Its numbers are arithmetic, which runs what a text hides.
    fn test(&mut self) -> Result<(), Unsure> {
        self.only_bash()?;
        self.keyword("[[")?;
        self.lexer.comments = false;
        loop {
            let mut first = self.test_word()?;
            while first.bare && first.text == "!" {
                first = self.test_word()?;
            }
            if first.bare && builtin::is_unary(&first.text) {
                self.test_word()?;
            } else if first.head == Some('-') && !first.is_number() {
                return Err(EXOTIC);
            } else if let LexToken::Word(word) = self.peek()?
                && word.reserved() != Some("]]")
            {
                let binary = self.test_word()?;
                if !binary.bare || !(builtin::is_binary(&binary.text) || binary.text == "=~") {
                    return Err(EXOTIC);
                }
                let second = self.test_word()?;
                if builtin::is_numeric(&binary.text) {
                    self.values.need_number(&first);
                    self.values.need_number(&second);
                }
            }
            match self.next()? {
                LexToken::Op("&&" | "||") => {}
                token if token.reserved() == Some("]]") => break,
                _ => return Err(EXOTIC),
            }
        }
        self.lexer.comments = true;
        Ok(())
    }

    fn test_word(&mut self) -> Result<LexedWord, Unsure> {
        match self.next()? {
            LexToken::Word(word) if word.reserved() != Some("]]") => Ok(word),
            _ => Err(EXOTIC),
        }
    }

    /// Redirects of a block.
    fn redirects(&mut self) -> Result<(), Unsure> {
        let mut command = ShellCommand::default();
        while let LexToken::Redirect(op) = *self.peek()? {
            self.next()?;
            self.redirect(op, &mut command)?;
        }
        match command.redirects.is_empty() {
            true => Ok(()),
            false => self.push(command),
        }
    }

    fn redirect(&mut self, op: &'static str, into: &mut ShellCommand) -> Result<(), Unsure> {
        if matches!(op, "&>" | "&>>" | "<<<") {
            self.only_bash()?;
        }
        // The mark was read with the operator.
        if op == "<<" {
            return Ok(());
        }
        let LexToken::Word(word) = self.next()? else {
            return Err(NOT_READ);
        };
        match op {
            "<<<" => return Ok(()),
            ">&" | "<&" => {
                // `>&-1` is `>&-` and a word, `>& -1` a file.
                let number = word.text.chars().all(|c| c.is_ascii_digit());
                let plain = word.bare && (word.text == "-" || number);
                return plain.then_some(()).ok_or(EXOTIC);
            }
            _ => {}
        }
        into.redirects.push(Redirect {
            writes: op != "<",
            target: word.word(),
        });
        Ok(())
    }

    fn simple(&mut self) -> Result<(), Unsure> {
        let mut command = ShellCommand::default();
        let mut parts: Vec<LexedWord> = Vec::new();
        loop {
            match self.peek()? {
                LexToken::Word(_) => {}
                LexToken::Redirect(op) => {
                    let op = *op;
                    self.next()?;
                    self.redirect(op, &mut command)?;
                    continue;
                }
                LexToken::Op("(") => return self.function(&command, &parts),
                _ => break,
            }
            let LexToken::Word(part) = self.next()? else {
                return Err(NOT_READ);
            };
            match part.assigned().filter(|_| parts.is_empty()) {
                Some((name, value)) => {
                    command.assigns.push((name.to_owned(), value.word()));
                    let (name, value) = (name.to_owned(), value);
                    // `IFS=, read a b` splits what is read, and ends with it.
                    if name != "IFS" {
                        self.assign(&name, &value)?;
                    }
                }
                None => parts.push(part),
            }
        }
        self.reading.renames |= !command.assigns.is_empty();
        let splits = command.assigns.iter().any(|(name, _)| name == "IFS");
        if splits && parts.first().is_none_or(|part| part.text != "read") {
            return Err(EXOTIC);
        }
        let empty = parts.is_empty() && command.assigns.is_empty() && command.redirects.is_empty();
        if empty {
            return Err(NOT_READ);
        }
        command.words = parts.iter().map(LexedWord::word).collect();
        if parts.is_empty() {
            let names = command.assigns.iter().map(|(name, _)| name);
            names.for_each(|name| self.values.assigned(name));
        }
        self.push(command)?;
        self.program(&parts)
    }

    /// `NAME() { …; }`.
    fn function(&mut self, command: &ShellCommand, parts: &[LexedWord]) -> Result<(), Unsure> {
        let ([name], true) = (parts, *command == ShellCommand::default()) else {
            return Err(EXOTIC);
        };
        name.name().ok_or(EXOTIC)?;
        self.operator("(")?;
        self.operator(")")?;
        self.newlines()?;
        self.reading.renames = true;
        let block = self.peek()?;
        match block.is("(") || block.reserved() == Some("{") {
            true => self.maybe(Self::command),
            false => Err(EXOTIC),
        }
    }

    /// A variable gets a value, in whatever way.
    fn assign(&mut self, name: &str, value: &LexedWord) -> Result<(), Unsure> {
        if value::is_bashs(name) {
            return Err(EXOTIC);
        }
        self.reading.moves_home |= name == "HOME";
        self.values.assign(name, value);
        Ok(())
    }
}

impl LexedWord {
    fn word(&self) -> ShellWord {
        ShellWord {
            text: self.text.clone(),
            known: self.known,
        }
    }
}
