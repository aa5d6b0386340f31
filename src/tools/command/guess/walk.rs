//! From the shapes of a text to the commands that would run, in order, following `cd`, variables and
//! functions as far as a careful reader would.

mod simple;

use std::collections::HashSet;
use std::path::PathBuf;
use std::rc::Rc;

use super::parse;
use super::state::ShellState;
use super::tree::{CommandNode, NodeKind, Pipeline, Pipelines, RawWord, Redirection};
use super::unwrap;
use super::word;
use crate::tools::command::certain::{self, CertainReading, LONG, NOT_READ, Shell};
use crate::tools::command::{
    Certainty, MAX_COMMANDS, MAX_SHELLS, ShellCommand, ShellWord, absolute, unfit, unreadable,
};

/// Most numbers of a loop that are followed one by one.
const MAX_NUMBERS: usize = 64;

/// What a shell that ends gives back to the one around it.
struct Outer {
    names: usize,
    positional: Rc<[String]>,
    folder: Option<PathBuf>,
}

impl ShellState<'_> {
    pub(super) fn not_known(&mut self, why: &str) {
        self.script.unknown.get_or_insert_with(|| why.to_owned());
    }

    pub(super) fn home(&self) -> String {
        self.places.home.to_string_lossy().into_owned()
    }

    pub(super) fn folder_text(&self) -> String {
        let folder = self.folder.as_ref();
        folder.map_or_else(String::new, |f| f.to_string_lossy().into_owned())
    }

    /// A whole text in this shell.
    pub fn text(&mut self, text: &str) {
        if self.depth >= MAX_SHELLS {
            return self.not_known("shells are nested too deeply in it");
        }
        let parsed = parse::commands(text, &mut self.steps);
        if !parsed.whole {
            self.not_known(NOT_READ);
        }
        self.list(&parsed.list);
    }

    /// Adds what was read with certainty, where no guess says the same. Programs that run others are
    /// looked into here too.
    pub fn certain(&mut self, reading: CertainReading) {
        self.script.renames |= reading.renames;
        let price: usize = self.script.commands.iter().map(size).sum();
        if !self.steps.pay(price) {
            return;
        }
        let guessed: HashSet<CertainPart> = self.script.commands.iter().map(key).collect();
        let new = |command: &ShellCommand| !guessed.contains(&key(command));
        let commands: Vec<ShellCommand> = reading.commands.into_iter().filter(new).collect();
        for command in commands {
            self.run(command);
        }
    }

    /// A text in a shell of its own: `sh -c`. It must be read with certainty too.
    pub(super) fn another(&mut self, text: &str, positional: Vec<String>, shell: Shell) {
        self.script.shells = true;
        let outer = self.copy();
        self.names.positional = positional.into();
        self.nested(text);
        self.back(outer);
        if unreadable(text).is_none() {
            match certain::read(text, self.places, shell, false, &mut self.steps) {
                Ok(reading) => self.certain(reading),
                Err(why) => self.not_known(why),
            }
        }
    }

    /// A text in this shell, one level down: `eval`.
    pub(super) fn nested(&mut self, text: &str) {
        self.depth += 1;
        // The bounds that the outermost text was held to.
        if let Some(why) = unreadable(text) {
            self.not_known(why);
        }
        if unfit(text).is_none() {
            self.text(text);
        }
        self.depth -= 1;
    }

    /// Begins a copy of this shell.
    fn copy(&self) -> Outer {
        Outer {
            names: self.names.count(),
            positional: Rc::clone(&self.names.positional),
            folder: self.folder.clone(),
        }
    }

    /// Ends a copy of the shell: what it changed ends with it.
    fn back(&mut self, outer: Outer) {
        self.names.back(outer.names);
        self.names.positional = outer.positional;
        self.folder = outer.folder;
    }

    /// Commands in a copy of this shell.
    pub(super) fn apart(&mut self, list: &Pipelines) {
        let outer = self.copy();
        self.list(list);
        self.back(outer);
    }

    /// A command substitution: walked in a copy of this shell. What it most likely says.
    pub(super) fn substituted(&mut self, list: &Pipelines) -> String {
        let before = self.script.commands.len();
        let piped = self.piped.take();
        self.inside += 1;
        self.apart(list);
        let said = self.said(before).join(" ");
        self.inside -= 1;
        self.piped = piped;
        said
    }

    /// What the commands since `before` say, those aside whose output others take.
    fn said(&mut self, before: usize) -> Vec<String> {
        let commands = self.script.commands.iter().zip(&self.levels);
        let mine = commands
            .skip(before)
            .filter(|(_, level)| **level == self.inside);
        let mut said = Vec::new();
        for (command, _) in mine {
            if !self.steps.pay(1 + size(command)) {
                break;
            }
            said.extend(unwrap::says(command));
        }
        said
    }

    /// A word that is evaluated: arithmetic, a pattern. bash runs what its quotes hide too.
    pub(super) fn evaluated(&mut self, raw: &RawWord) {
        let text = word::single(self, &raw.pieces).text;
        self.hidden(&text);
    }

    /// What runs in a value when it is evaluated as arithmetic.
    pub(super) fn hidden(&mut self, text: &str) {
        let runs = text.contains("$(") || text.contains("${") || text.contains('`');
        if runs && self.depth < MAX_SHELLS && self.steps.pay(text.len()) {
            let raw = parse::document(text, &mut self.steps);
            self.depth += 1;
            word::single(self, &raw.pieces);
            self.depth -= 1;
        }
    }

    fn push(&mut self, command: ShellCommand) {
        if self.script.commands.len() >= MAX_COMMANDS {
            return self.not_known(LONG);
        }
        self.levels.push(self.inside);
        self.script.commands.push(command);
    }

    fn full(&self) -> bool {
        self.script.commands.len() >= MAX_COMMANDS || self.steps.spent()
    }

    fn list(&mut self, list: &Pipelines) {
        for pipeline in list {
            self.steps.took(1);
            if self.full() {
                return self.not_known(LONG);
            }
            let apart = usize::from(pipeline.apart);
            self.background += apart;
            self.beside += apart;
            self.pipeline(pipeline);
            self.beside -= apart;
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline) {
        let several = pipeline.commands.len() > 1;
        self.beside += usize::from(several);
        let folder = self.folder.clone();
        for node in &pipeline.commands {
            let before = self.script.commands.len();
            self.node(node);
            if !several {
                continue;
            }
            // `cat` says what it is given.
            let commands = &self.script.commands[before..];
            let passes = matches!(commands, [cat] if cat.program() == "cat");
            let said = self.said(before).into_iter().next();
            let given = self.piped.take().filter(|_| passes);
            self.piped = said.or(given);
        }
        self.piped = None;
        if several {
            self.folder = folder;
        }
        self.beside -= usize::from(several);
    }

    fn node(&mut self, node: &CommandNode) {
        match &node.kind {
            NodeKind::Simple(items) => self.simple(items),
            NodeKind::Lists(lists) => lists.iter().for_each(|list| self.list(list)),
            NodeKind::Subshell(list) => self.apart(list),
            NodeKind::Loop {
                condition,
                endless,
                body,
            } => {
                let before = self.script.commands.len();
                self.list(condition);
                let condition = &self.script.commands[before..];
                let endless = condition
                    .last()
                    .is_none_or(|c| endless.contains(&c.program()));
                self.body(body, endless);
            }
            NodeKind::Each { name, values, body } => self.each(name, values.as_deref(), body),
            NodeKind::Sums {
                text,
                endless,
                body,
            } => {
                self.evaluated(text);
                self.body(body, *endless);
            }
            NodeKind::Case { word, arms } => {
                self.evaluated(word);
                for (patterns, list) in arms {
                    patterns.iter().for_each(|raw| self.evaluated(raw));
                    self.list(list);
                }
            }
            NodeKind::Test(words) => words.iter().for_each(|raw| self.evaluated(raw)),
            NodeKind::Function { name, body } => self.function(name, body),
            NodeKind::Apart(node) => {
                self.background += 1;
                self.beside += 1;
                self.node(node);
                self.beside -= 1;
            }
        }
        self.alone(&node.redirects);
    }

    fn function(&mut self, name: &RawWord, body: &Rc<CommandNode>) {
        let name = word::single(self, &name.pieces).text;
        self.defining.push(name.clone());
        let beside = std::mem::take(&mut self.beside);
        let outer = self.copy();
        self.node(body);
        self.back(outer);
        self.beside = beside;
        self.defining.pop();
        self.functions.insert(name, Rc::clone(body));
    }

    fn each(&mut self, name: &RawWord, raws: Option<&[RawWord]>, body: &Pipelines) {
        let name = word::single(self, &name.pieces).text;
        let mut values: Vec<ShellWord> = Vec::new();
        match raws {
            Some(raws) => {
                for raw in raws {
                    values.extend(word::expand(self, raw));
                }
            }
            None => values.extend(self.names.positional.iter().map(ShellWord::guess)),
        }
        if values.is_empty() {
            values.push(ShellWord::guess(""));
        }
        let mut numbers = 0;
        for value in values {
            let number = value.text.bytes().all(|b| b.is_ascii_digit());
            numbers += usize::from(number);
            if number && numbers > MAX_NUMBERS {
                continue;
            }
            if self.full() || !self.steps.pay(name.len() + value.text.len()) {
                return self.not_known(LONG);
            }
            self.hidden(&value.text);
            self.names.set(&name, value.text);
            self.list(body);
        }
    }

    fn body(&mut self, list: &Pipelines, endless: bool) {
        let background = self.background;
        let before = self.script.commands.len();
        self.list(list);
        let waits = |c: &ShellCommand| matches!(c.program(), "wait" | "break" | "exit" | "sleep");
        if endless
            && self.background > background
            && !self.script.commands[before..].iter().any(waits)
        {
            self.script.bomb = true;
        }
    }

    /// Redirects of a block: judged as a command without words.
    fn alone(&mut self, redirects: &[Redirection]) {
        let mut command = self.empty();
        for redirect in redirects {
            self.redirect(redirect, &mut command);
        }
        if !command.redirects.is_empty() {
            self.push(command);
        }
    }

    /// `cd`: where what follows runs.
    pub(super) fn enter(&mut self, target: Option<&ShellWord>) {
        self.folder = match target {
            None => Some(self.places.home.clone()),
            Some(word) if word.text == "-" => None,
            Some(word) if word.known == Certainty::Glob => None,
            Some(word) => absolute(self.folder.as_deref(), &word.text),
        };
    }
}

/// What is certain of a command: whether all of it is, and the words that are known. What is not
/// known can be several words.
type CertainPart = (bool, Vec<Option<String>>);

fn key(command: &ShellCommand) -> CertainPart {
    let words = command.words.iter();
    let known = words.map(|w| (w.known == Certainty::Fixed).then(|| w.text.clone()));
    let mut known: Vec<Option<String>> = known.collect();
    known.dedup_by(|a, b| a.is_none() && b.is_none());
    (command.is_plain(), known)
}

/// What handling a command costs.
fn size(command: &ShellCommand) -> usize {
    let words = command.words.iter();
    let words: usize = words.map(|w| size_of::<ShellWord>() + w.text.len()).sum();
    size_of::<ShellCommand>() + words
}
