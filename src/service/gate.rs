//! Who decides about calls: the approvals, and where they ask, the client that answers the question.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::ProjectTools;
use super::desk::Desk;
use crate::agent::{self, CallGate, Event};
use crate::approve::{self, Approvals, CallVerdict, Grant, Question};
use crate::tools::command::ShellPlaces;
use crate::tools::{Subject, Tool};

/// The approvals of an open session.
pub struct Asking {
    approvals: Approvals,
    desk: Arc<Desk>,
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
        (Asking { approvals, desk }, said)
    }
}

impl CallGate for Asking {
    fn pass(&mut self, tool: &dyn Tool, arguments: &Value) -> Result<Subject, String> {
        let (policy, attended) = self.desk.rights();
        self.approvals.set(policy, attended);
        let question = match self.approvals.judge(tool, arguments) {
            CallVerdict::Allow(subject) => return Ok(subject),
            CallVerdict::Deny(why) => return Err(why),
            CallVerdict::Ask(question) => question,
        };
        let grant = match attended {
            true => self.desk.ask(&shown(&question)),
            false => Grant::No,
        };
        let granted = self.approvals.grant(&question, grant);
        if let Some(text) = granted.notice {
            self.desk.tell(Event::Notice { text, hint: None });
        }
        match granted.run {
            true => Ok(question.subject),
            false => Err(Approvals::refusal().to_owned()),
        }
    }
}

/// The question as a client gets it.
fn shown(question: &Question) -> agent::OpenQuestion {
    agent::OpenQuestion {
        id: 0,
        tool: question.tool.clone(),
        text: question.text.clone(),
        why: question.why.clone(),
        rules: question.rules.iter().map(ToString::to_string).collect(),
    }
}
