//! Programs inside of bash. Most only do what their words say; some run a word, evaluate it or
//! change what later names mean, and are read in plain forms only.

use super::lex::LexedWord;
use super::{Certainty, EXOTIC, LineReader, NAMELESS, ShellCommand, Unsure, value};

/// Builtins that are read in no form.
const REFUSED: &[&str] = &[
    "alias",
    "bind",
    "builtin",
    "compgen",
    "complete",
    "compopt",
    "declare",
    "enable",
    "fc",
    "getopts",
    "hash",
    "history",
    "let",
    "mapfile",
    "readarray",
    "readonly",
    "shopt",
    "typeset",
    "unalias",
];

pub(super) fn is_unary(op: &str) -> bool {
    op.len() == 2 && op.starts_with('-') && op.ends_with(|c| "bcdefghknprstuwxzGLNOS".contains(c))
}

pub(super) fn is_binary(op: &str) -> bool {
    matches!(op, "=" | "==" | "!=" | "<" | ">" | "-nt" | "-ot" | "-ef") || is_numeric(op)
}

pub(super) fn is_numeric(op: &str) -> bool {
    matches!(op, "-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge")
}

impl LexedWord {
    fn is(&self, text: &str) -> bool {
        self.known == Certainty::Fixed && self.text == text
    }

    fn is_fixed(&self) -> bool {
        self.known == Certainty::Fixed
    }

    /// Whether it can be no option.
    fn is_no_option(&self) -> bool {
        match self.known {
            Certainty::Fixed => !self.text.starts_with('-'),
            _ => !self.many && self.head.is_some_and(|c| c != '-'),
        }
    }
}

impl LineReader<'_> {
    /// What a command does beside what its words say.
    pub fn program(&mut self, parts: &[LexedWord]) -> Result<(), Unsure> {
        let Some((first, rest)) = parts.split_first() else {
            return Ok(());
        };
        if !first.is_fixed() || first.text.is_empty() {
            return Err(NAMELESS);
        }
        let all = |good: &dyn Fn(&LexedWord) -> bool| match rest.iter().all(good) {
            true => Ok(()),
            false => Err(EXOTIC),
        };
        match first.text.as_str() {
            "[" => match rest.split_last() {
                Some((last, rest)) if last.is("]") => self.bracket(rest),
                _ => Err(EXOTIC),
            },
            "test" => self.bracket(rest),
            "eval" => {
                all(&LexedWord::is_fixed)?;
                if rest.first().is_some_and(|part| !part.is_no_option()) {
                    return Err(EXOTIC);
                }
                let texts: Vec<&str> = rest.iter().map(|part| part.text.as_str()).collect();
                self.text(&texts.join(" "))
            }
            "trap" => match rest {
                [text, ..] if text.is_no_option() && text.is_fixed() => {
                    all(&LexedWord::is_fixed)?;
                    self.maybe(|reader| reader.text(&text.text))
                }
                _ => Err(EXOTIC),
            },
            "command" | "exec" => match rest {
                [] => Ok(()),
                [option, ..] if option.is("-v") || option.is("-V") => match first.is("command") {
                    true => Ok(()),
                    false => Err(EXOTIC),
                },
                [inner, ..] if inner.is_no_option() => {
                    self.push(ShellCommand {
                        words: rest.iter().map(LexedWord::word).collect(),
                        ..ShellCommand::default()
                    })?;
                    self.program(rest)
                }
                _ => Err(EXOTIC),
            },
            "source" | "." => {
                self.reading.renames = true;
                match rest {
                    [file, ..] if file.is_fixed() && file.is_no_option() => Ok(()),
                    _ => Err(EXOTIC),
                }
            }
            "export" | "local" => {
                self.reading.renames = true;
                for part in rest {
                    match part.assigned() {
                        Some((name, value)) => {
                            self.assign(name, &value)?;
                            self.values.assigned(name);
                        }
                        None => self.named(part)?,
                    }
                }
                Ok(())
            }
            "unset" => {
                self.reading.renames = true;
                self.reading.moves_home |= rest.iter().any(|part| part.text == "HOME");
                rest.iter().try_for_each(|part| self.named(part))
            }
            "read" => {
                self.reading.renames = true;
                let names = match rest {
                    [option, names @ ..] if option.is("-r") => names,
                    names => names,
                };
                if names.is_empty() {
                    return Err(EXOTIC);
                }
                for part in names {
                    self.named(part)?;
                    self.assign(&part.text, &LexedWord::anything())?;
                    self.values.assigned(&part.text);
                }
                Ok(())
            }
            "set" => {
                let mut rest = rest.iter();
                while let Some(part) = rest.next() {
                    let flags = part.text.strip_prefix('-').filter(|_| part.bare);
                    let flags = flags.filter(|f| !f.is_empty()).ok_or(EXOTIC)?;
                    let letters = flags.strip_suffix('o');
                    if !letters.unwrap_or(flags).chars().all(|c| "eux".contains(c)) {
                        return Err(EXOTIC);
                    }
                    let options = ["pipefail", "errexit", "nounset", "xtrace"];
                    if letters.is_some()
                        && !rest
                            .next()
                            .is_some_and(|o| options.iter().any(|name| o.is(name)))
                    {
                        return Err(EXOTIC);
                    }
                }
                Ok(())
            }
            // `-v` evaluates a name.
            "printf" => match rest {
                [format, ..] if format.is_no_option() || format.is("--") => Ok(()),
                _ => Err(EXOTIC),
            },
            // `-p` too.
            "wait" => {
                all(&|part| part.is("-n") || !part.text.starts_with('-'))?;
                rest.iter().for_each(|part| {
                    if !part.is_fixed() {
                        self.values.need_word(part);
                    }
                });
                Ok(())
            }
            // `-x` runs the rest.
            "jobs" => all(&|part| ["-l", "-p", "-r", "-s"].iter().any(|o| part.is(o))),
            name if REFUSED.contains(&name) => Err(EXOTIC),
            _ => Ok(()),
        }
    }

    /// A word that names a variable which is not bash's.
    fn named(&self, part: &LexedWord) -> Result<(), Unsure> {
        match part.name() {
            Some(name) if !value::is_bashs(name) => Ok(()),
            _ => Err(EXOTIC),
        }
    }

    /// `test` and `[`: with `-v` and `-R` it evaluates a name. Which words are operators is plain
    /// by their number up to four; with more every word may be one.
    fn bracket(&mut self, parts: &[LexedWord]) -> Result<(), Unsure> {
        let short = match parts {
            [not, rest @ ..] if not.is("!") => rest,
            all => all,
        };
        let plain = match short {
            [] | [_] => true,
            [op, _] => op.is_fixed() && is_unary(&op.text),
            [_, op, _] => op.is_fixed() && is_binary(&op.text),
            _ => false,
        };
        for part in parts {
            let single = !part.many;
            if plain && single {
                continue;
            }
            if part.is_fixed() && !matches!(part.text.as_str(), "-v" | "-R") {
                continue;
            }
            self.values.need_word(part);
        }
        Ok(())
    }
}
