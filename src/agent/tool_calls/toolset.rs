//! The tools of an open session and all that a call of one needs. The list of tools was frozen with
//! the session; this process has the programs that serve them.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::Value;

use crate::agent::conversation::handle::Conversation;
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::approve::CallDenial;
use crate::chat::message::ToolCall;
use crate::chat::names;
use crate::session::{SessionId, now_ms};
use crate::tools::{
    AskedFile, CallContext, Effect, FileChange, ForeseenRefusal, LiveOutput, Registry,
    ResultLimits, Results, Secrets, Subject, Tool, ToolAnswer, ToolHost, results,
};

use super::host::Host;
use super::rounds::Budget;
use super::steering::Steering;
use super::temp::{self, OtherFolders};

/// Most bytes of a file that is compared only to show afterwards what was changed.
const MAX_UNASKED: usize = 1 << 20;

/// Decides whether a call may run. It may ask a person, and takes as long as that takes.
pub trait CallGate {
    /// Called for each call just before it would run, in call order. Gives what was judged: the
    /// call is refused if it is about something else when it runs.
    ///
    /// # Errors
    /// Why it may not.
    fn pass(&mut self, call: &GatedCall<'_>) -> Result<Subject, CallDenial>;

    /// How long a person was asked since this was called last.
    fn waited(&mut self) -> Duration {
        Duration::ZERO
    }
}

/// A call that a gate decides about.
pub struct GatedCall<'a> {
    /// Its tool.
    pub tool: &'a dyn Tool,
    /// Its arguments, which the tool takes.
    pub arguments: &'a Value,
    /// Where it would run.
    room: CallContext<'a>,
    /// Somebody looked what it would change.
    foreseen: Cell<bool>,
    /// The file as it was then.
    asked: RefCell<Option<AskedFile>>,
}

impl<'a> GatedCall<'a> {
    pub(in crate::agent) fn new(
        tool: &'a dyn Tool,
        arguments: &'a Value,
        room: CallContext<'a>,
    ) -> GatedCall<'a> {
        GatedCall {
            tool,
            arguments,
            room,
            foreseen: Cell::new(false),
            asked: RefCell::new(None),
        }
    }

    /// What the call would change in a file, if that is what it does; for the question about it. When the
    /// call runs, it changes the file only if that still is what it is now.
    ///
    /// # Errors
    /// It would be refused whatever the answer is.
    pub fn foresee(&self) -> Result<Option<FileChange>, ForeseenRefusal> {
        self.foreseen.set(true);
        let change = self.tool.foresee(self.arguments, &self.room)?;
        *self.asked.borrow_mut() = change.as_ref().map(FileChange::asked);
        Ok(change)
    }

    /// For [`CallContext::asked`].
    pub(in crate::agent) fn asked(&self) -> Option<AskedFile> {
        self.asked.borrow().clone()
    }

    /// What the call is about to change in a file, where nobody has looked yet and it is not too much to
    /// be compared for it.
    pub(in crate::agent) fn unseen_change(&self) -> Option<FileChange> {
        if self.foreseen.get() || self.tool.effect(self.arguments) != Effect::Writes {
            return None;
        }
        let change = self.tool.foresee(self.arguments, &self.room).ok()??;
        (change.bytes() <= MAX_UNASKED).then_some(change)
    }
}

/// The tools of a session.
pub struct Toolset<'a> {
    /// The session that `host` looks at.
    session: SessionId,
    pub(in crate::agent) registry: Registry,
    pub(in crate::agent) project: PathBuf,
    pub(in crate::agent) temp: PathBuf,
    pub(in crate::agent) results: Results,
    pub(in crate::agent) secret: Secrets,
    pub(in crate::agent) host: Box<dyn ToolHost>,
    pub(in crate::agent) gate: Box<dyn CallGate + 'a>,
    /// How much of a result the model sees.
    pub limits: ResultLimits,
    /// What one turn may take.
    pub budget: Budget,
    /// What the user says meanwhile.
    pub steering: Steering,
}

impl Conversation {
    /// The tools that this session was started with, served by those of `live` that have the same
    /// name; nothing where the session's tools are a caller's, or there are none. The data folder is
    /// closed to them besides `secret`.
    ///
    /// # Errors
    /// When npast.db or the session's temporary folder cannot be had, or the stored tools cannot be
    /// read.
    pub fn toolset<'a>(
        &self,
        live: Vec<Box<dyn Tool>>,
        gate: Box<dyn CallGate + 'a>,
        secret: Secrets,
    ) -> Result<Option<Toolset<'a>>, AgentError> {
        let (true, Some(specs)) = (self.row.runs_tools, &self.row.tools) else {
            return Ok(None);
        };
        let home = &self.shared.options.home;
        let secret = secret.own(home);
        let registry = Registry::frozen(&names::true_tools(specs), live)
            .map_err(|e| AgentError::new(ErrorKind::Session, e.to_string()))?;
        temp::sweep(home, self.temp_session()?, &self.db, now_ms());
        let temp = self.temp_folder()?;
        let beside = OtherFolders {
            home: home.clone(),
            own: self.temp_session()?,
            most: temp::MOST,
        };
        Ok(Some(Toolset {
            session: self.row.id,
            registry,
            project: PathBuf::from(&self.row.folder),
            results: Results::new(&temp, results::MOST, Some(Box::new(beside))),
            temp,
            host: Box::new(Host::of(home, self.row.id, &secret)?),
            secret,
            gate,
            limits: ResultLimits::default(),
            budget: Budget::default(),
            steering: Steering::default(),
        }))
    }
}

impl Toolset<'_> {
    /// Serves the session that a compression made of the one before.
    ///
    /// # Errors
    /// When npast.db cannot be had.
    pub(in crate::agent) fn follow(&mut self, talk: &Conversation) -> Result<(), AgentError> {
        if self.session != talk.row.id {
            let home = &talk.shared.options.home;
            self.host = Box::new(Host::of(home, talk.row.id, &self.secret)?);
            self.session = talk.row.id;
        }
        Ok(())
    }

    /// Runs one call, if it may run: its arguments are checked, and the gate is asked.
    pub(in crate::agent) fn run_one(
        &mut self,
        call: &ToolCall,
        id: &str,
        cancel: &AtomicBool,
    ) -> ToolAnswer {
        let arguments = self.registry.coerced(&call.name, &call.arguments);
        let live = LiveOutput::default();
        let room = CallContext {
            project: &self.project,
            temp: &self.temp,
            results: &self.results,
            secret: &self.secret,
            limits: self.limits,
            granted: None,
            asked: None,
            call: id,
            cancel,
            live: &live,
            host: &*self.host,
        };
        if let Err(why) = self.registry.check(&call.name, &arguments) {
            return ToolAnswer::bad(why);
        }
        let Some(tool) = self.registry.get(&call.name) else {
            return ToolAnswer::bad(format!("There is no tool {}.", call.name));
        };
        let gated = GatedCall::new(tool, &arguments, room);
        let granted = match self.gate.pass(&gated) {
            Ok(granted) => granted,
            Err(denial) => return ToolAnswer::bad(denial.to_model()),
        };
        let asked = gated.asked();
        let room = CallContext {
            granted: Some(&granted),
            asked: asked.as_ref(),
            ..room
        };
        self.registry.run(&call.name, &arguments, &room)
    }

    /// What the tools are called, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.registry.tools().map(|tool| tool.spec().name.as_str())
    }
}

impl Conversation {
    /// The session whose temporary folder this one uses: the first of those that were compressed to it, so
    /// that long results that the last messages name are where they were.
    fn temp_session(&self) -> Result<SessionId, AgentError> {
        Ok(self.db.results_of(self.row.id)?)
    }

    /// The session's temporary folder, made if it is missing: private, and gone with the session.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn temp_folder(&self) -> Result<PathBuf, AgentError> {
        let home = &self.shared.options.home;
        let id = self.temp_session()?;
        temp::open(home, id).map_err(|e| {
            let temp = temp::folder(home, id.0);
            AgentError::new(
                ErrorKind::Session,
                format!("the folder {} cannot be made: {e}", temp.display()),
            )
            .hinted("make the data folder writable, or set NPAST_HOME to another one")
        })
    }
}
