//! From settings to an open engine and conversation: everything that can be refused is refused
//! before a model is loaded.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::TalkArgs;
use super::error::Failure;
use super::interrupt::Interrupt;
use super::keyboard::Keyboard;
use super::output::{Progress, notice};
use super::{Run, agent, input, models};
use crate::agent::{
    Budget, Conversation, Engine, Info, NewSession, Open, Options, Toolset, TurnOptions, preflight,
};
use crate::chat::Script;
use crate::config::{Approve, Places, Settings, Tables};
use crate::ledger::Finish;
use crate::llama::bridge::MAX_TEMPLATE_BYTES;
use crate::session::{Db, Message, Session, SessionId, State, check_name};

/// A run that is ready to load its model.
pub struct Start {
    /// Which session; `None` is a new one, named from its first words.
    pub open: Option<Open>,
    /// How turns run.
    pub turn: TurnOptions,
    /// Prepared replies.
    pub script: Option<Script>,
    options: Options,
    new: NewSession,
    /// It only counts when a session starts.
    typed_seed: Option<u64>,
    db: PathBuf,
    approve: Approve,
    sandbox_off: bool,
    tables: Tables,
    budget: Budget,
}

impl Start {
    /// Checks and reads what the run needs besides the model.
    ///
    /// # Errors
    /// Wrong usage: a session name, a file, a model that is not there.
    pub fn new(run: &Run, talk: &TalkArgs, settings: Settings) -> Result<Start, Failure> {
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
                Some(Open::Named(name.clone()))
            }
            None if talk.last => Some(Open::Last),
            None => None,
        };
        let stored = stored(&run.places, open.as_ref(), &folder)?;
        if matches!(open, Some(Open::Last)) && stored.is_none() {
            return Err(Failure::usage(
                "no session was started in this folder yet",
                "leave -c away to start one; `npast sessions list` shows those of other folders",
            ));
        }
        let system = settings.system.as_deref();
        let system = system.map(|given| input::text_or_file(given, "the system prompt"));
        let tools = talk.tools.as_deref().map(input::tools);
        let system = system.transpose()?;
        let mut new = NewSession {
            folder,
            system,
            tools: tools.transpose()?,
            seed: settings.seed,
            setup: None,
        };
        if talk.agent && !settings.servers.is_empty() {
            let names: Vec<&str> = settings.servers.iter().map(|s| s.name.as_str()).collect();
            notice(
                &format!(
                    "the MCP servers in the configuration ({}) are not started by this version",
                    names.join(", ")
                ),
                Some("sessions have npast's own tools only"),
            );
        }
        if talk.agent && stored.is_none() {
            let folder = Path::new(&new.folder);
            let system = new.system.take();
            let built = agent::setup(&run.places.home, folder, &settings, system.as_deref())?;
            new.setup = Some(built.0);
        }
        let usual = stored.as_ref().map(|session| session.model.as_str());
        Ok(Start {
            turn: TurnOptions {
                sampling: settings.sampling.clone(),
                max_tokens: settings.max_tokens,
                stop: settings.stop.clone(),
            },
            script: talk.script.as_deref().map(script).transpose()?,
            new,
            typed_seed: talk.seed,
            options: options(run, &settings, usual)?,
            approve: settings.approve,
            sandbox_off: settings.sandbox_off,
            tables: settings.tables.clone(),
            budget: settings.budget,
            db: run.places.db(),
            open,
        })
    }

    /// Loads the model. Its notices are said here, once.
    ///
    /// # Errors
    /// The engine's; [`Failure::interrupted`] after Ctrl-C.
    pub fn load(&self, interrupt: &Interrupt, progress: &mut Progress) -> Result<Engine, Failure> {
        // Its files are read while weights load.
        let _warming = match &self.open {
            Some(open) => preflight(&self.options, open, &self.new.folder)?,
            None => None,
        };
        let engine = load(&self.options, interrupt, progress)?;
        for (text, hint) in engine.notices() {
            notice(&text, hint.as_deref());
        }
        Ok(engine)
    }

    /// Opens the conversation, a new one named from `words`, and says what of this run's flags
    /// it does not take.
    ///
    /// # Errors
    /// The engine's.
    pub fn conversation(&self, engine: &Engine, words: &str) -> Result<Conversation, Failure> {
        let open = match &self.open {
            Some(open) => open.clone(),
            None => Open::FromWords(words.to_owned()),
        };
        self.named(engine, open)
    }

    /// Opens a conversation; see [`Start::conversation`].
    ///
    /// # Errors
    /// The engine's.
    pub fn named(&self, engine: &Engine, open: Open) -> Result<Conversation, Failure> {
        let conversation = engine.conversation(open, self.new.clone())?;
        let info = conversation.info();
        if info.resumed {
            self.say_what_is_frozen(&info)?;
        }
        Ok(conversation)
    }

    /// The tools of a conversation, if they are npast's to run. Without a keyboard nobody is asked.
    ///
    /// # Errors
    /// The engine's.
    pub fn toolset(
        &self,
        of: &Conversation,
        keyboard: Option<Arc<Keyboard>>,
    ) -> Result<Option<Toolset<'static>>, Failure> {
        let (info, home) = (of.info(), &self.options.home);
        if !info.runs_tools {
            return Ok(None);
        }
        let temp = of.temp_folder()?;
        let around = agent::Around {
            home,
            project: Path::new(&info.folder),
            temp: &temp,
            sandbox_off: self.sandbox_off,
            tables: &self.tables,
        };
        let (live, wall) = agent::live(&around);
        let gate = agent::Asking::new(self.approve, &around, wall, keyboard);
        let user = std::env::home_dir();
        let mut tools = of.toolset(live, Box::new(gate), user.as_deref())?;
        if let Some(tools) = &mut tools {
            tools.budget = self.budget;
        }
        Ok(tools)
    }

    /// Of the system prompt and the tools the engine says it.
    fn say_what_is_frozen(&self, info: &Info) -> Result<(), Failure> {
        let Some(seed) = self.typed_seed else {
            return Ok(());
        };
        let session = Db::open(&self.db)?.get(SessionId(info.id))?;
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
        if !self.db.is_file() {
            return Ok(false);
        }
        let db = Db::open(&self.db)?;
        let session = match &self.open {
            Some(Open::Named(name)) => db.find(name)?,
            Some(Open::Last) => db.last_in_folder(&self.new.folder)?,
            Some(Open::FromWords(_)) | None => None,
        };
        let Some(session) = session else {
            return Ok(false);
        };
        let last = db.messages(session.id)?.into_iter().next_back();
        // Calls without results get them when the session is opened.
        let called = |m: &Message| session.runs_tools && m.finish == Some(Finish::ToolCalls);
        Ok(last.is_some_and(|m| m.state == State::Open || called(&m)))
    }
}

/// What the engine is opened with. The model is the one that was asked for, else `usual` (the
/// session's own) if it lies in the models folder, else the configuration file's, else the only
/// one.
///
/// # Errors
/// Wrong usage: no model, no such file, a template that cannot be read.
pub fn options(run: &Run, settings: &Settings, usual: Option<&str>) -> Result<Options, Failure> {
    let template = settings
        .chat_template
        .as_deref()
        .map(template)
        .transpose()?;
    let folder = run.places.models();
    let own = usual.map(|name| folder.join(name)).filter(|p| p.is_file());
    let model = settings
        .model
        .as_deref()
        .or(own.as_deref())
        .or(settings.default_model.as_deref());
    let model = models::find(model, &folder)?;
    Ok(Options {
        home: run.places.home.clone(),
        model,
        weights: settings.weights.clone(),
        limit: settings.limit,
        context: settings.context.clone(),
        ubatch: settings.ubatch,
        policy: settings.policy,
        store_kv: settings.store_kv,
        kv_quota: settings.kv_quota,
        chat_template: template,
        thinking: settings.thinking,
    })
}

/// Opens an engine with a progress bar; Ctrl-C stops it.
///
/// # Errors
/// The engine's; [`Failure::interrupted`] after Ctrl-C.
pub fn load(
    options: &Options,
    interrupt: &Interrupt,
    progress: &mut Progress,
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
fn stored(places: &Places, open: Option<&Open>, folder: &str) -> Result<Option<Session>, Failure> {
    let path = places.db();
    if open.is_none() || !path.is_file() {
        return Ok(None);
    }
    let db = Db::open(&path)?;
    Ok(match open {
        Some(Open::Named(name)) => db.find(name)?,
        Some(Open::Last) => db.last_in_folder(folder)?,
        Some(Open::FromWords(_)) | None => None,
    })
}

fn script(path: &Path) -> Result<Script, Failure> {
    Ok(Script::load(path)?)
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
