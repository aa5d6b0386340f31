//! The agent on the command line: when a session gets tools, which ones, and who is asked before
//! one runs.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::args::Cli;
use super::error::Failure;
use super::keyboard::Keyboard;
use super::output::printable;
use crate::agent::{Gate, Notice, Prompt, Setup, Surroundings};
use crate::config::{Approve, Settings};
use crate::session::local_day;
use crate::tools::{Effect, Registry, Subject, Tool};

/// Whether a session that starts in this run gets tools. On a terminal it does, unless it was given
/// a system prompt or tools of its own; a script has to ask for it.
pub fn wanted(typed: &Cli, settings: &Settings, terminal: bool) -> bool {
    let talk = &typed.talk;
    if settings.no_tools || talk.tools.is_some() {
        return false;
    }
    talk.agent || (terminal && !typed.json && settings.system.is_none())
}

/// The tools that this process can serve.
pub fn live() -> Vec<Box<dyn Tool>> {
    Vec::new()
}

/// Those of the live tools that a session which starts now gets, and what there is to say about
/// names in the configuration that no tool has. `fetch_url` has to be asked for.
fn chosen(settings: &Settings) -> (Vec<Box<dyn Tool>>, Vec<Notice>) {
    let all = live();
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
    let off = ["fetch_url".to_owned()];
    let kept = all.into_iter().filter(|tool| {
        let name = &tool.spec().name;
        let on = settings.with_tools.contains(name) || !off.contains(name);
        on && !settings.without_tools.contains(name)
    });
    (kept.collect(), notices)
}

/// The built prompt and the tools of a session that starts now in `project`.
///
/// # Errors
/// When the tools make no list, which no user can cause.
pub fn setup(
    home: &Path,
    project: &Path,
    settings: &Settings,
    system: Option<&str>,
) -> Result<(Setup, Prompt), Failure> {
    let (tools, mut notices) = chosen(settings);
    let tools = Registry::new(tools).map_err(|e| Failure::failed("internal", e.to_string()))?;
    let names: Vec<String> = tools.tools().map(|t| t.spec().name.clone()).collect();
    let prompt = Prompt::build(&Surroundings {
        home,
        project,
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

/// Who decides about calls: the policy, and the person at the terminal where it says so.
pub struct Asking {
    policy: Approve,
    /// Somebody is there to be asked.
    keyboard: Option<Arc<Keyboard>>,
}

impl Asking {
    /// With a policy; without a keyboard the run is unattended.
    pub fn new(policy: Approve, keyboard: Option<Arc<Keyboard>>) -> Asking {
        Asking { policy, keyboard }
    }
}

impl Gate for Asking {
    fn pass(
        &mut self,
        tool: &dyn Tool,
        arguments: &Value,
        subject: &Subject,
    ) -> Result<(), String> {
        let name = &tool.spec().name;
        let harmless = *subject == Subject::Own || tool.effect(arguments) == Effect::Reads;
        match (self.policy, &self.keyboard) {
            _ if harmless => Ok(()),
            (Approve::Auto, _) => Ok(()),
            (Approve::Deny, _) => Err(format!(
                "Denied: the user's policy allows no call of {name}."
            )),
            (Approve::Ask, None) => Err(format!(
                "Denied: nobody is there to be asked about {name}. Go on without it."
            )),
            (Approve::Ask, Some(keyboard)) => match ask(keyboard, name, &subject.to_string()) {
                true => Ok(()),
                false => Err(format!(
                    "Denied: the user does not want this call of {name}."
                )),
            },
        }
    }
}

/// Asks the person; no answer is a no.
fn ask(keyboard: &Keyboard, name: &str, subject: &str) -> bool {
    let shown: String = subject.chars().take(2000).collect();
    let shown = printable(&shown).replace('\n', "\n  ");
    let question = format!("{name}: {shown}\nRun it? [y/N] ");
    let answer = keyboard.ask(&question, std::io::stdin());
    answer.is_some_and(|answer| matches!(answer.trim(), "y" | "Y" | "yes"))
}
