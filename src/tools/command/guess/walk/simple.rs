//! Simple commands: their words, assignments and redirects, and what runs when all of them are known.

use super::super::tree::{CommandItem, RawWord, Redirection};
use super::super::{unwrap, word};
use super::{ShellState, size};
use crate::tools::command::certain::LONG;
use crate::tools::command::{Certainty, MAX_SHELLS, Redirect, ShellCommand, ShellWord};

impl ShellState<'_> {
    pub(super) fn empty(&mut self) -> ShellCommand {
        let folder = self.folder.clone();
        let length = folder.as_ref().map_or(0, |f| f.as_os_str().len());
        self.steps.took(length);
        ShellCommand {
            folder,
            ..ShellCommand::default()
        }
    }

    pub(super) fn simple(&mut self, items: &[CommandItem]) {
        let mut command = self.empty();
        let mut stdin = None;
        for item in items {
            match item {
                CommandItem::Redirect(redirect) => {
                    stdin = self.redirect(redirect, &mut command).or(stdin)
                }
                CommandItem::Word(raw) => self.word(raw, &mut command),
            }
        }
        // Where something else stands than a command.
        if items.is_empty() {
            return;
        }
        if command.words.is_empty() {
            for (name, value) in &command.assigns {
                self.names.set(name, value.text.clone());
            }
        }
        if let Some(here) = stdin {
            self.piped = Some(here);
        }
        self.run(command);
    }

    /// One command with its words: listed, then looked into.
    pub(in super::super) fn run(&mut self, command: ShellCommand) {
        if self.full() || !self.steps.pay(size(&command)) {
            return self.not_known(LONG);
        }
        let program = command.program().to_owned();
        if self.beside > 0 && self.defining.contains(&program) {
            self.script.bomb = true;
        }
        self.push(command.clone());
        if let Some(body) = self.functions.get(&program).cloned()
            && self.depth < MAX_SHELLS
        {
            let texts = command.rest().iter().map(|w| w.text.clone()).collect();
            let positional = std::mem::replace(&mut self.names.positional, texts);
            self.depth += 1;
            // A function inside of itself: once is enough to see what it does.
            self.functions.remove(&program);
            self.node(&body);
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

    /// Adds a word or an assignment.
    fn word(&mut self, raw: &RawWord, into: &mut ShellCommand) {
        let Some((name, value)) = raw.assigned() else {
            let words = word::expand(self, raw);
            return into.words.extend(words);
        };
        let first = into.words.is_empty();
        let (word, mut value) = match first {
            true => {
                // What stands in `NAME[…]`.
                let before = raw.pieces.len() - value.len();
                word::single(self, &raw.pieces[..before]);
                (None, word::single(self, value))
            }
            // Behind a program it is a word like others: `env X=1`, `export X=1`.
            false => {
                let word = word::single(self, &raw.pieces);
                let text = word.text.split_once('=').map_or("", |(_, value)| value);
                let value = ShellWord {
                    text: text.to_owned(),
                    known: word.known,
                };
                (Some(word), value)
            }
        };
        if !raw.array.is_empty() {
            let mut texts = Vec::new();
            for raw in &raw.array {
                let words = word::expand(self, raw);
                texts.extend(words.into_iter().map(|w| w.text));
            }
            value = ShellWord::guess(texts.join(" "));
        }
        self.steps.took(name.len() + value.text.len());
        self.hidden(&value.text);
        match word {
            Some(word) => {
                into.words.push(word);
                self.names.set(name, value.text);
            }
            None => into.assigns.push((name.to_owned(), value)),
        }
    }

    /// Adds a redirect. What it gives as standard input comes back, where that is a text.
    pub(super) fn redirect(
        &mut self,
        redirect: &Redirection,
        into: &mut ShellCommand,
    ) -> Option<String> {
        let (operator, target) = match redirect {
            Redirection::File { operator, target } => (*operator, target),
            Redirection::Text(raw) => return Some(word::single(self, &raw.pieces).text),
            Redirection::Here(body) => {
                let body = body.get()?;
                word::single(self, &body.pieces.pieces);
                return self.steps.pay(body.text.len()).then(|| body.text.clone());
            }
        };
        let target = word::single(self, &target.pieces);
        // `-` closes, and `1-` is copied and closed.
        let number = target.text.strip_suffix('-').unwrap_or(&target.text);
        let copies = matches!(operator, ">&" | "<&")
            && target.known == Certainty::Fixed
            && number.chars().all(|c| c.is_ascii_digit());
        if !copies {
            let writes = !matches!(operator, "<" | "<&");
            into.redirects.push(Redirect { writes, target });
        }
        None
    }
}
