//! Commands that run other commands: `sudo`, `env`, `xargs`, `sh -c`, `eval`, `find -exec`.

mod table;

use super::ansi;
use super::state::ShellState;
use crate::tools::command::certain::{EXOTIC, Shell};
use crate::tools::command::{self, Certainty, MAX_BYTES, ShellCommand, ShellWord};
use table::{SHELLS, WRAPPERS, Wrapper};

/// What a command writes, where that stands in its words: for `… | sh` and `$(…)`.
pub(super) fn says(command: &ShellCommand) -> Option<String> {
    let texts = command.rest().iter().map(|w| w.text.as_str());
    match command.program() {
        "echo" => {
            let texts = texts.skip_while(|t| t.len() == 2 && t.starts_with('-'));
            Some(texts.collect::<Vec<_>>().join(" "))
        }
        "printf" => Some(printf(&texts.collect::<Vec<_>>())),
        "pwd" => Some(command.folder.as_ref()?.to_string_lossy().into_owned()),
        // What it lists begins with these.
        "find" => {
            let starts = texts.take_while(|t| !t.starts_with(['-', '(', '!']));
            Some(starts.collect::<Vec<_>>().join("\n"))
        }
        _ => None,
    }
}

fn printf(words: &[&str]) -> String {
    let Some((format, rest)) = words.split_first() else {
        return String::new();
    };
    let text = ansi::text(format);
    let text = text.trim_matches('\0');
    match text.contains('%') {
        false => text.to_owned(),
        // A format that only strings words together.
        true => {
            let glue = text.replace("%s", "").replace("%b", "");
            match rest.len().saturating_mul(glue.len()) <= MAX_BYTES {
                true => ansi::text(&rest.join(&glue)),
                false => String::new(),
            }
        }
    }
}

/// Looks into a command for others that it runs, and follows what it does to the shell.
pub(super) fn look(walk: &mut ShellState<'_>, command: &ShellCommand) {
    let Some(first) = command.words.first() else {
        return;
    };
    if first.known == Certainty::Not && first.text.is_empty() {
        return walk.not_known("it runs a program whose name is not known");
    }
    // A guessed name is followed too: it may be right.
    let program = command::name(&first.text).to_owned();
    if first.known != Certainty::Fixed {
        walk.not_known("it runs a program whose name is not known");
    }
    let rest = command.rest();
    match program.as_str() {
        "cd" | "pushd" => {
            let target = rest
                .iter()
                .find(|w| !w.text.starts_with('-') || w.text == "-");
            walk.enter(target);
        }
        "popd" => walk.folder = None,
        "set" => {
            if let Some(at) = rest.iter().position(|w| w.text == "--") {
                let texts = rest[at + 1..].iter().map(|w| w.text.clone());
                walk.names.positional = texts.collect();
            }
        }
        "alias" => {
            for word in rest {
                if let Some((_, value)) = word.text.split_once('=') {
                    walk.nested(value);
                }
            }
        }
        "eval" => {
            let texts = rest.iter().map(|w| w.text.as_str());
            let texts: Vec<&str> = texts.skip_while(|t| *t == "--").collect();
            here(walk, &texts.join(" "), rest.iter().all(fixed));
        }
        "trap" => {
            if let Some(word) = rest.iter().find(|w| !w.text.starts_with('-')) {
                here(walk, &word.text, fixed(word));
            }
        }
        // These builtins evaluate their arguments as arithmetic or as names.
        "let" | "declare" | "typeset" | "local" | "readonly" | "export" | "unset" | "read"
        | "printf" | "test" | "[" | "wait" => {
            rest.iter().for_each(|word| walk.hidden(&word.text));
        }
        "find" => find(walk, command),
        "fd" | "fdfind" => {
            let flags = ["-x", "-X", "--exec", "--exec-batch"];
            if let Some(at) = rest.iter().position(|w| flags.contains(&w.text.as_str())) {
                inner(walk, command, &rest[at + 1..], Vec::new());
            }
        }
        name if SHELLS.contains(&name) => shell(walk, command),
        name => {
            if let Some(wrapper) = WRAPPERS.iter().find(|w| w.name == name) {
                wrapped(walk, command, wrapper);
            }
        }
    }
}

fn fixed(word: &ShellWord) -> bool {
    word.known == Certainty::Fixed
}

/// A text that this shell runs as commands.
fn here(walk: &mut ShellState<'_>, text: &str, known: bool) {
    if !known {
        walk.not_known("it runs text that is not known");
    }
    walk.nested(text);
}

/// A text that another shell runs.
fn text(walk: &mut ShellState<'_>, text: &str, known: bool, positional: Vec<String>, shell: Shell) {
    if !known {
        walk.not_known("it runs text that is not known");
    }
    walk.another(text, positional, shell);
}

fn shell(walk: &mut ShellState<'_>, command: &ShellCommand) {
    let rest = command.rest();
    let kind = match command.program() {
        "bash" => Shell::Bash,
        "sh" | "dash" | "ash" => Shell::Posix,
        _ => {
            walk.not_known("it runs a shell that is not read");
            Shell::Posix
        }
    };
    let (mut at, mut odd) = (0, false);
    while let Some(word) = rest.get(at) {
        let flags = word.text.strip_prefix('-').filter(|f| !f.is_empty());
        // With others a text can mean something else.
        let usual = |flags: &str| match flags.strip_suffix('o') {
            Some(flags) => {
                flags.chars().all(|c| "eux".contains(c))
                    && rest.get(at + 1).is_some_and(|w| w.text == "pipefail")
            }
            None => flags.chars().all(|c| "celsux".contains(c)),
        };
        odd |= flags.is_some_and(|flags| !usual(flags));
        match flags {
            None if word.text.starts_with('+') => {
                odd = true;
                at += 1 + usize::from(word.text.ends_with(['o', 'O']));
            }
            Some(flags) if flags.starts_with('-') => {
                // `--rcfile FILE`, `--init-file FILE`.
                at += 1 + usize::from(flags.ends_with("file"));
            }
            Some(flags) if flags.contains('c') => {
                // Options may stand between -c and its text.
                let mut code = at + 1;
                while rest
                    .get(code)
                    .is_some_and(|w| w.text.starts_with(['-', '+']))
                {
                    odd = true;
                    code += 1 + usize::from(rest[code].text.ends_with(['o', 'O']));
                }
                let Some(word) = rest.get(code) else { return };
                if odd {
                    walk.not_known(EXOTIC);
                }
                let names = rest[code + 1..].iter().skip(1);
                let positional = names.map(|w| w.text.clone()).collect();
                return text(walk, &word.text, fixed(word), positional, kind);
            }
            Some(flags) => {
                if flags.contains('s') {
                    break;
                }
                at += 1 + usize::from(flags.ends_with(['o', 'O']));
            }
            // A file: as known as any program.
            None if word.text != "-" && fixed(word) => return,
            None if word.text != "-" => return walk.not_known("it runs a file that is not known"),
            None => break,
        }
    }
    // From standard input.
    match walk.piped.take() {
        Some(code) => text(walk, &code, false, Vec::new(), kind),
        None => walk.not_known("a shell in it runs what it is given"),
    }
}

fn wrapped(walk: &mut ShellState<'_>, command: &ShellCommand, wrapper: &Wrapper) {
    let rest = command.rest();
    let mut at = 0;
    while let Some(word) = rest.get(at) {
        let word = word.text.as_str();
        if word == "--" {
            at += 1;
            break;
        }
        if matches!(wrapper.name, "env" | "sudo" | "doas")
            && word.contains('=')
            && !word.starts_with('-')
        {
            at += 1;
            continue;
        }
        let next = rest.get(at + 1);
        match (wrapper.name, word) {
            // A language of its own, like a shell's.
            ("env", word) if word.starts_with("-S") || word.starts_with("--split-string") => {
                let code = word.trim_start_matches("--split-string");
                let code = code.trim_start_matches("-S").trim_start_matches('=');
                let next = next.map_or("", |w| w.text.as_str());
                let code = if code.is_empty() { next } else { code };
                return text(walk, code, false, Vec::new(), Shell::Posix);
            }
            // With these options the program only looks a name up.
            ("command", "-v" | "-V") => return,
            ("script" | "su" | "runuser" | "flock", "-c" | "--command") => {
                if let Some(code) = next {
                    text(walk, &code.text, fixed(code), Vec::new(), Shell::Posix);
                }
                return;
            }
            ("env" | "sudo", "-C" | "-D" | "--chdir") => walk.enter(next),
            _ => {}
        }
        if let Some(long) = word.strip_prefix("--") {
            if let Some(code) = long.strip_prefix("command=") {
                return text(walk, code, false, Vec::new(), Shell::Posix);
            }
            at += 1 + usize::from(wrapper.long.contains(&word));
        } else if word.starts_with('-') && word.len() > 1 {
            let last = word.chars().last().unwrap_or_default();
            let first = word.chars().nth(1).unwrap_or_default();
            // `-n 5`, `-En 5`, but `-n5`.
            let takes =
                wrapper.short.contains(last) && (word.len() == 2 || !wrapper.short.contains(first));
            at += 1 + usize::from(takes);
        } else {
            break;
        }
    }
    at += wrapper.before;
    if matches!(wrapper.name, "su" | "runuser" | "script" | "flock") {
        // Their command may also stand behind the other words.
        if let Some(code) = rest
            .iter()
            .position(|w| w.text == "-c")
            .and_then(|n| rest.get(n + 1))
        {
            return text(walk, &code.text, fixed(code), Vec::new(), Shell::Posix);
        }
        if wrapper.name != "flock" {
            return walk.not_known("it starts a shell that runs what it is given");
        }
    }
    let Some(words) = rest.get(at..).filter(|w| !w.is_empty()) else {
        return;
    };
    // What is put in the place of a mark is not known.
    let mark = match wrapper.name {
        "xargs" => mark(&rest[..at]),
        "parallel" => Some("{}"),
        _ => None,
    };
    let words: Vec<ShellWord> = words
        .iter()
        .map(|word| match mark.is_some_and(|m| word.text.contains(m)) {
            true => ShellWord::guess(word.text.clone()),
            false => word.clone(),
        })
        .collect();
    let given = match wrapper.name {
        "xargs" | "parallel" => {
            let said = walk.piped.take().unwrap_or_default();
            let price = said.split_whitespace().count() * size_of::<ShellWord>();
            let mut more: Vec<ShellWord> = match walk.steps.pay(price + said.len()) {
                true => said.split_whitespace().map(ShellWord::guess).collect(),
                false => Vec::new(),
            };
            // At least one word is not known.
            if more.is_empty() {
                more.push(ShellWord::guess(""));
            }
            more
        }
        _ => Vec::new(),
    };
    inner(walk, command, &words, given);
}

/// What `xargs -I` replaces.
fn mark(options: &[ShellWord]) -> Option<&str> {
    options.iter().enumerate().find_map(|(n, word)| {
        let text = word.text.as_str();
        if let Some(long) = text.strip_prefix("--replace") {
            return Some(long.strip_prefix('=').unwrap_or("{}"));
        }
        let letters = text.strip_prefix('-').filter(|t| !t.starts_with('-'))?;
        let mark = &letters[letters.find(['I', 'i'])?..];
        match mark.split_at(1) {
            ("I", "") => options.get(n + 1).map(|w| w.text.as_str()),
            ("i", "") => Some("{}"),
            (_, mark) => Some(mark),
        }
    })
}

/// Runs `words` and `given`, in the place of `outer`.
fn inner(
    walk: &mut ShellState<'_>,
    outer: &ShellCommand,
    words: &[ShellWord],
    given: Vec<ShellWord>,
) {
    if words.is_empty() {
        return;
    }
    let folder = walk.folder.clone();
    let mut words = words.to_vec();
    words.extend(given);
    walk.run(ShellCommand {
        words,
        assigns: Vec::new(),
        redirects: Vec::new(),
        folder: folder.clone().or_else(|| outer.folder.clone()),
        wrapped: true,
    });
    // `env -C`: only for what it runs.
    walk.folder = outer.folder.clone();
}

fn find(walk: &mut ShellState<'_>, command: &ShellCommand) {
    let rest = command.rest();
    let starts = rest
        .iter()
        .take_while(|w| !w.text.starts_with(['-', '(', '!']));
    let starts: Vec<ShellWord> = starts.map(|w| ShellWord::guess(w.text.clone())).collect();
    let flags = ["-exec", "-execdir", "-ok", "-okdir"];
    let mut at = 0;
    while let Some(found) = rest[at..]
        .iter()
        .position(|w| flags.contains(&w.text.as_str()))
    {
        let from = at + found + 1;
        let end = rest[from..]
            .iter()
            .position(|w| matches!(w.text.as_str(), ";" | "+"));
        let to = end.map_or(rest.len(), |n| from + n);
        let mut words = Vec::new();
        for word in &rest[from..to] {
            match word.text.contains("{}") {
                // Any of the files: the folders it starts in stand for them.
                true if starts.is_empty() => words.push(ShellWord::guess(".")),
                true => {
                    for start in &starts {
                        let text = word.text.replace("{}", &start.text);
                        if !walk.steps.pay(size_of::<ShellWord>() + text.len()) {
                            return;
                        }
                        words.push(ShellWord::guess(text));
                    }
                }
                false => words.push(word.clone()),
            }
        }
        inner(walk, command, &words, Vec::new());
        at = to;
    }
}
