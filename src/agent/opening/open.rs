//! Opening a session: found by name or folder, or started; locked, checked, mended, and continued by its
//! successor where there is one.

use std::sync::Arc;

use crate::agent::conversation::handle::Conversation;
use crate::agent::conversation::names::kv_owner;
use crate::agent::engine::handle::Engine;
use crate::agent::engine::pass::{Alone, Passes};
use crate::agent::engine::shared::{EngineShared, fits};
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::agent::values::options::{NewSession, Options, WhichSession};
use crate::kv::{self, Warming};
use crate::session::{self, Db, Lock, Session};

use super::start::{same_tools, start};

impl Conversation {
    /// Opens a stored session, or starts one; `new` is what it is started with. Calls that a crash left
    /// without results get them.
    ///
    /// # Errors
    /// As [`Engine::conversation`].
    pub(in crate::agent) fn open(
        shared: Arc<EngineShared>,
        passes: Arc<dyn Passes>,
        open: WhichSession,
        new: NewSession,
    ) -> Result<Conversation, AgentError> {
        let db = shared.database()?;
        let found = match &open {
            WhichSession::Named(name) => {
                session::check_name(name).map_err(session::DbError::from)?;
                db.find(name)?
            }
            WhichSession::Last => Some(db.last_in_folder(&new.folder)?.ok_or_else(|| {
                AgentError::new(ErrorKind::Input, "no session was started in this folder")
                    .hinted("give it a prompt, or a name with --session")
            })?),
            WhichSession::FromWords(_) => None,
        };
        let mut notices = Vec::new();
        let resumed = found.is_some();
        let row = match found {
            Some(row) => {
                if row.runs_tools && row.system.as_deref().unwrap_or_default().is_empty() {
                    // Law 7: what was frozen stays; another prompt would be another session.
                    notices.push((
                        format!(
                            "the stored system prompt of session {} is missing; it is not built \
                             again, and the session goes on with the tokens it has",
                            row.name
                        ),
                        Some("start another session to have a prompt again".to_owned()),
                    ));
                }
                if new.system.is_some() || new.tools.is_some() {
                    let same = new
                        .system
                        .as_ref()
                        .is_none_or(|s| Some(s) == row.system.as_ref())
                        && new
                            .tools
                            .as_ref()
                            .is_none_or(|t| same_tools(&shared, t, &row));
                    if !same {
                        notices.push((
                            format!(
                                "session {} keeps the system prompt and tools it was started with",
                                row.name
                            ),
                            Some("start another session to use others".to_owned()),
                        ));
                    }
                }
                row
            }
            None => {
                let name = match &open {
                    WhichSession::Named(name) => name.clone(),
                    WhichSession::FromWords(words) => {
                        db.free_name(&session::name_from_words(words))?
                    }
                    WhichSession::Last => unreachable!("the last session was found"),
                };
                let row = start(&shared, &db, &name, &new, &mut notices)?;
                if let WhichSession::FromWords(words) = &open {
                    db.begin_title(row.id, words)?;
                }
                if let Some(setup) = &new.setup {
                    notices.extend(setup.notices.iter().cloned());
                }
                row
            }
        };
        let named = row;
        let row = db.newest(named.clone(), &|session| fits(&shared, session))?;
        if row.id != named.id {
            let why = match fits(&shared, &named) {
                true => "was compressed",
                false => "was made with another vocabulary or chat template",
            };
            let text = format!("session {} {why}; it goes on as {}", named.name, row.name);
            notices.push((text, None));
        }
        let lock = Lock::session(&shared.options.home, row.id)?;
        let mut here = Conversation::read(shared, passes, db, lock, row, resumed)?;
        here.notices = notices;
        here.check_tokens()?;
        here.count_decoded()?;
        here.look_for_moved();
        here.freeze_thinking()?;
        here.say_what_is_kept();
        here.mend()?;
        if !fits(&here.shared, &here.row) {
            here = here.child(&new)?;
        }
        here.close_calls()?;
        if let Some(file) = &here.shared.file {
            here.db.remember_model(here.row.id, file)?;
        }
        if here.row.runs_tools && !std::path::Path::new(&here.row.folder).is_dir() {
            here.notices.push((
                format!("the project folder {} is gone", here.row.folder),
                Some("tools that need it will say so".to_owned()),
            ));
        }
        Ok(here)
    }
}

impl Engine {
    /// Opens a conversation, or starts one.
    ///
    /// # Errors
    /// When its name is not usable, another process has it, or npast.db fails.
    pub fn conversation(
        &self,
        open: WhichSession,
        new: NewSession,
    ) -> Result<Conversation, AgentError> {
        self.conversation_with(Arc::new(Alone(self.slot())), open, new)
    }

    /// The same for a conversation that shares the slot with others: `passes` says when it may use
    /// it.
    ///
    /// # Errors
    /// As [`Engine::conversation`].
    pub fn conversation_with(
        &self,
        passes: Arc<dyn Passes>,
        open: WhichSession,
        new: NewSession,
    ) -> Result<Conversation, AgentError> {
        Conversation::open(self.shared().clone(), passes, open, new)
    }

    /// The stored session that [`Engine::conversation`] would go on with, if there is one: the newest
    /// that continues the one that is meant.
    ///
    /// # Errors
    /// When npast.db fails.
    pub fn stored(&self, open: &WhichSession, folder: &str) -> Result<Option<Session>, AgentError> {
        let db = Db::open(&self.shared().options.home.join("npast.db"))?;
        let named = match open {
            WhichSession::Named(name) => db.find(name)?,
            WhichSession::Last => db.last_in_folder(folder)?,
            WhichSession::FromWords(_) => None,
        };
        let here = |session: &Session| fits(self.shared(), session);
        let newest = named.map(|named| db.newest(named, &here));
        Ok(newest.transpose()?)
    }
}

/// Whether a session can be opened, checked before weights are loaded: its name is a name, and no
/// other process has it. From here on, until what is returned is dropped, the kernel reads the
/// files that a restore of it will want.
///
/// # Errors
/// As [`crate::agent::Engine::conversation`] would give them.
pub fn preflight(
    options: &Options,
    open: &WhichSession,
    folder: &str,
) -> Result<Option<Warming>, AgentError> {
    let db = Db::open(&options.home.join("npast.db"))?;
    let found = match open {
        WhichSession::Named(name) => {
            session::check_name(name).map_err(session::DbError::from)?;
            db.find(name)?
        }
        WhichSession::Last => db.last_in_folder(folder)?,
        WhichSession::FromWords(_) => None,
    };
    let Some(named) = found else {
        return Ok(None);
    };
    // Under the same vocabulary and template: which others there are the model will say.
    let (vocab, template) = (named.vocab, named.template);
    let alike = |s: &Session| s.vocab == vocab && s.template == template;
    let row = db.newest(named, &alike)?;
    drop(Lock::session(&options.home, row.id)?);
    let owner = kv_owner(row.id);
    Ok(options
        .store_kv
        .then(|| kv::warm(&options.home.join("kv"), &owner)))
}
