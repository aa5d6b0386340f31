//! Who decides about calls: the approvals, and where they ask, the client that answers the question.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ProjectTools;
use super::desk::Desk;
use crate::agent::{self, CallGate, Event, GatedCall};
use crate::approve::{self, Approvals, CallDenial, CallVerdict, Question};
use crate::harmless;
use crate::tools::command::ShellPlaces;
use crate::tools::{FileDiff, ForeseenRefusal, Subject};

/// The approvals of an open session.
pub struct Asking {
    approvals: Approvals,
    desk: Arc<Desk>,
    /// How long a person was asked.
    waited: Duration,
}

impl Asking {
    /// For a session with this temporary folder. Policy and attendance are those of the client whose
    /// request runs ([`Desk::rights`]): where nobody attends, what would be asked is refused. What was
    /// granted for always and cannot be read is a notice.
    pub fn new(project: &ProjectTools, temp: &Path, desk: Arc<Desk>) -> (Asking, Option<String>) {
        let (policy, attended) = desk.rights();
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let (approvals, said) = Approvals::new(approve::ApprovalSetup {
            policy,
            rules: project.tables.rules.clone(),
            places: ShellPlaces {
                home: std::env::home_dir().map_or_else(PathBuf::new, |home| real(&home)),
                project: real(&project.project),
                data: real(&project.home),
            },
            temp: real(temp),
            sandbox: project.sandbox_mode(),
            attended,
        });
        let asking = Asking {
            approvals,
            desk,
            waited: Duration::ZERO,
        };
        (asking, said)
    }
}

impl CallGate for Asking {
    fn pass(&mut self, call: &GatedCall<'_>) -> Result<Subject, CallDenial> {
        let (policy, attended) = self.desk.rights();
        self.approvals.set(policy, attended);
        let question = match self.approvals.judge(call.tool, call.arguments) {
            CallVerdict::Allow(subject) => return Ok(subject),
            CallVerdict::Deny(denial) => return Err(denial),
            CallVerdict::Ask(question) => question,
        };
        let change = match call.foresee() {
            Ok(change) => change.map(|change| change.diff()),
            // What would be refused anyway is not asked, unless the model would learn from the refusal
            // what it may not read: then a person decides, who is told of the call alone.
            Err(refusal) if self.may_be_told(&refusal, &question) => {
                return Err(refusal.into_text().into());
            }
            Err(_) => None,
        };
        let begun = Instant::now();
        let (grant, reason) = self.desk.ask(&shown(&question, change));
        self.waited += begun.elapsed();
        let granted = self.approvals.grant(&question, grant);
        if let Some(text) = granted.notice {
            self.desk.tell(Event::Notice { text, hint: None });
        }
        match granted.run {
            true => Ok(question.subject),
            false => Err(Approvals::refusal(reason.as_deref())),
        }
    }

    fn waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }
}

impl Asking {
    /// Whether the model may read why a call would be refused without anybody having allowed the call.
    fn may_be_told(&self, refusal: &ForeseenRefusal, question: &Question) -> bool {
        !refusal.tells_of_file()
            || match &question.subject {
                Subject::Path(path) => self.approvals.reads_unasked(path),
                _ => false,
            }
    }
}

/// The question as a client gets it.
fn shown(question: &Question, change: Option<FileDiff>) -> agent::OpenQuestion {
    let verb = match &change {
        Some(change) if change.made => "make",
        Some(_) => "change",
        None => question.verb,
    };
    agent::OpenQuestion {
        id: 0,
        tool: question.tool.clone(),
        verb: verb.to_owned(),
        text: match &change {
            Some(change) => harmless::exact(&change.file),
            None => question.text.clone(),
        },
        change,
        why: question.why.clone(),
        scope: question.scope.clone(),
        rules: question.rules.iter().map(ToString::to_string).collect(),
    }
}
