//! The shapes that a text is parsed into.

use std::cell::OnceCell;
use std::rc::Rc;

/// Commands that run one after the other.
pub(super) type Pipelines = Vec<Pipeline>;

/// Commands joined by `|`, or one.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub commands: Vec<CommandNode>,
    /// Whether it is sent to the background.
    pub apart: bool,
}

/// A command with the redirects behind it; those of a simple one are among its items.
#[derive(Debug)]
pub(super) struct CommandNode {
    pub kind: NodeKind,
    pub redirects: Vec<Redirection>,
}

#[derive(Debug)]
pub(super) enum NodeKind {
    Simple(Vec<CommandItem>),
    /// `{ … }`, and the parts of `if`.
    Lists(Vec<Pipelines>),
    Subshell(Pipelines),
    /// `while` and `until`. `endless` are the programs that as a condition never end it.
    Loop {
        condition: Pipelines,
        endless: &'static [&'static str],
        body: Pipelines,
    },
    /// `for NAME in VALUES` and `select`; without `in` the positional parameters.
    Each {
        name: RawWord,
        values: Option<Vec<RawWord>>,
        body: Pipelines,
    },
    /// `((…))`, with a body `for ((…))`.
    Sums {
        text: RawWord,
        endless: bool,
        body: Pipelines,
    },
    Case {
        word: RawWord,
        arms: Vec<(Vec<RawWord>, Pipelines)>,
    },
    /// The words of `[[ … ]]`.
    Test(Vec<RawWord>),
    Function {
        name: RawWord,
        body: Rc<CommandNode>,
    },
    /// `coproc`.
    Apart(Box<CommandNode>),
}

/// Part of a simple command.
#[derive(Debug)]
pub(super) enum CommandItem {
    Word(RawWord),
    Redirect(Redirection),
}

#[derive(Debug)]
pub(super) enum Redirection {
    File {
        operator: &'static str,
        target: RawWord,
    },
    /// Its text is set when the line that names it has ended.
    Here(Rc<OnceCell<Body>>),
    Text(RawWord),
}

/// The text of a here-document.
#[derive(Debug)]
pub(super) struct Body {
    pub text: String,
    /// What expands in it; nothing where its mark is quoted.
    pub pieces: RawWord,
}

/// A word as it is written.
#[derive(Debug, Default)]
pub(super) struct RawWord {
    pub pieces: Vec<WordPiece>,
    /// Where it is `NAME=value`: the name, and the piece at which the value begins.
    pub value: Option<(String, usize)>,
    /// The words of `NAME=(…)`.
    pub array: Vec<RawWord>,
}

/// Part of a word. Cheap to clone, for words that braces multiply.
#[derive(Clone, Debug)]
pub(super) enum WordPiece {
    /// Unquoted characters.
    Plain(String),
    /// Quoted ones; empty for a pair of quotes.
    Quoted(String),
    /// `~` and the user's name behind it.
    Home(String),
    Parameter {
        name: String,
        form: Rc<ParameterForm>,
        quoted: bool,
    },
    /// `$(…)` and backquotes.
    Commands { list: Rc<Pipelines>, quoted: bool },
    /// `$((…))` and `$[…]`.
    Sums(Rc<RawWord>),
    /// `<(…)` and `>(…)`.
    Files(Rc<Pipelines>),
}

/// What stands behind the name in `${NAME…}`.
#[derive(Debug)]
pub(super) enum ParameterForm {
    Plain,
    /// `:-`, `-`, `:=`, `=`.
    Default(RawWord),
    /// `:+`, `+`.
    Alternative(RawWord),
    /// What comes out is not known; what runs in it is.
    Other(RawWord),
}

impl RawWord {
    /// The word, where nothing in it is quoted or expands.
    pub fn bare(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [WordPiece::Plain(text)] if self.array.is_empty() => Some(text),
            _ => None,
        }
    }

    /// An unquoted character.
    pub fn plain(&mut self, c: char) {
        let begins = self.value.as_ref().map_or(0, |(_, at)| *at);
        match self.pieces[begins..].last_mut() {
            Some(WordPiece::Plain(text)) => text.push(c),
            _ => self.pieces.push(WordPiece::Plain(c.into())),
        }
    }

    /// A quoted character.
    pub fn quoted(&mut self, c: char) {
        match self.pieces.last_mut() {
            Some(WordPiece::Quoted(text)) => text.push(c),
            _ => self.pieces.push(WordPiece::Quoted(c.into())),
        }
    }

    /// A pair of quotes, which makes a word even where nothing stands between them.
    pub fn open(&mut self) {
        self.pieces.push(WordPiece::Quoted(String::new()));
    }

    /// The value of `NAME=value`.
    pub fn assigned(&self) -> Option<(&str, &[WordPiece])> {
        let (name, at) = self.value.as_ref()?;
        Some((name, &self.pieces[*at..]))
    }

    /// The name of a variable that may get a value by `=` behind this: `NAME`, `NAME+`, `NAME[…]`.
    pub fn variable(&self) -> Option<&str> {
        let [WordPiece::Plain(first), rest @ ..] = self.pieces.as_slice() else {
            return None;
        };
        let end = first.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let (name, behind) = first.split_at(end.unwrap_or(first.len()));
        let whole = match (rest.last(), behind) {
            (None, "" | "+") => true,
            (None, behind) => behind.starts_with('[') && behind.ends_with([']', '+']),
            (Some(WordPiece::Plain(last)), behind) => {
                behind.starts_with('[') && last.ends_with([']', '+'])
            }
            _ => false,
        };
        let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        (named && whole).then_some(name)
    }
}
