//! A session that continues another one under another head, vocabulary or chat template.

use crate::agent::conversation::handle::Conversation;
use crate::agent::input::unanswered::marks_of;
use crate::agent::values::error::AgentError;
use crate::agent::values::notice::Notice;
use crate::agent::values::options::{AgentSetup, NewSession};
use crate::session::{Carried, Continuation, Heir, Lock, MessageState, NO_VOCABULARY, Session};

use super::rendered::rendered;
use super::start::made;

impl Conversation {
    /// A session of another vocabulary or template goes on as a child, rendered from the messages.
    pub(in crate::agent) fn child(mut self, new: &NewSession) -> Result<Conversation, AgentError> {
        let old = self.row.clone();
        let setup = old.runs_tools.then(|| AgentSetup {
            system: old.system.clone().unwrap_or_default(),
            preface: old.preface.clone(),
            tools: old.tools.clone().unwrap_or_default(),
            notices: Vec::new(),
        });
        let frame = NewSession {
            folder: match old.runs_tools {
                // Its tools work where they did.
                true => old.folder.clone(),
                false => new.folder.clone(),
            },
            system: old.system.clone().filter(|_| setup.is_none()),
            tools: old.tools.clone().filter(|_| setup.is_none()),
            seed: Some(old.seed),
            setup,
        };
        let stand_ins = self.own_stand_ins()?;
        let name = self.db.free_name(&old.name)?;
        let mut notices = std::mem::take(&mut self.notices);
        let row = made(
            &self.shared,
            &name,
            &frame,
            Some(&old),
            &mut notices,
            |row, frozen| {
                let taken = rendered(&self.shared, frozen, row.head, &self.messages)?;
                let (tokens, mut messages) = taken.unwrap_or_default();
                // What is known of the last reply's calls, where they have no results.
                let reply = messages.len().saturating_sub(1);
                let runs = marks_of(reply, &stand_ins);
                // Inputs without a reply go along; their tokens are made when they are answered.
                let open = self.messages[messages.len()..].iter();
                messages.extend(open.map(|m| Carried {
                    of: Some(m.id),
                    role: m.role.clone(),
                    body: m.body.clone(),
                    state: MessageState::Open,
                    finish: None,
                    span: None,
                }));
                let heir = Heir {
                    made: Continuation::Rendered,
                    tokens: tokens.get(row.head.len()..).unwrap_or_default(),
                    messages: &messages,
                    pending: 0,
                    decoded: 0,
                    runs: &runs,
                };
                Ok(self.db.succeed(row, &heir)?)
            },
        )?;
        let mut child = self.newborn(row, notices)?;
        let how = match old.vocab {
            NO_VOCABULARY => "has messages and no tokens",
            vocab if vocab == child.shared.vocab => "was made with another chat template",
            _ => "was made with another vocabulary",
        };
        child.notices.push((
            format!(
                "session {} {how}; it goes on as {}, and at most {} tokens are read once more",
                old.name,
                child.row.name,
                child.ledger.len()
            ),
            None,
        ));
        Ok(child)
    }

    /// A session with another head that has the names of this one, and nothing else of it yet. The
    /// notices go along. After an error there is no such session, and the notices are here.
    pub(in crate::agent) fn begin_child(
        &mut self,
        frame: &NewSession,
    ) -> Result<Conversation, AgentError> {
        let name = self.db.free_name(&self.row.name)?;
        let mut notices = self.notices.clone();
        let (shared, parent) = (&self.shared, Some(&self.row));
        let row = made(shared, &name, frame, parent, &mut notices, |row, _| {
            Ok(self.db.renew(row, self.row.id, frame.tools.as_ref())?)
        })?;
        let id = row.id;
        match self.newborn(row, notices) {
            Ok(child) => {
                self.notices.clear();
                Ok(child)
            }
            Err(error) => {
                // Where this fails too, what is left is empty, and has the names: it is gone on with.
                let _ = self.db.remove(id);
                Err(error)
            }
        }
    }

    /// A session that was just stored, open beside this one.
    fn newborn(&self, row: Session, notices: Vec<Notice>) -> Result<Conversation, AgentError> {
        let lock = Lock::session(&self.shared.options.home, row.id)?;
        let (shared, passes) = (self.shared.clone(), self.passes.clone());
        let db = shared.database()?;
        let mut child = Conversation::read(shared, passes, db, lock, row, true)?;
        child.notices = notices;
        Ok(child)
    }
}
