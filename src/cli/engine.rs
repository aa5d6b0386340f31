//! From settings to an open engine and conversation: everything that can be refused is refused
//! before a model is loaded.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use super::args::TalkArgs;
use super::error::Failure;
use super::interrupt::Interrupt;
use super::output::{ProgressLine, notice};
use super::{CliContext, input, models};
use crate::agent::{
    Engine, Info, Leeway, NewSession, Options, TurnOptions, WhichSession, preflight,
};
use crate::chat::ReplyScript;
use crate::config::{Places, Settings};
use crate::ledger::Finish;
use crate::llama::bridge::MAX_TEMPLATE_BYTES;
use crate::service::{OpenSession, Projects, Service, SessionOpening, SharedTools};
use crate::session::{self, Db, MessageState, SessionId, StoredMessage, check_name};

/// A run that is ready to load its model.
pub struct Start {
    /// Which session; `None` is a new one, named from its first words.
    pub open: Option<WhichSession>,
    /// How turns run.
    pub turn: TurnOptions,
    /// Prepared replies.
    pub script: Option<ReplyScript>,
    options: Options,
    new: NewSession,
    /// Whether a session that starts gets npast's tools.
    agent: bool,
    /// Used only when a session starts.
    typed_seed: Option<u64>,
    projects: Arc<Projects>,
    /// What serves the tools of the session that is to be opened, until it is.
    first: Option<SharedTools>,
}

impl Start {
    /// Checks and reads what the run needs besides the model.
    ///
    /// # Errors
    /// Wrong usage: a session name, a file, a model that is not there.
    pub fn new(run: &CliContext, talk: &TalkArgs, settings: Settings) -> Result<Start, Failure> {
        let folder = std::env::current_dir()
            .map_err(|e| Failure::failed("io", format!("the current folder is gone: {e}")))?
            .to_string_lossy()
            .into_owned();
        let open = match &talk.session {
            Some(name) => {
                check_name(name).map_err(|e| {
                    Failure::usage(
                        e.to_string(),
                        "choose a short name, such as `work` or `fix-the-parser`",
                    )
                })?;
                Some(WhichSession::Named(name.clone()))
            }
            None if talk.last => Some(WhichSession::Last),
            None => None,
        };
        let stored = stored(&run.places, open.as_ref(), &folder)?;
        if matches!(open, Some(WhichSession::Last)) && stored.is_none() {
            return Err(Failure::usage(
                "no session was started in this folder yet",
                "leave -c away to start one; `npast sessions list` shows those of other folders",
            ));
        }
        let system = settings.system.as_deref();
        let system = system.map(|given| input::text_or_file(given, "the system prompt"));
        let tools = talk.tools.as_deref().map(input::tools);
        let system = system.transpose()?;
        let new = NewSession {
            folder,
            system,
            tools: tools.transpose()?,
            seed: settings.seed,
            setup: None,
        };
        let usual = stored.as_ref().map(|session| session.model.as_str());
        let settings = with_a_model(run, settings, usual)?;
        let mut options = options(run, &settings, usual)?;
        options.leeway.session = length(&run.places, stored.as_ref())?;
        let script = talk.script.as_deref().map(script).transpose()?;
        let projects = Arc::new(Projects::new(run.places.clone(), settings.clone()));
        // Last, since it may start programs; while they come up the model is loaded.
        let folder = match &stored {
            Some(session) => session.runs_tools.then_some(&session.folder),
            None => talk.agent.then_some(&new.folder),
        };
        let first = folder.map(|folder| projects.get(Path::new(folder)));
        Ok(Start {
            turn: TurnOptions {
                sampling: settings.sampling.clone(),
                max_tokens: settings.max_tokens,
                stop: settings.stop.clone(),
                compress: settings.compress,
                ..TurnOptions::default()
            },
            script,
            new,
            typed_seed: talk.seed,
            options,
            agent: talk.agent,
            projects,
            first,
            open,
        })
    }

    /// Loads the model and waits for servers of tools. Its notices are printed here, once.
    ///
    /// # Errors
    /// The engine's; [`Failure::interrupted`] after Ctrl-C.
    pub fn load(
        &self,
        interrupt: &Interrupt,
        progress: &mut ProgressLine,
    ) -> Result<Service, Failure> {
        // The files of stored KV are read while weights load.
        let _warming = match &self.open {
            Some(open) => preflight(&self.options, open, &self.new.folder)?,
            None => None,
        };
        let engine = load(&self.options, interrupt, progress)?;
        while !self.projects.are_there() {
            progress.servers();
            interrupt.check()?;
        }
        progress.clear();
        let service = Service::new(engine, self.projects.clone(), true);
        say_notices(&service);
        Ok(service)
    }

    /// Opens the session, a new one named from `words`, and says what of this run's flags it does
    /// not take. Where no user attends, a call that needs a question is refused.
    ///
    /// # Errors
    /// The engine's.
    pub fn session(
        &mut self,
        service: &Service,
        words: &str,
        attended: bool,
    ) -> Result<OpenSession, Failure> {
        let open = match &self.open {
            Some(open) => open.clone(),
            None => WhichSession::FromWords(words.to_owned()),
        };
        self.named(service, open, attended)
    }

    /// Opens a session; see [`Start::session`]. One that starts gets the prompt and the tools of this
    /// moment.
    ///
    /// # Errors
    /// The engine's.
    pub fn named(
        &mut self,
        service: &Service,
        open: WhichSession,
        attended: bool,
    ) -> Result<OpenSession, Failure> {
        let session = service.open(SessionOpening {
            open,
            new: self.new.clone(),
            agent: self.agent,
            attended,
            script: self.script.clone(),
        })?;
        self.first = None;
        self.projects.sweep();
        say_notices(service);
        let info = session.info();
        if info.resumed {
            self.say_what_is_frozen(&info)?;
        }
        Ok(session)
    }

    /// What the kernel really keeps the programs of a new session's tools from; nothing where it has
    /// no tools.
    pub fn held_back(&self) -> Option<String> {
        let live = self.first.as_ref()?;
        let live = live.lock().unwrap_or_else(PoisonError::into_inner);
        Some(live.held_back().to_owned())
    }

    /// Of the system prompt and the tools the engine says it.
    fn say_what_is_frozen(&self, info: &Info) -> Result<(), Failure> {
        let Some(seed) = self.typed_seed else {
            return Ok(());
        };
        let session = Db::open(&self.projects.places().db())?.get(SessionId(info.id))?;
        if session.seed != seed {
            notice(
                &format!(
                    "session {} keeps the seed it was started with, {}",
                    info.name, session.seed
                ),
                Some("start another session to use another"),
            );
        }
        Ok(())
    }

    /// Whether the stored session has a message that waits for its answer.
    ///
    /// # Errors
    /// The database's.
    pub fn has_open_message(&self) -> Result<bool, Failure> {
        let places = self.projects.places();
        let session = stored(places, self.open.as_ref(), &self.new.folder)?;
        let Some(session) = session else {
            return Ok(false);
        };
        let messages = Db::open(&places.db())?.messages(session.id)?;
        let last = messages.into_iter().next_back();
        // Calls without results get them when the session is opened.
        let called = |m: &StoredMessage| session.runs_tools && m.finish == Some(Finish::ToolCalls);
        Ok(last.is_some_and(|m| m.state == MessageState::Open || called(&m)))
    }
}

/// The settings, with a model that somebody chose now where there was none.
///
/// # Errors
/// When none was chosen.
pub fn with_a_model(
    run: &CliContext,
    settings: Settings,
    usual: Option<&str>,
) -> Result<Settings, Failure> {
    let places = models::places(run);
    let has_one = settings.model.is_some()
        || settings.default_model.is_some()
        || usual.is_some_and(|name| places.with_file_name(name).is_some());
    let model = match has_one {
        true => settings.model,
        false => models::offer(run, &places)?,
    };
    Ok(Settings { model, ..settings })
}

/// What the engine is opened with. The model is the one that the user named, else `usual` (the
/// session's own) if this machine has it, else the configuration file's, else the default one, else
/// the only one.
///
/// # Errors
/// Wrong usage: no model, no such file, a template that cannot be read.
pub fn options(
    run: &CliContext,
    settings: &Settings,
    usual: Option<&str>,
) -> Result<Options, Failure> {
    let template = settings
        .chat_template
        .as_deref()
        .map(template)
        .transpose()?;
    let places = models::places(run);
    let own = usual.and_then(|name| places.with_file_name(name));
    let own = own.map(|found| found.path);
    let model = settings
        .model
        .as_deref()
        .or(own.as_deref())
        .or(settings.default_model.as_deref());
    let model = models::find(model, &places)?;
    Ok(Options {
        home: run.places.home.clone(),
        model,
        weights: settings.weights.clone(),
        limit: settings.limit,
        context: settings.context.clone(),
        leeway: Leeway {
            cache: !settings.cache_given,
            session: 0,
        },
        ubatch: settings.ubatch,
        policy: settings.policy,
        store_kv: settings.store_kv,
        kv_quota: settings.kv_quota,
        chat_template: template,
        thinking: settings.thinking,
        apart: Some(super::apart::own()),
    })
}

/// Opens an engine with a progress bar; Ctrl-C stops it.
///
/// # Errors
/// The engine's; [`Failure::interrupted`] after Ctrl-C.
pub fn load(
    options: &Options,
    interrupt: &Interrupt,
    progress: &mut ProgressLine,
) -> Result<Engine, Failure> {
    let opened = Engine::open(options, &mut |stage| {
        progress.stage(&stage);
        !interrupt.asked()
    });
    progress.clear();
    interrupt.check()?;
    Ok(opened?)
}

/// The stored session that a run goes on with, if there is one already.
fn stored(
    places: &Places,
    open: Option<&WhichSession>,
    folder: &str,
) -> Result<Option<session::Session>, Failure> {
    let path = places.db();
    if open.is_none() || !path.is_file() {
        return Ok(None);
    }
    let db = Db::open(&path)?;
    Ok(match open {
        Some(WhichSession::Named(name)) => db.find(name)?,
        Some(WhichSession::Last) => db.last_in_folder(folder)?,
        Some(WhichSession::FromWords(_)) | None => None,
    })
}

/// What the engine and the servers have to say.
fn say_notices(service: &Service) {
    for (text, hint) in service.notices() {
        notice(&text, hint.as_deref());
    }
}

/// Tokens of a stored session.
fn length(places: &Places, of: Option<&session::Session>) -> Result<usize, Failure> {
    Ok(match of {
        Some(session) => Db::open(&places.db())?.length(session.id)?,
        None => 0,
    })
}

fn script(path: &Path) -> Result<ReplyScript, Failure> {
    Ok(ReplyScript::load(path)?)
}

fn template(path: &Path) -> Result<String, Failure> {
    let text = input::file(path, "the chat template")?;
    if text.len() > MAX_TEMPLATE_BYTES {
        return Err(Failure::usage(
            format!(
                "the chat template in {} has {} bytes, and {MAX_TEMPLATE_BYTES} are taken",
                path.display(),
                text.len()
            ),
            "a chat template is a Jinja file of some kilobytes",
        ));
    }
    Ok(text)
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
