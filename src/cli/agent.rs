//! The agent on the command line: when a session gets tools, which ones, and who is asked before
//! one runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::args::Cli;
use super::console::Console;
use super::error::Failure;
use super::live::Live;
use super::output::{notice, screen, wrap};
use crate::agent::approve::{self, Approvals, Grant, Question, Verdict};
use crate::agent::{Gate, Notice, Prompt, Setup, Surroundings};
use crate::config::{Approve, Settings};
use crate::harmless;
use crate::session::local_day;
use crate::tools::command::Places;
use crate::tools::{Registry, Subject, Tool};

/// Whether a session that starts in this run gets tools. On a terminal it does, unless it was given
/// a system prompt or tools of its own; a script has to ask for it.
pub fn wanted(typed: &Cli, settings: &Settings, terminal: bool) -> bool {
    let talk = &typed.talk;
    if settings.no_tools || talk.tools.is_some() {
        return false;
    }
    talk.agent || (terminal && !typed.json && settings.system.is_none())
}

/// Those of the live tools that a session which starts now gets, and what there is to say about
/// names in the configuration that no tool has. `fetch_url` has to be asked for.
fn chosen(settings: &Settings, live: &mut Live) -> (Vec<Box<dyn Tool>>, Vec<Notice>) {
    let all = live.tools(None);
    let names: Vec<String> = all.iter().map(|t| t.spec().name.clone()).collect();
    let mut notices = Vec::new();
    for name in settings.with_tools.iter().chain(&settings.without_tools) {
        if !names.contains(name) {
            notices.push((
                format!("the configuration names a tool {name:?}, and there is none"),
                Some(format!("there are: {}", names.join(", "))),
            ));
        }
    }
    let kept = all.into_iter().filter(|tool| {
        let name = &tool.spec().name;
        let on = settings.with_tools.contains(name) || name != "fetch_url";
        on && !settings.without_tools.contains(name)
    });
    (kept.collect(), notices)
}

/// The built prompt and the tools of a session that starts now.
///
/// # Errors
/// When the tools make no list, which no user can cause.
pub fn setup(
    live: &mut Live,
    settings: &Settings,
    system: Option<&str>,
) -> Result<(Setup, Prompt), Failure> {
    let (tools, mut notices) = chosen(settings, live);
    let tools = Registry::new(tools).map_err(|e| Failure::failed("internal", e.to_string()))?;
    let names: Vec<String> = tools.tools().map(|t| t.spec().name.clone()).collect();
    for tool in tools.tools().filter(|tool| !tool.odd().is_empty()) {
        let (name, odd) = (&tool.spec().name, tool.odd().join(", "));
        notices.push((
            format!("the tool {name} is offered with a simpler schema: {odd}"),
            None,
        ));
    }
    let secret = live.secrets();
    let prompt = Prompt::build(&Surroundings {
        home: &live.home,
        secret: &secret,
        project: &live.project,
        day: &local_day(super::state::now_ms())?,
        tools: &names,
        system,
    });
    notices.extend(prompt.notices.iter().cloned());
    let setup = Setup {
        system: prompt.text(),
        tools: tools.specs_json(),
        notices,
    };
    Ok((setup, prompt))
}

/// Who decides about calls: the approvals, and the person at the terminal where they ask.
pub struct Asking {
    approvals: Approvals,
    /// Somebody is there to be asked.
    console: Option<Arc<Console>>,
}

impl Asking {
    /// For a session with this temporary folder. Without a console the run is unattended. What was
    /// granted for always and cannot be read is said here.
    pub fn new(policy: Approve, live: &Live, temp: &Path, console: Option<Arc<Console>>) -> Asking {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let (approvals, said) = Approvals::new(approve::Setup {
            policy,
            rules: live.tables.rules.clone(),
            places: Places {
                home: std::env::home_dir().map_or_else(PathBuf::new, |home| real(&home)),
                project: real(&live.project),
                data: real(&live.home),
            },
            temp: real(temp),
            wall: live.wall(),
            attended: console.is_some(),
        });
        if let Some(text) = said {
            notice(&text, None);
        }
        Asking { approvals, console }
    }
}

impl Gate for Asking {
    fn pass(&mut self, tool: &dyn Tool, arguments: &Value) -> Result<Subject, String> {
        let question = match self.approvals.judge(tool, arguments) {
            Verdict::Allow(subject) => return Ok(subject),
            Verdict::Deny(why) => return Err(why),
            Verdict::Ask(question) => question,
        };
        let grant = match &self.console {
            Some(console) => ask(console, &question),
            None => Grant::No,
        };
        let granted = self.approvals.grant(&question, grant);
        if let Some(text) = granted.notice {
            notice(&text, None);
        }
        match granted.run {
            true => Ok(question.subject),
            false => Err(Approvals::refusal().to_owned()),
        }
    }
}

/// Asks the person; no answer is a no.
fn ask(console: &Console, question: &Question) -> Grant {
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
fn asked(question: &Question, columns: usize) -> (String, &'static str) {
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
    let rules = question.rules.iter().map(|r| named(&r.to_string()));
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
        let question = Question {
            tool: "run\u{200b}\nRun it?".into(),
            text: format!("{padded}\n\u{1b}[2J\u{202e}日本日本日本日本日本日本日本日本日本日本"),
            why: Some("a\nRun it? \u{2800}".into()),
            rules: Vec::new(),
            subject: Subject::Command(padded),
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
        let rule = approve::Rule::parse("write_file: src/**").unwrap();
        let rules = vec![rule];
        let (text, words) = asked(&Question { rules, ..question }, 40);
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
