//! From settings to an open engine and conversation: everything that can be refused is refused
//! before a model is loaded.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use super::args::TalkArgs;
use super::error::Failure;
use super::interrupt::Interrupt;
use super::output::{ProgressLine, notice};
use super::through::Through;
use super::{CliContext, input, models};
use crate::agent::{
    Engine, Info, Leeway, NewSession, Options, TurnOptions, WhichSession, preflight,
};
use crate::approve::Approve;
use crate::attach::{self, Joining, Serving, Talking};
use crate::chat::ReplyScript;
use crate::config::{Places, Settings};
use crate::ledger::Finish;
use crate::llama::bridge::MAX_TEMPLATE_BYTES;
use crate::service::{Projects, Service, SharedTools, Tooling};
use crate::session::{self, Db, MessageState, SessionId, StoredMessage, check_name};

/// A run that is ready to load its model, or to work through the gateway.
pub struct Start {
    /// Which session; `None` is a new one, named from its first words.
    pub open: Option<WhichSession>,
    /// How turns run.
    pub turn: TurnOptions,
    /// Prepared replies.
    script: Option<ReplyScript>,
    new: NewSession,
    /// Whether a session that starts gets npast's tools.
    agent: bool,
    /// The user wants none.
    no_tools: bool,
    /// Used only when a session starts.
    typed_seed: Option<u64>,
    tooling: Tooling,
    places: Places,
    way: ModelPlace,
}

/// Where the model is.
enum ModelPlace {
    /// It will be in this process.
    Here(Box<OwnModel>),
    /// It is in the gateway.
    There(Box<Through>),
}

/// What this process needs to load its own.
struct OwnModel {
    options: Options,
    projects: Arc<Projects>,
    /// Whether something is done while nobody waits.
    idle: bool,
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
        let script = talk.script.as_deref().map(script).transpose()?;
        let turn = turn_options(&settings);
        let tooling = Tooling::of(&settings);
        let no_tools = settings.no_tools;
        let gateway = match talk.alone {
            true => None,
            false => attach::find(&run.places.home)?,
        };
        let way = match gateway {
            Some(greeting) => {
                let replies = talk.script.as_deref();
                let replies = replies.map(|path| input::file(path, "the script"));
                ModelPlace::There(Box::new(Through::new(
                    run,
                    greeting,
                    &settings,
                    stored.as_ref(),
                    replies.transpose()?,
                )?))
            }
            None => ModelPlace::Here(Box::new(OwnModel::new(
                run,
                talk,
                settings,
                stored,
                &new.folder,
            )?)),
        };
        Ok(Start {
            turn,
            script,
            new,
            typed_seed: talk.seed,
            agent: talk.agent,
            no_tools,
            tooling,
            places: run.places.clone(),
            way,
            open,
        })
    }

    /// Loads the model and waits for servers of tools, or greets the gateway. Notices are said here,
    /// once.
    ///
    /// # Errors
    /// The engine's; the gateway serves another model; [`Failure::interrupted`] after Ctrl-C.
    pub fn load(
        &mut self,
        interrupt: &Interrupt,
        progress: &mut ProgressLine,
    ) -> Result<Serving, Failure> {
        let own = match &mut self.way {
            ModelPlace::Here(own) => own,
            ModelPlace::There(through) => {
                let peer = through.greet(interrupt, progress)?;
                return Ok(Serving::There(Box::new(peer)));
            }
        };
        // Its files are read while weights load.
        let _warming = match &self.open {
            Some(open) => preflight(&own.options, open, &self.new.folder)?,
            None => None,
        };
        let engine = load(&own.options, interrupt, progress)?;
        while !own.projects.are_there() {
            progress.servers();
            interrupt.check()?;
        }
        progress.clear();
        let serving = Serving::Here(Service::new(engine, own.projects.clone(), own.idle));
        say_notices(&serving);
        Ok(serving)
    }

    /// Opens the session, a new one named from `words`, and says what of this run's flags it does
    /// not take. Where no user attends, a call that needs a question is refused.
    ///
    /// # Errors
    /// The engine's.
    pub fn session(
        &mut self,
        serving: &Serving,
        words: &str,
        attended: bool,
    ) -> Result<Talking, Failure> {
        let open = match &self.open {
            Some(open) => open.clone(),
            None => WhichSession::FromWords(words.to_owned()),
        };
        self.named(serving, open, attended)
    }

    /// Opens a session; see [`Start::session`]. One that starts gets the prompt and the tools of this
    /// moment.
    ///
    /// # Errors
    /// The engine's.
    pub fn named(
        &mut self,
        serving: &Serving,
        open: WhichSession,
        attended: bool,
    ) -> Result<Talking, Failure> {
        let wanted = Joining {
            open,
            new: self.new.clone(),
            agent: self.agent,
            attended,
            tooling: self.tooling.clone(),
            script: match &self.way {
                ModelPlace::Here(_) => None,
                ModelPlace::There(through) => through.replies.clone(),
            },
        };
        let session = serving.open(wanted, self.script.as_ref())?;
        if let ModelPlace::Here(own) = &mut self.way {
            own.first = None;
            own.projects.sweep();
        }
        say_notices(serving);
        let info = session.info();
        if info.resumed {
            self.say_what_is_frozen(&info)?;
        }
        Ok(session)
    }

    /// Whether a session that has just started has no tools though it could have had them: nobody said that
    /// it should have none.
    pub fn lacks_tools(&self, session: &Talking) -> bool {
        let info = session.info();
        let chosen = self.new.tools.is_some() || self.new.system.is_some() || self.no_tools;
        !info.resumed && !info.runs_tools && !chosen
    }

    /// What happens to calls that no rule speaks of, in the next turn.
    pub fn policy(&self) -> Approve {
        self.turn.approve.unwrap_or(self.tooling.approve)
    }

    /// What the kernel really keeps the programs of a new session's tools from; nothing where it has
    /// no tools.
    pub fn held_back(&self) -> Option<String> {
        let ModelPlace::Here(own) = &self.way else {
            return None;
        };
        let live = own.first.as_ref()?;
        let live = live.lock().unwrap_or_else(PoisonError::into_inner);
        Some(live.held_back().to_owned())
    }

    /// Whether a session that starts gets npast's tools.
    pub fn is_agent(&self) -> bool {
        self.agent
    }

    /// The folder of a session that starts.
    pub fn folder(&self) -> &str {
        &self.new.folder
    }

    /// Of the system prompt and the tools the engine says it.
    fn say_what_is_frozen(&self, info: &Info) -> Result<(), Failure> {
        let Some(seed) = self.typed_seed else {
            return Ok(());
        };
        let session = Db::open(&self.places.db())?.get(SessionId(info.id))?;
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
        let places = &self.places;
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

impl OwnModel {
    fn new(
        run: &CliContext,
        talk: &TalkArgs,
        settings: Settings,
        stored: Option<session::Session>,
        here: &String,
    ) -> Result<OwnModel, Failure> {
        let own = own_model(run, &settings, stored.as_ref())?;
        let settings = with_a_model(run, settings, own.as_deref())?;
        let mut options = options(run, &settings, own.as_deref())?;
        options.leeway.session = length(&run.places, stored.as_ref())?;
        let idle = settings.idle;
        let projects = Arc::new(Projects::new(run.places.clone(), settings));
        // Last, since it may start programs; while they come up the model is loaded.
        let folder = match &stored {
            Some(session) => session.runs_tools.then_some(&session.folder),
            None => talk.agent.then_some(here),
        };
        let first = folder.map(|folder| projects.get(Path::new(folder)));
        Ok(OwnModel {
            options,
            projects,
            idle,
            first,
        })
    }
}

/// The file of a stored session's own model, where the user names none.
///
/// # Errors
/// As [`models::of_session`].
pub fn own_model(
    run: &CliContext,
    settings: &Settings,
    stored: Option<&session::Session>,
) -> Result<Option<PathBuf>, Failure> {
    match stored {
        Some(session) if settings.model.is_none() => {
            let db = Db::open(&run.places.db())?;
            models::of_session(&db, session, &models::places(run))
        }
        _ => Ok(None),
    }
}

/// The settings, with a model that somebody chose now where there was none.
///
/// # Errors
/// When none was chosen.
pub fn with_a_model(
    run: &CliContext,
    settings: Settings,
    own: Option<&Path>,
) -> Result<Settings, Failure> {
    let places = models::places(run);
    let has_one = settings.model.is_some() || settings.default_model.is_some() || own.is_some();
    let model = match has_one {
        true => settings.model,
        false => models::offer(run, &places)?,
    };
    Ok(Settings { model, ..settings })
}

/// What the engine is opened with. The model is the one that the user named, else `own` (the file of the
/// session's own), else the configuration file's, else the default one, else the only one.
///
/// # Errors
/// Wrong usage: no model, no such file, a template that cannot be read.
pub fn options(
    run: &CliContext,
    settings: &Settings,
    own: Option<&Path>,
) -> Result<Options, Failure> {
    let template = settings
        .chat_template
        .as_deref()
        .map(template)
        .transpose()?;
    let places = models::places(run);
    let model = settings
        .model
        .as_deref()
        .or(own)
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
        shift: settings.shift,
        store_kv: settings.store_kv,
        kv_quota: settings.kv_quota,
        chat_template: template,
        thinking: settings.thinking,
        apart: Some(super::apart::own()),
    })
}

/// How turns run.
pub fn turn_options(settings: &Settings) -> TurnOptions {
    TurnOptions {
        sampling: settings.sampling.clone(),
        max_tokens: settings.max_tokens,
        stop: settings.stop.clone(),
        compress: settings.compress,
        repeats: settings.stop_repeats,
        ..TurnOptions::default()
    }
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
fn say_notices(serving: &Serving) {
    for (text, hint) in serving.notices() {
        notice(&text, hint.as_deref());
    }
}

/// Tokens of a stored session.
///
/// # Errors
/// The database's.
pub fn length(places: &Places, of: Option<&session::Session>) -> Result<usize, Failure> {
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
