//! Arithmetic and `[` run what is hidden in a value (`a[$(rm x)]`, `-v`). Here it is followed what
//! the variables of a text may hold where they are used so.

use std::collections::HashMap;

use super::super::Certainty;
use super::lex::LexedWord;
use crate::tools::command::steps::Steps;

/// How tame a value is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Tame {
    /// The value may be anything.
    Not,
    /// One word of letters, digits and a few signs that is no operator.
    Word,
    /// Digits.
    Number,
}

/// Variables that bash itself reads or makes: an assignment to some of them runs the value, and
/// what they hold others may have chosen.
const BASHS: &[&str] = &[
    "_",
    "COPROC",
    "DIRSTACK",
    "ENV",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "EUID",
    "EXECIGNORE",
    "FCEDIT",
    "FIGNORE",
    "FUNCNAME",
    "FUNCNEST",
    "GLOBIGNORE",
    "GLOBSORT",
    "GROUPS",
    "HOSTFILE",
    "HOSTNAME",
    "HOSTTYPE",
    "IFS",
    "IGNOREEOF",
    "INPUTRC",
    "LINENO",
    "MACHTYPE",
    "MAPFILE",
    "OLDPWD",
    "OPTARG",
    "OPTERR",
    "OPTIND",
    "OSTYPE",
    "PIPESTATUS",
    "POSIXLY_CORRECT",
    "PPID",
    "PROMPT_COMMAND",
    "PROMPT_DIRTRIM",
    "PS0",
    "PS1",
    "PS2",
    "PS3",
    "PS4",
    "PWD",
    "RANDOM",
    "REPLY",
    "SECONDS",
    "SHELLOPTS",
    "SHLVL",
    "SRANDOM",
    "TIMEFORMAT",
    "TMOUT",
    "UID",
];

/// Whether `name` is bash's own.
pub(super) fn is_bashs(name: &str) -> bool {
    const FAMILIES: &[&str] = &["BASH", "COMP_", "HIST", "READLINE_"];
    BASHS.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family))
}

/// What a text assigns, and what it needs of it.
pub(super) struct Values {
    /// How tame a variable is that the text does not assign.
    outside: Tame,
    given: Vec<(String, Use)>,
    needed: Vec<(Use, Tame)>,
    /// Names that have their value from this text wherever reading is now, in the order in which they
    /// got it.
    sure: Vec<String>,
    /// How often each of them got one.
    times: HashMap<String, usize>,
}

/// A value: what is written in it, and the variables in it.
#[derive(Clone)]
struct Use {
    written: Tame,
    variables: Vec<String>,
}

impl Values {
    /// The variables that are there are the user's `own`, or may hold anything.
    pub fn new(own: bool) -> Values {
        Values {
            outside: if own { Tame::Number } else { Tame::Not },
            given: Vec::new(),
            needed: Vec::new(),
            sure: Vec::new(),
            times: HashMap::new(),
        }
    }

    pub fn assign(&mut self, name: &str, value: &LexedWord) {
        let value = self.used(value.tame(), value.variables.clone());
        self.given.push((name.to_owned(), value));
    }

    /// What comes behind this runs only after `name` got its value here.
    pub fn assigned(&mut self, name: &str) {
        *self.times.entry(name.to_owned()).or_default() += 1;
        self.sure.push(name.to_owned());
    }

    /// How many values are sure here: for [`Self::back`].
    pub fn sure(&self) -> usize {
        self.sure.len()
    }

    /// Behind a part that may not have run, or ran in a shell of its own, only the first `sure` are.
    pub fn back(&mut self, sure: usize) {
        for name in self.sure.drain(sure..) {
            if let Some(times) = self.times.get_mut(&name) {
                *times -= 1;
            }
        }
    }

    /// A value at this place. A variable that is not sure holds what was outside.
    fn used(&self, written: Tame, variables: Vec<String>) -> Use {
        let sure = |name: &String| self.times.get(name).is_some_and(|times| *times > 0);
        let written = match variables.iter().all(sure) {
            true => written,
            false => written.min(self.outside),
        };
        Use { written, variables }
    }

    /// `part` is evaluated as arithmetic.
    pub fn need_number(&mut self, part: &LexedWord) {
        self.need(part.tame(), part.variables.clone(), Tame::Number);
    }

    /// `part` may be split, and stands where an operator could.
    pub fn need_word(&mut self, part: &LexedWord) {
        self.need(part.tame(), part.variables.clone(), Tame::Word);
    }

    /// A variable in arithmetic.
    pub fn need_variable(&mut self, name: &str) {
        self.need(Tame::Number, vec![name.to_owned()], Tame::Number);
    }

    fn need(&mut self, written: Tame, variables: Vec<String>, most: Tame) {
        let value = self.used(written, variables);
        self.needed.push((value, most));
    }

    /// Whether all values are as tame as they must be.
    pub fn hold(&self, steps: &mut Steps) -> bool {
        if self.needed.is_empty() {
            return true;
        }
        let variables = self.given.iter().map(|(_, value)| value.variables.len());
        // Each name becomes less tame twice at most, and each time its readers are looked at.
        let price = self.given.len() + 3 * variables.sum::<usize>();
        if !steps.pay(price * size_of::<&str>()) {
            return false;
        }
        let names = self.tame();
        self.needed.iter().all(|(value, most)| {
            let all = value
                .variables
                .iter()
                .map(|name| self.at_most(&names, name));
            all.fold(value.written, Tame::min) >= *most
        })
    }

    /// How tame each name that the text assigns is at most.
    fn tame(&self) -> HashMap<&str, Tame> {
        let assigned = self
            .given
            .iter()
            .map(|(name, _)| (name.as_str(), Tame::Number));
        let mut names: HashMap<&str, Tame> = assigned.collect();
        // Which names get a value that holds a name.
        let mut readers: HashMap<&str, Vec<&str>> = HashMap::new();
        let mut lowered: Vec<(&str, Tame)> = Vec::new();
        for (name, value) in &self.given {
            lowered.push((name, value.written));
            for variable in &value.variables {
                if names.contains_key(variable.as_str()) {
                    readers.entry(variable).or_default().push(name);
                }
                lowered.push((name, self.at_most(&names, variable)));
            }
        }
        while let Some((name, tame)) = lowered.pop() {
            match names.get_mut(name) {
                Some(held) if tame < *held => *held = tame,
                _ => continue,
            }
            let readers = readers.get(name).into_iter().flatten();
            lowered.extend(readers.map(|reader| (*reader, tame)));
        }
        names
    }

    fn at_most(&self, names: &HashMap<&str, Tame>, name: &str) -> Tame {
        match is_bashs(name) {
            true => Tame::Not,
            false => names.get(name).copied().unwrap_or(self.outside),
        }
    }
}

impl LexedWord {
    /// How tame the part is, its variables aside.
    fn tame(&self) -> Tame {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_./,:+@%-".contains(c);
        match () {
            () if self.wild => Tame::Not,
            () if digits(&self.written) => Tame::Number,
            () if self.written.chars().all(plain) && !self.written.starts_with('-') => Tame::Word,
            () => Tame::Not,
        }
    }

    /// Whether it is a number as it is written.
    pub(super) fn is_number(&self) -> bool {
        self.known == Certainty::Fixed && !self.text.is_empty() && digits(&self.text)
    }
}

fn digits(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.chars().all(|c| c.is_ascii_digit())
}
