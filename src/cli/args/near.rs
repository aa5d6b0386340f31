//! A message that is one word and looks like a subcommand: nobody says `list` to a model.

use super::TalkArgs;

/// Every subcommand.
pub(super) const SUBCOMMANDS: &[&str] = &[
    "serve",
    "sessions",
    "cron",
    "models",
    "kv",
    "config",
    "prompt",
    "doctor",
    "completions",
    "man",
];

/// Words of other programs and of every day, and what they are called here.
const WORDS: &[(&[&str], &[&str])] = &[
    (&["list", "ls"], &["sessions", "models"]),
    (&["rm", "remove", "delete"], &["sessions rm", "models rm"]),
    (&["show", "history"], &["sessions show"]),
    (&["undo"], &["sessions undo"]),
    (&["redo"], &["sessions redo"]),
    (&["fork", "branch"], &["sessions fork"]),
    (&["rename"], &["sessions rename"]),
    (&["compress", "compact"], &["sessions compress"]),
    (&["export"], &["sessions export"]),
    (&["import"], &["sessions import"]),
    (&["resume", "continue"], &["-c"]),
    (&["pull", "download", "fetch", "install"], &["models pull"]),
    (&["recommend"], &["models recommend"]),
    (&["ps", "status", "info"], &["kv", "doctor"]),
    (&["gc", "clean", "verify"], &["kv gc", "kv verify"]),
    (&["server", "gateway", "start", "api"], &["serve"]),
    (&["settings", "configure", "set"], &["config"]),
    (&["check", "diagnose"], &["doctor"]),
    (&["run", "chat"], &["-m MODEL"]),
];

/// The subcommands that a message may have meant to be; none where it is a message. A session that is named
/// goes on with whatever is said.
pub fn meant(talk: &TalkArgs) -> Vec<&'static str> {
    let Some(word) = talk.prompt.as_deref() else {
        return Vec::new();
    };
    if talk.session.is_some() || talk.last || talk.messages.is_some() {
        return Vec::new();
    }
    let plain = |c: char| c.is_ascii_lowercase() || c == '-';
    if !(2..=16).contains(&word.len()) || !word.chars().all(plain) {
        return Vec::new();
    }
    if let Some((_, here)) = WORDS.iter().find(|(words, _)| words.contains(&word)) {
        return here.to_vec();
    }
    let near = |known: &&&str| {
        let most = match known.len() {
            // Every short word is near to another one.
            0..5 => return false,
            5..7 => 1,
            _ => 2,
        };
        known.strip_suffix('s') == Some(word)
            || (word.len() + 1 >= known.len() && strsim::damerau_levenshtein(word, known) <= most)
    };
    SUBCOMMANDS.iter().filter(near).copied().collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::args::Cli;

    fn near(prompt: &str) -> Vec<&'static str> {
        meant(&TalkArgs {
            prompt: Some(prompt.to_owned()),
            ..TalkArgs::default()
        })
    }

    #[test]
    fn a_word_near_a_subcommand_is_seen_and_a_message_is_none() {
        let table: &[(&str, &[&str])] = &[
            ("list", &["sessions", "models"]),
            ("pull", &["models pull"]),
            ("sesions", &["sessions"]),
            ("session", &["sessions"]),
            ("model", &["models"]),
            ("serv", &["serve"]),
            ("doctro", &["doctor"]),
            ("conifg", &["config"]),
        ];
        for (word, want) in table {
            assert_eq!(near(word), *want, "{word}");
        }
        for message in [
            "hello",
            "list all files",
            "List",
            "hi",
            "why",
            "mean",
            "men",
            "corn",
            "summarize",
            "review",
            "a",
            "",
            "server?",
            "lüst",
            "explain",
            "test",
            "translate",
            "k",
        ] {
            assert_eq!(near(message), [] as [&str; 0], "{message}");
        }
        let named = TalkArgs {
            prompt: Some("list".into()),
            session: Some("work".into()),
            ..TalkArgs::default()
        };
        assert_eq!(meant(&named), [] as [&str; 0]);
    }

    #[test]
    fn every_subcommand_is_known_and_every_word_leads_to_one() {
        let command = Cli::command();
        let names: Vec<&str> = command.get_subcommands().map(|c| c.get_name()).collect();
        assert_eq!(names, {
            let mut known = SUBCOMMANDS.to_vec();
            known.sort_by_key(|word| names.iter().position(|name| name == word));
            known
        });
        for (_, here) in WORDS {
            for line in *here {
                let mut at = &command;
                for word in line.split(' ').filter(|_| !line.starts_with('-')) {
                    at = at.find_subcommand(word).unwrap_or_else(|| panic!("{line}"));
                }
            }
        }
    }
}
