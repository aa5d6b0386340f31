//! From the grammar's tree to the commands that would run, in order, following `cd`, variables and
//! functions as far as a careful reader would.

use std::collections::HashMap;
use std::path::PathBuf;

use brush_parser::ast::{
    self, AndOr, AssignmentValue, CommandPrefixOrSuffixItem, CompoundCommand, CompoundList,
    ExtendedTestExpr, IoFileRedirectKind, IoFileRedirectTarget, IoRedirect, SeparatorOperator,
};
use brush_parser::{Parser, ParserOptions, SourceInfo};

use super::certain::{self, NOT_READ, Shell};
use super::word::{self, Names};
use super::{
    Command, Known, MAX_COMMANDS, MAX_SHELLS, MAX_TEXT, Places, Redirect, Script, Word, absolute,
};
use super::{unreadable, unwrap};

/// Most values of a loop that are followed one by one.
const MAX_VALUES: usize = 64;

/// Reads `text`, which [`super::unreadable`] let pass.
pub(super) fn read(text: &str, places: &Places) -> Script {
    let mut walk = Walk::new(places);
    walk.text(text);
    walk.script
}

/// The state of the shell while it is read.
pub(super) struct Walk<'a> {
    pub places: &'a Places,
    pub names: Names,
    pub script: Script,
    /// The current folder, where it is known.
    pub folder: Option<PathBuf>,
    /// What the command before in the pipe writes, where that can be told.
    pub piped: Option<String>,
    /// Shells, substitutions and function calls around this.
    pub depth: usize,
    /// How much more text may come of the line, in bytes: variables can double it with every step.
    pub room: usize,
    functions: HashMap<String, CompoundCommand>,
    /// Functions whose bodies are being read, for those that call themselves.
    defining: Vec<String>,
    /// Whether what is read runs beside something else: in a pipe or in the background.
    beside: usize,
    /// Commands sent to the background so far.
    background: usize,
}

impl<'a> Walk<'a> {
    fn new(places: &'a Places) -> Walk<'a> {
        Walk {
            places,
            names: Names::default(),
            script: Script::default(),
            folder: Some(places.project.clone()),
            piped: None,
            depth: 0,
            room: MAX_TEXT,
            functions: HashMap::new(),
            defining: Vec::new(),
            beside: 0,
            background: 0,
        }
    }

    pub fn not_known(&mut self, why: &str) {
        self.script.unknown.get_or_insert_with(|| why.to_owned());
    }

    pub fn home(&self) -> String {
        self.places.home.to_string_lossy().into_owned()
    }

    pub fn folder_text(&self) -> String {
        let folder = self.folder.as_ref();
        folder.map_or_else(String::new, |f| f.to_string_lossy().into_owned())
    }

    /// A whole text in this shell.
    pub fn text(&mut self, text: &str) {
        if self.depth >= MAX_SHELLS {
            return self.not_known("shells are nested too deeply in it");
        }
        if self.is_endless(text) {
            return self.not_known(NOT_READ);
        }
        let (options, info) = (ParserOptions::default(), SourceInfo::default());
        match Parser::new(text.as_bytes(), &options, &info).parse_program() {
            Ok(program) => program.complete_commands.iter().for_each(|l| self.list(l)),
            Err(_) => self.not_known(NOT_READ),
        }
    }

    /// Whether the grammar could read on for ever: it does in a here-document without a mark that
    /// stands in a substitution. What is read with certainty holds none.
    fn is_endless(&self, text: &str) -> bool {
        let opens = ["$(", "${"].iter().filter_map(|open| text.find(open)).min();
        opens.is_some_and(|at| text[at..].contains("<<"))
            && certain::read(text, self.places, Shell::Bash, true).is_err()
    }

    /// A text in a shell of its own: `sh -c`. It must be read with certainty too.
    pub fn another(&mut self, text: &str, positional: Vec<String>, shell: Shell) {
        self.script.shells = true;
        self.shell(text, positional);
        if unreadable(text).is_none() {
            match certain::read(text, self.places, shell, false) {
                Ok(reading) => {
                    self.script.renames |= reading.renames;
                    self.script.add(reading.commands);
                }
                Err(why) => self.not_known(why),
            }
        }
    }

    /// A text in a copy of this shell. What it defines ends with it.
    fn shell(&mut self, text: &str, positional: Vec<String>) {
        let names = self.names.clone();
        let folder = self.folder.clone();
        self.names.positional = positional;
        self.nested(text);
        self.names = names;
        self.folder = folder;
    }

    /// A text in this shell, one level down: `eval`.
    pub fn nested(&mut self, text: &str) {
        self.depth += 1;
        // The bounds that the outermost text was held to.
        match unreadable(text) {
            Some(why) => self.not_known(why),
            None => self.text(text),
        }
        self.depth -= 1;
    }

    /// The commands inside of `raw`, which is not itself a command: arithmetic, a pattern.
    pub fn inside(&mut self, raw: &str) {
        if raw.contains(['$', '`']) {
            word::single(self, raw);
        }
    }

    /// A command substitution: walked in a copy of this shell. What it most likely says.
    pub fn substituted(&mut self, text: &str) -> String {
        let before = self.script.commands.len();
        let piped = self.piped.take();
        let positional = self.names.positional.clone();
        self.shell(text, positional);
        self.piped = piped;
        let said: Vec<String> = self.script.commands[before..]
            .iter()
            .filter_map(unwrap::says)
            .collect();
        said.join(" ")
    }

    pub fn push(&mut self, command: Command) {
        if self.script.commands.len() >= MAX_COMMANDS {
            return self.not_known("it has too many parts");
        }
        self.script.commands.push(command);
    }

    fn full(&self) -> bool {
        self.script.commands.len() >= MAX_COMMANDS
    }

    fn list(&mut self, list: &CompoundList) {
        for ast::CompoundListItem(chain, end) in &list.0 {
            if self.full() {
                return self.not_known("it has too many parts");
            }
            let apart = matches!(end, SeparatorOperator::Async);
            self.background += usize::from(apart);
            self.beside += usize::from(apart);
            self.pipeline(&chain.first);
            for next in &chain.additional {
                let (AndOr::And(pipeline) | AndOr::Or(pipeline)) = next;
                self.pipeline(pipeline);
            }
            self.beside -= usize::from(apart);
        }
    }

    fn pipeline(&mut self, pipeline: &ast::Pipeline) {
        let several = pipeline.seq.len() > 1;
        self.beside += usize::from(several);
        let folder = self.folder.clone();
        for command in &pipeline.seq {
            let before = self.script.commands.len();
            self.command(command);
            let said = self.script.commands[before..].iter().find_map(unwrap::says);
            self.piped = said.filter(|_| several);
        }
        self.piped = None;
        if several {
            self.folder = folder;
        }
        self.beside -= usize::from(several);
    }

    fn command(&mut self, command: &ast::Command) {
        match command {
            ast::Command::Simple(simple) => self.simple(simple),
            ast::Command::Compound(compound, redirects) => {
                self.compound(compound);
                self.alone(redirects.as_ref());
            }
            ast::Command::Function(function) => {
                let name = word::single(self, &function.fname.value).text;
                self.defining.push(name.clone());
                let beside = std::mem::take(&mut self.beside);
                let names = self.names.clone();
                let folder = self.folder.clone();
                self.compound(&function.body.0);
                self.alone(function.body.1.as_ref());
                self.folder = folder;
                self.names = names;
                self.beside = beside;
                self.defining.pop();
                self.functions.insert(name, function.body.0.clone());
            }
            ast::Command::ExtendedTest(test) => self.test(&test.expr),
        }
    }

    fn compound(&mut self, compound: &CompoundCommand) {
        match compound {
            CompoundCommand::Arithmetic(command) => self.inside(&command.expr.value),
            CompoundCommand::ArithmeticForClause(clause) => {
                let parts = [&clause.initializer, &clause.condition, &clause.updater];
                let endless = clause
                    .condition
                    .as_ref()
                    .is_none_or(|c| c.value.trim() == "1");
                parts
                    .into_iter()
                    .flatten()
                    .for_each(|e| self.inside(&e.value));
                self.body(&clause.body.list, endless);
            }
            CompoundCommand::BraceGroup(group) => self.list(&group.list),
            CompoundCommand::Subshell(shell) => {
                let (names, folder) = (self.names.clone(), self.folder.clone());
                self.list(&shell.list);
                (self.names, self.folder) = (names, folder);
            }
            CompoundCommand::ForClause(clause) => {
                let mut values: Vec<Word> = Vec::new();
                for raw in clause.values.iter().flatten() {
                    values.extend(word::expand(self, &raw.value));
                }
                if clause.values.is_none() {
                    values.extend(self.names.positional.iter().map(Word::guess));
                }
                if values.is_empty() {
                    values.push(Word::guess(""));
                }
                for value in values.into_iter().take(MAX_VALUES) {
                    let name = clause.variable_name.clone();
                    self.names.values.insert(name, value.text);
                    self.list(&clause.body.list);
                }
            }
            CompoundCommand::CaseClause(clause) => {
                self.inside(&clause.value.value);
                for case in &clause.cases {
                    case.patterns.iter().for_each(|p| self.inside(&p.value));
                    case.cmd.iter().for_each(|list| self.list(list));
                }
            }
            CompoundCommand::IfClause(clause) => {
                self.list(&clause.condition);
                self.list(&clause.then);
                for other in clause.elses.iter().flatten() {
                    other.condition.iter().for_each(|list| self.list(list));
                    self.list(&other.body);
                }
            }
            CompoundCommand::WhileClause(clause) => self.looped(clause, &["true", ":"]),
            CompoundCommand::UntilClause(clause) => self.looped(clause, &["false"]),
        }
    }

    fn looped(&mut self, clause: &ast::WhileOrUntilClauseCommand, endless: &[&str]) {
        let before = self.script.commands.len();
        self.list(&clause.0);
        let condition = &self.script.commands[before..];
        let endless = condition
            .last()
            .is_none_or(|c| endless.contains(&c.program()));
        self.body(&clause.1.list, endless);
    }

    fn body(&mut self, list: &CompoundList, endless: bool) {
        let background = self.background;
        let before = self.script.commands.len();
        self.list(list);
        let waits = |c: &Command| matches!(c.program(), "wait" | "break" | "exit" | "sleep");
        if endless
            && self.background > background
            && !self.script.commands[before..].iter().any(waits)
        {
            self.script.bomb = true;
        }
    }

    fn test(&mut self, expr: &ExtendedTestExpr) {
        match expr {
            ExtendedTestExpr::And(a, b) | ExtendedTestExpr::Or(a, b) => {
                self.test(a);
                self.test(b);
            }
            ExtendedTestExpr::Not(a) | ExtendedTestExpr::Parenthesized(a) => self.test(a),
            ExtendedTestExpr::UnaryTest(_, word) => self.inside(&word.value),
            ExtendedTestExpr::BinaryTest(_, a, b) => {
                self.inside(&a.value);
                self.inside(&b.value);
            }
        }
    }

    /// Redirects of a block: judged as a command without words.
    fn alone(&mut self, redirects: Option<&ast::RedirectList>) {
        let Some(redirects) = redirects else { return };
        let mut command = Command {
            folder: self.folder.clone(),
            ..Command::default()
        };
        for redirect in &redirects.0 {
            self.redirect(redirect, &mut command);
        }
        if !command.redirects.is_empty() {
            self.push(command);
        }
    }

    fn simple(&mut self, simple: &ast::SimpleCommand) {
        let mut command = Command {
            folder: self.folder.clone(),
            ..Command::default()
        };
        let mut stdin = None;
        let prefix = simple.prefix.iter().flat_map(|p| &p.0);
        for item in prefix {
            stdin = self.item(item, &mut command).or(stdin);
        }
        if let Some(word) = &simple.word_or_name {
            let words = word::expand(self, &word.value);
            command.words.extend(words);
        }
        for item in simple.suffix.iter().flat_map(|s| &s.0) {
            stdin = self.item(item, &mut command).or(stdin);
        }
        if command.words.is_empty() {
            for (name, value) in &command.assigns {
                let value = value.text.clone();
                self.names.values.insert(name.clone(), value);
            }
        }
        if let Some(here) = stdin {
            self.piped = Some(here);
        }
        self.run(command);
    }

    /// One command with its words: listed, then looked into.
    pub fn run(&mut self, command: Command) {
        let program = command.program().to_owned();
        if self.beside > 0 && self.defining.contains(&program) {
            self.script.bomb = true;
        }
        self.push(command.clone());
        if let Some(body) = self.functions.get(&program).cloned()
            && self.depth < MAX_SHELLS
            && !self.full()
        {
            let texts = command.rest().iter().map(|w| w.text.clone()).collect();
            let positional = std::mem::replace(&mut self.names.positional, texts);
            self.depth += 1;
            // A function inside of itself: once is enough to see what it does.
            self.functions.remove(&program);
            self.compound(&body);
            self.functions.insert(program, body);
            self.depth -= 1;
            self.names.positional = positional;
            return;
        }
        if self.depth >= MAX_SHELLS {
            return self.not_known("commands are wrapped too deeply in it");
        }
        self.depth += 1;
        unwrap::look(self, &command);
        self.depth -= 1;
    }

    /// `cd`: where what follows runs.
    pub fn enter(&mut self, target: Option<&Word>) {
        self.folder = match target {
            None => Some(self.places.home.clone()),
            Some(word) if word.text == "-" => None,
            Some(word) if word.known == Known::Glob => None,
            Some(word) => absolute(self.folder.as_deref(), &word.text),
        };
    }

    /// Adds a word, an assignment or a redirect. A here-document's text comes back.
    fn item(&mut self, item: &CommandPrefixOrSuffixItem, into: &mut Command) -> Option<String> {
        match item {
            CommandPrefixOrSuffixItem::IoRedirect(redirect) => {
                return self.redirect(redirect, into);
            }
            CommandPrefixOrSuffixItem::Word(word) => {
                into.words.extend(word::expand(self, &word.value));
            }
            CommandPrefixOrSuffixItem::AssignmentWord(assignment, raw) => {
                // Behind a program it is a word like others: `env X=1`, `export X=1`.
                if !into.words.is_empty() {
                    into.words.push(word::single(self, &raw.value));
                }
                let name = match &assignment.name {
                    ast::AssignmentName::VariableName(name) => name.clone(),
                    ast::AssignmentName::ArrayElementName(name, index) => {
                        self.inside(index);
                        name.clone()
                    }
                };
                let value = match &assignment.value {
                    AssignmentValue::Scalar(value) => word::single(self, &value.value),
                    AssignmentValue::Array(values) => {
                        let mut texts = Vec::new();
                        for (_, value) in values {
                            let words = word::expand(self, &value.value);
                            texts.extend(words.into_iter().map(|w| w.text));
                        }
                        Word::guess(texts.join(" "))
                    }
                };
                if into.words.is_empty() {
                    into.assigns.push((name, value));
                } else {
                    self.names.values.insert(name, value.text);
                }
            }
            CommandPrefixOrSuffixItem::ProcessSubstitution(_, shell) => {
                let (names, folder) = (self.names.clone(), self.folder.clone());
                self.list(&shell.list);
                (self.names, self.folder) = (names, folder);
                into.words.push(Word::guess("/dev/fd/63"));
            }
        }
        None
    }

    fn redirect(&mut self, redirect: &IoRedirect, into: &mut Command) -> Option<String> {
        let (writes, target) = match redirect {
            IoRedirect::File(_, kind, IoFileRedirectTarget::Filename(word)) => {
                let reads = matches!(kind, IoFileRedirectKind::Read);
                (!reads, word::single(self, &word.value))
            }
            IoRedirect::File(_, kind, IoFileRedirectTarget::Duplicate(word)) => {
                let word = word::single(self, &word.value);
                let number = |c: char| c.is_ascii_digit() || c == '-';
                if word.known == Known::Fixed && word.text.chars().all(number) {
                    return None;
                }
                (!matches!(kind, IoFileRedirectKind::DuplicateInput), word)
            }
            IoRedirect::File(_, _, IoFileRedirectTarget::ProcessSubstitution(_, shell)) => {
                self.list(&shell.list);
                return None;
            }
            IoRedirect::File(_, _, IoFileRedirectTarget::Fd(_)) => return None,
            IoRedirect::OutputAndError(word, _) => (true, word::single(self, &word.value)),
            IoRedirect::HereString(_, word) => {
                return Some(word::single(self, &word.value).text);
            }
            IoRedirect::HereDocument(_, here) => {
                if here.requires_expansion {
                    self.document(&here.doc.value);
                }
                return Some(here.doc.value.clone());
            }
        };
        into.redirects.push(Redirect { writes, target });
        None
    }

    /// A here-document's text is like one in double quotes.
    fn document(&mut self, text: &str) {
        if !text.contains(['$', '`']) {
            return;
        }
        let quoted = format!("\"{}\"", text.replace('"', "\\\""));
        word::single(self, &quoted);
    }
}
