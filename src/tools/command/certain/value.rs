//! Arithmetic and `[` run what is hidden in a value (`a[$(rm x)]`, `-v`). Here it is followed what
//! the variables of a text may hold where they are used so.

use std::collections::HashMap;

use super::super::Known;
use super::lex::Part;

/// How tame a value is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Tame {
    /// It may be anything.
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
}

/// A value: what is written in it, and the variables in it.
#[derive(Clone)]
struct Use {
    written: Tame,
    variables: Vec<String>,
}

impl Use {
    fn of(part: &Part) -> Use {
        Use {
            written: part.tame(),
            variables: part.variables.clone(),
        }
    }
}

impl Values {
    /// The variables that are there are the user's `own`, or may hold anything.
    pub fn new(own: bool) -> Values {
        Values {
            outside: if own { Tame::Number } else { Tame::Not },
            given: Vec::new(),
            needed: Vec::new(),
        }
    }

    pub fn assign(&mut self, name: &str, value: &Part) {
        self.given.push((name.to_owned(), Use::of(value)));
    }

    /// `part` is evaluated as arithmetic.
    pub fn need_number(&mut self, part: &Part) {
        self.needed.push((Use::of(part), Tame::Number));
    }

    /// `part` may be split, and stands where an operator could.
    pub fn need_word(&mut self, part: &Part) {
        self.needed.push((Use::of(part), Tame::Word));
    }

    /// A variable in arithmetic.
    pub fn need_variable(&mut self, name: &str) {
        let variables = vec![name.to_owned()];
        let written = Tame::Number;
        self.needed.push((Use { written, variables }, Tame::Number));
    }

    /// Whether all values are as tame as they must be.
    pub fn hold(&self) -> bool {
        if self.needed.is_empty() {
            return true;
        }
        // How tame each name is at most; less with every round until nothing changes.
        let mut names: HashMap<&str, Tame> = HashMap::new();
        let tame = |names: &HashMap<&str, Tame>, value: &Use| {
            let all = value.variables.iter().map(|name| match is_bashs(name) {
                true => Tame::Not,
                false => names.get(name.as_str()).copied().unwrap_or(self.outside),
            });
            all.fold(value.written, Tame::min)
        };
        loop {
            let mut changed = false;
            for (name, value) in &self.given {
                let now = tame(&names, value);
                let held = names.entry(name).or_insert(Tame::Number);
                changed |= now < *held;
                *held = now.min(*held);
            }
            if !changed {
                break;
            }
        }
        self.needed
            .iter()
            .all(|(value, most)| tame(&names, value) >= *most)
    }
}

impl Part {
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
        self.known == Known::Fixed && !self.text.is_empty() && digits(&self.text)
    }
}

fn digits(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.chars().all(|c| c.is_ascii_digit())
}
