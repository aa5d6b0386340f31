//! Who may call what. npast judges a call by what the call would do, never by a second model call and
//! never by what the model says about it: the hard list first, then the user's rules, then what the user
//! granted, then the policy. `docs/approvals.md` says it for users.

mod denial;
#[cfg(test)]
mod grant_tests;
mod guarded;
mod question;
mod reading;
mod rule;
mod store;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use denial::CallDenial;
pub use guarded::INSTRUCTION_FILES;
pub use question::{Grant, Granted, Question};
pub use rule::{ApprovalRule, ApprovalRules, RuleError};
pub use store::StoreError;

use crate::tools::command::{self, Certainty, ShellPlaces, ShellScript};
use crate::tools::{Effect, Subject, Tool};

/// What happens to a call that no rule speaks of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approve {
    /// Ask the user.
    #[default]
    Ask,
    /// Run it if it changes a file of the project; ask about all else.
    Edits,
    /// Run it.
    Auto,
    /// Refuse it.
    Deny,
}

impl Approve {
    /// All of them, from the strictest to the freest.
    pub const ALL: [Approve; 4] = [Approve::Deny, Approve::Ask, Approve::Edits, Approve::Auto];

    /// The word in configuration, flags and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Approve::Ask => "ask",
            Approve::Edits => "edits",
            Approve::Auto => "auto",
            Approve::Deny => "deny",
        }
    }

    /// The inverse of [`Approve::as_str`].
    pub fn parse(word: &str) -> Option<Approve> {
        Approve::ALL.into_iter().find(|one| one.as_str() == word)
    }
}

/// Whether programs run in the sandbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SandboxMode {
    /// The sandbox.
    Sandbox,
    /// No sandbox, because the user switched it off.
    Off,
    /// No sandbox, because this system has none.
    Missing,
}

/// What approvals depend on, fixed at the start of a run.
#[derive(Clone, Debug)]
pub struct ApprovalSetup {
    /// For calls that no rule matches.
    pub policy: Approve,
    /// The user's rules.
    pub rules: ApprovalRules,
    /// The project's folder, the user's home and npast's own, real and absolute.
    pub places: ShellPlaces,
    /// The session's temporary folder.
    pub temp: PathBuf,
    /// Whether programs run in the sandbox.
    pub sandbox: SandboxMode,
    /// Whether a user can answer questions: false with `--json`, in pipes and without a terminal.
    pub attended: bool,
}

/// What a call may do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallVerdict {
    /// Run it, with this as [`crate::tools::CallContext::granted`]: what it is about by now.
    Allow(Subject),
    /// Do not.
    Deny(CallDenial),
    /// Ask, then [`Approvals::grant`].
    Ask(Question),
}

/// The approvals of one run.
pub struct Approvals {
    setup: ApprovalSetup,
    /// Granted for this session.
    session: Vec<ApprovalRule>,
    /// Granted for always, for this project.
    always: Vec<ApprovalRule>,
}

impl Approvals {
    /// Reads the grants of approvals.toml. A file that cannot be read grants nothing, and a notice says so:
    /// the second value is a sentence for the user.
    pub fn new(setup: ApprovalSetup) -> (Approvals, Option<String>) {
        let read = store::read(&setup.places);
        let (always, notice) = match read {
            Ok(rules) => (rules, None),
            Err(error) => (
                Vec::new(),
                Some(format!("{error}; nothing of it is granted")),
            ),
        };
        let approvals = Approvals {
            setup,
            session: Vec::new(),
            always,
        };
        (approvals, notice)
    }

    /// Another client's calls come next: its policy, and whether somebody there can be asked.
    pub fn set(&mut self, policy: Approve, attended: bool) {
        (self.setup.policy, self.setup.attended) = (policy, attended);
    }

    /// What a call may do. The arguments have passed the registry's check, or are anything.
    pub fn judge(&self, tool: &dyn Tool, arguments: &Value) -> CallVerdict {
        let call = ClassifiedCall::new(tool, arguments, &self.setup.places);
        let denied = |why: String, to_user: &str| {
            CallVerdict::Deny(CallDenial::new(
                format!("Not run: {why}. Do it another way, or tell the user."),
                format!("not run: {to_user}"),
            ))
        };
        if let Some(why) = &call.hard {
            let why = format!("{why}, which no setting allows");
            return denied(why.clone(), &why);
        }
        let rules = &self.setup.rules;
        if let Some(rule) = rules.deny.iter().find(|r| call.touched(r, &self.setup)) {
            let to_user = format!("your rule \"{rule}\" denies it");
            return denied(format!("the user's rule \"{rule}\" denies it"), &to_user);
        }
        let asking = rules.ask.iter().find(|r| call.touched(r, &self.setup));
        let why = match asking {
            Some(rule) => Some(format!("the rule \"{rule}\" asks")),
            None => call.doubt(&self.setup),
        };
        // A rule that was made while the sandbox held does not count where it is missing, nor where there
        // is a doubt. Where a rule of the user's asks, a broad grant is not about this very call, and in
        // some places no grant is.
        let (allow, always) = match why {
            None => (rules.allow.as_slice(), self.always.as_slice()),
            Some(_) => (&[][..], &[][..]),
        };
        let granted = self
            .session
            .iter()
            .filter(|r| asking.is_none() || call.is_all_of(r));
        let granted = granted.chain(always).filter(|_| call.guarded.is_none());
        let mut counting = allow.iter().chain(granted);
        let covered = match &call.script {
            Some(script) => covers(&counting.collect::<Vec<_>>(), &call.tool, script),
            None => counting.any(|r| call.matched(r, &self.setup)),
        };
        if covered || call.is_free(&self.setup) && why.is_none() {
            return CallVerdict::Allow(call.subject);
        }
        // Where the user switched the sandbox off, being outside of it is no reason to ask.
        let caution = tool
            .caution()
            .filter(|_| self.setup.sandbox != SandboxMode::Off)
            .map(str::to_owned);
        let why = why.or(caution);
        match (self.setup.policy, &why) {
            (Approve::Deny, _) => denied(
                "the policy is to deny what no rule allows".into(),
                "the mode is deny, and no rule of yours allows it",
            ),
            (Approve::Auto, None) => CallVerdict::Allow(call.subject),
            (Approve::Edits, None) if call.edits_project(&self.setup) => {
                CallVerdict::Allow(call.subject)
            }
            _ if !self.setup.attended => denied(
                match why {
                    Some(why) => {
                        format!("it needs approval ({why}), and this run cannot ask the user")
                    }
                    None => "it needs approval, and this run cannot ask the user".into(),
                },
                "nobody can be asked in this run; --approve auto or a rule lets it run",
            ),
            (_, why) => {
                let why = why.clone().or(call.guarded.map(str::to_owned));
                CallVerdict::Ask(call.question(why, asking.is_some(), &self.setup))
            }
        }
    }

    /// Takes an answer to a question. What is granted for always is written at once; if that fails
    /// it holds for this session and the notice says so.
    pub fn grant(&mut self, question: &Question, grant: Grant) -> Granted {
        let mut notice = None;
        match grant {
            Grant::No | Grant::Once => {}
            Grant::Session => self.session.extend(question.rules.iter().cloned()),
            Grant::Always => {
                if let Err(error) = store::add(&self.setup.places, &question.rules) {
                    notice = Some(format!("{error}; it is granted for this session only"));
                }
                self.session.extend(question.rules.iter().cloned());
            }
        }
        Granted {
            run: grant != Grant::No,
            notice,
        }
    }

    /// What becomes of a call that the user refused, with the reason that they gave.
    pub fn refusal(reason: Option<&str>) -> CallDenial {
        match reason {
            None => CallDenial::new(
                "Not run: the user refused it. Ask what they want instead, or go on without it.",
                "not run: you said no",
            ),
            Some(reason) => CallDenial::new(
                format!("Not run: the user refused it and says: {reason}"),
                "not run: you said no, and the model gets your reason",
            ),
        }
    }
}

/// Whether each command of `script` has a rule: then all of it is allowed.
fn covers(rules: &[&ApprovalRule], tool: &str, script: &ShellScript) -> bool {
    script.unknown.is_none()
        && !script.renames
        && !script.commands.is_empty()
        && script.commands.iter().all(|command| {
            command.is_plain()
                && rules.iter().any(|rule| {
                    let texts = command.words.iter().map(|w| w.text.as_str());
                    rule.is_for(tool) && rule.matches_words(&texts.collect::<Vec<_>>())
                })
        })
}

/// A call, looked at once.
struct ClassifiedCall {
    tool: String,
    effect: Effect,
    subject: Subject,
    /// Of a command.
    script: Option<ShellScript>,
    hard: Option<String>,
    /// Why no grant covers it, and the policy `edits` does not either.
    guarded: Option<&'static str>,
}

impl ClassifiedCall {
    fn new(tool: &dyn Tool, arguments: &Value, places: &ShellPlaces) -> ClassifiedCall {
        let subject = tool.subject(arguments, &places.project);
        let script = match &subject {
            Subject::Command(text) => Some(command::parse(text, places)),
            _ => None,
        };
        let effect = tool.effect(arguments);
        let guarded = match &subject {
            Subject::Path(path) if effect != Effect::Reads => guarded::why(path, &places.project),
            _ => None,
        };
        ClassifiedCall {
            tool: tool.spec().name.clone(),
            effect,
            guarded,
            hard: script.as_ref().and_then(|s| command::hard(s, places)),
            script,
            subject,
        }
    }

    /// Whether a rule that forbids or asks matches this call or a part of it, or might match it.
    fn touched(&self, rule: &ApprovalRule, setup: &ApprovalSetup) -> bool {
        let Some(script) = &self.script else {
            return self.matched(rule, setup);
        };
        rule.is_for(&self.tool)
            && script.commands.iter().any(|command| {
                let mut texts: Vec<&str> = command.words.iter().map(|w| w.text.as_str()).collect();
                if rule.matches_words(&texts) {
                    return true;
                }
                // `/usr/bin/git` is git too.
                let Some(first) = texts.first_mut() else {
                    return false;
                };
                *first = first.rsplit('/').next().unwrap_or(first);
                rule.matches_words(&texts)
            })
    }

    fn matched(&self, rule: &ApprovalRule, setup: &ApprovalSetup) -> bool {
        rule.is_for(&self.tool)
            && match &self.subject {
                Subject::Path(path) => rule.matches_path(path, &setup.places),
                Subject::Url(text) | Subject::Call(text) => rule.matches_text(text),
                Subject::Command(_) | Subject::Own => rule.is_any(),
            }
    }

    /// Whether what a rule is for is this call and nothing else.
    fn is_all_of(&self, rule: &ApprovalRule) -> bool {
        match &self.subject {
            Subject::Command(_) => rule.is_words(),
            Subject::Path(path) => path.to_str().is_some_and(|path| rule.is_text(path)),
            Subject::Url(text) | Subject::Call(text) => rule.is_text(text),
            Subject::Own => false,
        }
    }

    /// Why the user must be asked about this call even where the policy would let it run.
    fn doubt(&self, setup: &ApprovalSetup) -> Option<String> {
        let program = matches!(self.subject, Subject::Command(_) | Subject::Call(_));
        if program && setup.sandbox == SandboxMode::Missing {
            return Some("there is no sandbox on this system".into());
        }
        if let Some(script) = &self.script
            && let Some(why) = &script.unknown
        {
            return Some(why.clone());
        }
        match &self.subject {
            Subject::Path(_) if self.guarded == Some(guarded::GIT_RUNS_IT) => {
                Some(guarded::GIT_RUNS_IT.into())
            }
            _ => None,
        }
    }

    /// Whether the call runs without a question: the model's own notes, and reading in the project.
    fn is_free(&self, setup: &ApprovalSetup) -> bool {
        match &self.subject {
            Subject::Own => true,
            Subject::Path(path) => {
                self.effect == Effect::Reads
                    && (path.starts_with(&setup.places.project) || path.starts_with(&setup.temp))
            }
            // Moving about in the project and saying things change nothing.
            Subject::Command(_) => self.script.as_ref().is_some_and(|s| idle(s, setup)),
            Subject::Url(_) | Subject::Call(_) => false,
        }
    }

    /// Whether it changes an ordinary file of the project and nothing else.
    fn edits_project(&self, setup: &ApprovalSetup) -> bool {
        self.effect == Effect::Writes
            && self.guarded.is_none()
            && matches!(&self.subject, Subject::Path(path) if path.starts_with(&setup.places.project))
    }

    /// What the call does, as a verb that stands before its subject.
    fn verb(&self) -> &'static str {
        match &self.subject {
            Subject::Command(_) => "run",
            Subject::Url(_) => "fetch",
            Subject::Call(_) | Subject::Own => "call",
            Subject::Path(_) if self.effect != Effect::Reads => "write",
            Subject::Path(_) => match self.tool.as_str() {
                "list" => "list",
                "search" => "search in",
                _ => "read",
            },
        }
    }

    /// What the rules of a question cover, in words.
    fn scope(
        &self,
        rules: &[ApprovalRule],
        only_it: bool,
        setup: &ApprovalSetup,
    ) -> Option<String> {
        let many = rules.len() > 1;
        Some(match &self.subject {
            _ if rules.is_empty() => return None,
            Subject::Command(_) if many => "exactly these commands".into(),
            Subject::Command(_) => "exactly this command".into(),
            Subject::Path(_) if only_it && self.edits_project(setup) => {
                "all changes of this file".into()
            }
            Subject::Url(_) if only_it => "exactly this address".into(),
            Subject::Call(_) if only_it => "exactly this call".into(),
            Subject::Path(_) if self.edits_project(setup) => {
                "all changes of files in this folder".into()
            }
            Subject::Path(path) if !only_it && path.starts_with(&setup.places.project) => {
                format!("{} for all of this folder", self.tool)
            }
            Subject::Path(_) => format!("{} for this path", self.tool),
            Subject::Url(_) => "all pages of this server".into(),
            Subject::Call(_) | Subject::Own => format!("all calls of {}", self.tool),
        })
    }

    /// `only_it`: nothing but a grant for this very call will count.
    fn question(self, why: Option<String>, only_it: bool, setup: &ApprovalSetup) -> Question {
        let rules = self.rules(only_it, setup);
        Question {
            verb: self.verb(),
            scope: self.scope(&rules, only_it, setup),
            text: question::shown(&self.subject.to_string()),
            tool: self.tool,
            why,
            rules,
            subject: self.subject,
        }
    }

    /// What "for this session" and "always" would allow: no more than fits in a line.
    fn rules(&self, only_it: bool, setup: &ApprovalSetup) -> Vec<ApprovalRule> {
        let tool = self.tool.as_str();
        match &self.subject {
            Subject::Command(_) => {
                let Some(script) = &self.script else {
                    return Vec::new();
                };
                let told = script.unknown.is_none() && !script.renames;
                if !told || !script.commands.iter().all(command::ShellCommand::is_plain) {
                    return Vec::new();
                }
                let mut rules = Vec::new();
                for command in &script.commands {
                    let words = command.words.iter().map(|w| w.text.clone()).collect();
                    let rule = ApprovalRule::words(tool, words);
                    if !rules.contains(&rule) {
                        rules.push(rule);
                    }
                }
                rules
            }
            Subject::Path(_) if self.guarded.is_some() => Vec::new(),
            Subject::Path(path) if path.starts_with(&setup.places.project) => {
                // To a person an edit and a new file are the same kind of thing.
                let edits = ["edit_file", "write_file"];
                let tools = match edits.contains(&tool) {
                    true => &edits[..],
                    false => &[tool],
                };
                let rule = |tool: &&str| match only_it {
                    true => ApprovalRule::path(tool, path),
                    false => ApprovalRule::below(tool, &setup.places.project),
                };
                tools.iter().map(rule).collect()
            }
            Subject::Path(path) => vec![ApprovalRule::path(tool, path)],
            Subject::Url(text) | Subject::Call(text) if only_it => {
                ApprovalRule::text(tool, text).into_iter().collect()
            }
            Subject::Url(text) => ApprovalRule::origin(tool, text).into_iter().collect(),
            Subject::Call(_) => vec![ApprovalRule::any(tool)],
            Subject::Own => Vec::new(),
        }
    }
}

/// Commands that only look where they are.
fn idle(script: &ShellScript, setup: &ApprovalSetup) -> bool {
    const IDLE: &[&str] = &["pwd", "true", "false", ":", "echo"];
    script.unknown.is_none()
        && !script.renames
        && !script.commands.is_empty()
        && script.commands.iter().all(|command| {
            command.is_plain()
                && match command.words.first() {
                    Some(word) if word.known == Certainty::Fixed => {
                        IDLE.contains(&word.text.as_str())
                            || (word.text == "cd"
                                && command.rest().len() == 1
                                && command.folder.as_ref().is_some_and(|folder| {
                                    let target = folder.join(&command.rest()[0].text);
                                    let real = target.canonicalize();
                                    real.is_ok_and(|r| r.starts_with(&setup.places.project))
                                }))
                    }
                    _ => false,
                }
        })
}
