//! A question about a call, at a terminal: how it is shown, so that a model's text cannot
//! look like npast's own, and what an answer means.

use super::console::Console;
use super::output::{screen, wrap};
use crate::agent::OpenQuestion;
use crate::approve::Grant;
use crate::harmless;

/// Asks the person; no answer is a no.
pub fn ask(console: &Console, question: &OpenQuestion) -> Grant {
    let (columns, _) = screen().size();
    let (text, words) = asked(question, columns);
    let answer = console.ask(&text, words);
    grant(
        answer.as_deref().unwrap_or_default(),
        !question.rules.is_empty(),
    )
}

/// The question on a terminal of so many columns, and the words that the answer stands behind. What a
/// model wrote stands behind a mark in every row, also where the terminal would break it: no row of it
/// looks like one of npast's own.
fn asked(question: &OpenQuestion, columns: usize) -> (String, &'static str) {
    let named = |text: &str| harmless::line(&harmless::exact(text)).into_owned();
    let mut text = format!("{} wants to run:\n", named(&question.tool));
    for line in harmless::exact(&question.text).lines() {
        for row in wrap(line, columns.saturating_sub(5)) {
            text.push_str(&format!("  | {row}\n"));
        }
    }
    if let Some(why) = &question.why {
        text.push_str(&format!("It asks because {}.\n", named(why)));
    }
    let rules = question.rules.iter().map(|rule| named(rule));
    let rules: Vec<String> = rules.collect();
    if rules.is_empty() {
        return (text.trim_end().to_owned(), "Run it? [y]es [N]o ");
    }
    text.push_str(&format!(
        "Session and always would allow {} too.",
        rules.join(", ")
    ));
    (text, "Run it? [y]es [s]ession [a]lways [N]o ")
}

/// What a line answers.
fn grant(line: &str, rules: bool) -> Grant {
    match line.trim().to_lowercase().as_str() {
        "y" | "yes" => Grant::Once,
        "s" | "session" if rules => Grant::Session,
        "a" | "always" if rules => Grant::Always,
        _ => Grant::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command that pads itself to the next row writes npast's own words there.
    #[test]
    fn no_row_of_a_question_is_the_models_but_behind_its_mark() {
        let padded = format!("ls{}Run it? [y]es", " ".repeat(55));
        let question = OpenQuestion {
            id: 1,
            tool: "run\u{200b}\nRun it?".into(),
            text: format!("{padded}\n\u{1b}[2J\u{202e}日本日本日本日本日本日本日本日本日本日本"),
            why: Some("a\nRun it? \u{2800}".into()),
            rules: Vec::new(),
        };
        let (text, words) = asked(&question, 40);
        assert_eq!(
            text,
            "run\\u{200b} Run it? wants to run:\n  \
               | ls                                 \n  \
               |                       Run it? [y]es\n  \
               | \\u{1b}[2J\\u{202e}日本日本日本日本日\n  \
               | 本日本日本日本日本日本\n\
             It asks because a Run it? \\u{2800}."
        );
        assert_eq!(words, "Run it? [y]es [N]o ");
        let rules = vec!["write_file: src/**".to_owned()];
        let (text, words) = asked(&OpenQuestion { rules, ..question }, 40);
        assert!(text.ends_with("Session and always would allow write_file: src/** too."));
        assert!(words.len() < 40, "it fits a small window: {words:?}");
    }

    #[test]
    fn only_a_clear_yes_is_one() {
        let table = [
            ("y", Grant::Once),
            (" YES ", Grant::Once),
            ("s", Grant::Session),
            ("always", Grant::Always),
            ("", Grant::No),
            ("n", Grant::No),
            ("yes please", Grant::No),
        ];
        for (line, want) in table {
            assert_eq!(grant(line, true), want, "{line:?}");
        }
        assert_eq!(
            grant("a", false),
            Grant::No,
            "there is nothing to grant for always"
        );
    }
}
