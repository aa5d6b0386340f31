//! Characters to the shapes of `tree`. Nothing is refused: what is broken is read on as commands,
//! and [`ParsedText::whole`] says so. Each character is read once, beside searches for an end, of which
//! only a few may fail.
//!
//! - `token`: operators, redirects and here-documents; `word`: quotes and what expands.

mod token;
mod word;

use std::rc::Rc;

use super::tree::{CommandItem, CommandNode, NodeKind, Pipeline, Pipelines, RawWord, Redirection};
use crate::tools::command::steps::Steps;
use token::{HereDocument, ShellToken};

/// Most constructs around a place: the parser is recursive. A bracket can count as four of them.
/// What would open one more opens none.
const MAX_DEPTH: usize = 170;

/// What a text was read as.
pub(super) struct ParsedText {
    pub list: Pipelines,
    /// Whether all of it is as the grammar wants it.
    pub whole: bool,
}

/// Reads a text of commands.
pub(super) fn commands(text: &str, steps: &mut Steps) -> ParsedText {
    let mut parser = ShellParser::new(text.chars().collect(), 0, steps);
    let list = parser.list();
    let whole = !parser.broken && parser.here.is_empty();
    ParsedText { list, whole }
}

/// Reads a text in which only `$` and backquotes mean something, as in a here-document.
pub(super) fn document(text: &str, steps: &mut Steps) -> RawWord {
    ShellParser::new(text.chars().collect(), 0, steps).document()
}

struct ShellParser<'s> {
    text: Vec<char>,
    at: usize,
    /// Where reading ends: before the text does, inside of `$((…))` and here-documents.
    end: usize,
    peeked: Option<ShellToken>,
    /// Here-documents whose text is still to come.
    here: Vec<HereDocument>,
    /// What the open constructs wait for.
    wanted: Vec<&'static str>,
    /// Constructs around this place.
    depth: usize,
    /// Searches that did not find their end.
    failed: usize,
    broken: bool,
    steps: &'s mut Steps,
}

impl<'s> ShellParser<'s> {
    fn new(text: Vec<char>, depth: usize, steps: &'s mut Steps) -> ShellParser<'s> {
        ShellParser {
            at: 0,
            end: text.len(),
            text,
            peeked: None,
            here: Vec::new(),
            wanted: Vec::new(),
            depth,
            failed: 0,
            broken: false,
            steps,
        }
    }

    /// Commands up to what an open construct waits for, or the end.
    fn list(&mut self) -> Pipelines {
        let mut list = Pipelines::new();
        loop {
            let stray = match self.peek() {
                ShellToken::End => return list,
                ShellToken::Op(";" | "&" | "\n") => {
                    self.next();
                    continue;
                }
                ShellToken::Op("(") => None,
                ShellToken::Op(op) => Some(*op),
                token => token.closes(),
            };
            if let Some(closer) = stray {
                if self.wanted.contains(&closer) {
                    return list;
                }
                self.broken = true;
                self.next();
                continue;
            }
            let begun = list.len();
            loop {
                list.push(self.pipeline());
                match self.peek() {
                    ShellToken::Op("&&" | "||") => self.next(),
                    _ => break,
                };
                self.newlines();
            }
            if self.peek().is("&") {
                list[begun..].iter_mut().for_each(|p| p.apart = true);
            }
        }
    }

    /// Commands up to one of `closers`.
    fn block(&mut self, closers: &[&'static str]) -> Pipelines {
        let open = self.wanted.len();
        self.wanted.extend(closers);
        let list = self.list();
        self.wanted.truncate(open);
        list
    }

    fn newlines(&mut self) {
        while self.peek().is("\n") {
            self.next();
        }
    }

    /// Takes what ends a construct, or the mark that it is missing.
    fn expect(&mut self, closer: &str) {
        match self.peek() {
            ShellToken::Op(op) if *op == closer => drop(self.next()),
            token if token.bare() == Some(closer) => drop(self.next()),
            _ => self.broken = true,
        }
    }

    fn pipeline(&mut self) -> Pipeline {
        let mut commands = Vec::new();
        loop {
            while let Some(word @ ("!" | "time")) = self.peek().reserved() {
                self.next();
                while word == "time" && matches!(self.peek().bare(), Some("-p" | "--")) {
                    self.next();
                }
            }
            commands.push(self.command());
            match self.peek() {
                ShellToken::Op("|" | "|&") => self.next(),
                _ => break,
            };
            self.newlines();
        }
        let apart = false;
        Pipeline { commands, apart }
    }

    fn command(&mut self) -> CommandNode {
        if self.depth >= MAX_DEPTH {
            self.broken = true;
            while self.peek().opens() {
                self.next();
            }
            let items = self.items(Vec::new());
            return simple(items);
        }
        self.depth += 1;
        let kind = self.kind();
        self.depth -= 1;
        let mut redirects = Vec::new();
        if !matches!(kind, NodeKind::Simple(_) | NodeKind::Function { .. }) {
            while let Some(redirect) = self.redirect() {
                redirects.push(redirect);
            }
        }
        CommandNode { kind, redirects }
    }

    fn kind(&mut self) -> NodeKind {
        if self.peek().is("(") {
            self.next();
            if self.look() == Some('(')
                && let Some(text) = self.sums()
            {
                return NodeKind::Sums {
                    text,
                    endless: false,
                    body: Pipelines::new(),
                };
            }
            let list = self.block(&[")"]);
            self.expect(")");
            return NodeKind::Subshell(list);
        }
        let Some(word) = self.peek().reserved() else {
            return self.simple();
        };
        match word {
            "{" => {
                self.next();
                let list = self.block(&["}"]);
                self.expect("}");
                NodeKind::Lists(vec![list])
            }
            "if" => self.condition(),
            "while" => self.repeated(&["true", ":"]),
            "until" => self.repeated(&["false"]),
            "for" | "select" => self.each(),
            "case" => self.case(),
            "[[" => self.test(),
            "function" => {
                self.next();
                match self.next() {
                    ShellToken::Word(name) => self.function(name),
                    _ => NodeKind::Simple(Vec::new()),
                }
            }
            "coproc" => {
                self.next();
                self.coprocess()
            }
            // A word that closes something: the list reads it.
            _ => NodeKind::Simple(Vec::new()),
        }
    }

    fn condition(&mut self) -> NodeKind {
        self.next();
        let mut lists = Vec::new();
        loop {
            lists.push(self.block(&["then", "elif", "else", "fi"]));
            match self.peek().reserved() {
                Some("then" | "elif" | "else") => drop(self.next()),
                _ => break,
            }
        }
        self.expect("fi");
        NodeKind::Lists(lists)
    }

    fn repeated(&mut self, endless: &'static [&'static str]) -> NodeKind {
        self.next();
        let condition = self.block(&["do", "done"]);
        let body = self.body();
        NodeKind::Loop {
            condition,
            endless,
            body,
        }
    }

    /// `do …; done`, or `{ …; }`.
    fn body(&mut self) -> Pipelines {
        while self.peek().is("\n") || self.peek().is(";") {
            self.next();
        }
        let (opener, closer) = match self.peek().reserved() {
            Some("{") => ("{", "}"),
            _ => ("do", "done"),
        };
        self.expect(opener);
        let list = self.block(&[closer]);
        self.expect(closer);
        list
    }

    fn each(&mut self) -> NodeKind {
        self.next();
        if self.peek().is("(") {
            self.next();
            let text = match self.look() {
                Some('(') => self.sums(),
                _ => None,
            };
            self.broken |= text.is_none();
            let text = text.unwrap_or_default();
            let body = self.body();
            let endless = token::is_endless(&text);
            return NodeKind::Sums {
                text,
                endless,
                body,
            };
        }
        let name = match self.peek() {
            ShellToken::Word(_) => self.raw(),
            _ => RawWord::default(),
        };
        self.newlines();
        let mut values = None;
        if self.peek().bare() == Some("in") {
            self.next();
            let mut words = Vec::new();
            while let ShellToken::Word(_) = self.peek() {
                words.push(self.raw());
            }
            values = Some(words);
        }
        let body = self.body();
        NodeKind::Each { name, values, body }
    }

    fn case(&mut self) -> NodeKind {
        self.next();
        let word = match self.peek() {
            ShellToken::Word(_) => self.raw(),
            _ => RawWord::default(),
        };
        self.newlines();
        self.expect("in");
        let mut arms = Vec::new();
        loop {
            self.newlines();
            if matches!(self.peek(), ShellToken::End) || self.peek().reserved() == Some("esac") {
                break;
            }
            let mut patterns = Vec::new();
            loop {
                match self.peek() {
                    ShellToken::Word(_) => patterns.push(self.raw()),
                    ShellToken::Op("(" | "|") => drop(self.next()),
                    _ => break,
                }
            }
            self.expect(")");
            let list = self.block(&[";;", "esac"]);
            arms.push((patterns, list));
            match self.peek() {
                ShellToken::Op(";;") => drop(self.next()),
                _ => break,
            }
        }
        self.expect("esac");
        NodeKind::Case { word, arms }
    }

    fn test(&mut self) -> NodeKind {
        self.next();
        let mut words = Vec::new();
        loop {
            match self.next() {
                ShellToken::End => {
                    self.broken = true;
                    break;
                }
                ShellToken::Word(word) if word.bare() == Some("]]") => break,
                ShellToken::Word(word) => words.push(word),
                _ => {}
            }
        }
        NodeKind::Test(words)
    }

    /// What stands behind a function's name.
    fn function(&mut self, name: RawWord) -> NodeKind {
        if self.peek().is("(") {
            self.next();
            self.expect(")");
        }
        self.newlines();
        let body = Rc::new(self.command());
        NodeKind::Function { name, body }
    }

    fn coprocess(&mut self) -> NodeKind {
        let first = match self.peek() {
            token @ ShellToken::Word(_) if token.reserved().is_none() => self.raw(),
            _ => return NodeKind::Apart(Box::new(self.command())),
        };
        // `coproc NAME { …; }`, or a simple command.
        let block = self.peek().is("(") || self.peek().reserved().is_some();
        let node = match block {
            true => self.command(),
            false => {
                let items = self.items(vec![CommandItem::Word(first)]);
                simple(items)
            }
        };
        NodeKind::Apart(Box::new(node))
    }

    fn simple(&mut self) -> NodeKind {
        let mut items = self.items(Vec::new());
        let names = matches!(items.as_slice(), [CommandItem::Word(word)] if word.value.is_none());
        if names && self.peek().is("(") && self.look() == Some(')') {
            match items.pop() {
                Some(CommandItem::Word(name)) => return self.function(name),
                other => items.extend(other),
            }
        }
        // Two commands without anything between: the list reads on.
        self.broken |= self.peek().is("(");
        NodeKind::Simple(items)
    }

    /// Adds words and redirects.
    fn items(&mut self, mut items: Vec<CommandItem>) -> Vec<CommandItem> {
        loop {
            if let Some(redirect) = self.redirect() {
                items.push(CommandItem::Redirect(redirect));
            } else if let ShellToken::Word(_) = self.peek() {
                items.push(CommandItem::Word(self.raw()));
            } else {
                return items;
            }
        }
    }

    fn redirect(&mut self) -> Option<Redirection> {
        match self.peek() {
            ShellToken::Here(_) => match self.next() {
                ShellToken::Here(body) => Some(Redirection::Here(body)),
                _ => None,
            },
            ShellToken::Redirect(operator) => {
                let operator = *operator;
                self.next();
                // `>&-x` is `>&-` and a word.
                if matches!(operator, ">&" | "<&") && self.take("-") {
                    let mut target = RawWord::default();
                    target.plain('-');
                    return Some(Redirection::File { operator, target });
                }
                let target = match self.peek() {
                    ShellToken::Word(_) => self.raw(),
                    _ => {
                        self.broken = true;
                        RawWord::default()
                    }
                };
                Some(match operator {
                    "<<<" => Redirection::Text(target),
                    operator => Redirection::File { operator, target },
                })
            }
            _ => None,
        }
    }

    /// The word that comes next.
    fn raw(&mut self) -> RawWord {
        match self.next() {
            ShellToken::Word(word) => word,
            _ => RawWord::default(),
        }
    }
}

fn simple(items: Vec<CommandItem>) -> CommandNode {
    CommandNode {
        kind: NodeKind::Simple(items),
        redirects: Vec::new(),
    }
}
