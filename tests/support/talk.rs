//! A conversation as a user has it, on a tiny model, over as many processes as a test wants: a service
//! is opened, asked and dropped, and only the disk stays. [`turn`] and [`turn_with`] drive a bare
//! conversation instead: for stories that press Ctrl-C at one event, or look between two steps, which a
//! client that hears of them later cannot.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use npast::agent::{
    AgentError, Conversation, Done, Engine, ErrorKind, Event, Info, Input, NewSession, Options,
    Policy, Receipt, TurnEnd, TurnOptions, UndoneTurns, WhichSession,
};
use npast::chat::{Message, ReplyScript};
use npast::config::{ConfigLayer, Places, Settings};
use npast::ledger::Token;
use npast::llama::{ContextOptions, ModelOptions, Sampling};
use npast::service::{OpenSession, Projects, Request, Service, SessionOpening};
use npast::session::{Branch, Db};

use crate::model::{self, Class};

/// A user's machine: a data folder and a model.
pub struct Desk {
    pub home: PathBuf,
    pub model: PathBuf,
    pub limit: usize,
    pub policy: Policy,
    pub shift: bool,
    pub thinking: Option<bool>,
    pub system: Option<String>,
    pub tools: Option<serde_json::Value>,
    _keep: Option<tempfile::TempDir>,
}

/// What a turn said and cost.
#[derive(Default)]
pub struct Said {
    pub text: String,
    pub reasoning: String,
    pub calls: Vec<(String, serde_json::Value)>,
    pub receipts: Vec<Receipt>,
    pub notices: Vec<String>,
    pub prefill: Vec<(usize, usize)>,
    pub end: Option<TurnEnd>,
    pub info: Option<Info>,
}

impl Said {
    pub fn receipt(&self) -> &Receipt {
        assert_eq!(self.receipts.len(), 1, "one receipt a call");
        &self.receipts[0]
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Text { text } => self.text += &text,
            Event::Reasoning { text } => self.reasoning += &text,
            Event::ToolCall {
                name, arguments, ..
            } => self.calls.push((name, arguments)),
            Event::Receipt(receipt) => self.receipts.push(*receipt),
            Event::Notice { text, .. } => self.notices.push(text),
            Event::Prefill { done, total } => self.prefill.push((done, total)),
            _ => {}
        }
    }
}

impl Desk {
    pub fn new(class: Class, template: Option<&str>) -> Desk {
        Desk::with_model(&model::tiny_model(
            class,
            &model::Options {
                chat_template: template.or(Some(model::CHATML)),
                ..model::Options::default()
            },
        ))
    }

    pub fn with_model(path: &Path) -> Desk {
        let keep = tempfile::tempdir().expect("a folder");
        Desk {
            home: keep.path().join("home"),
            model: path.to_owned(),
            limit: 8192,
            policy: Policy::Exact,
            shift: false,
            thinking: None,
            system: None,
            tools: None,
            _keep: Some(keep),
        }
    }

    pub fn options(&self) -> Options {
        Options {
            home: self.home.clone(),
            model: self.model.clone(),
            weights: ModelOptions::default(),
            limit: Some(self.limit),
            context: ContextOptions::default(),
            leeway: Default::default(),
            ubatch: Some(64),
            policy: Some(self.policy),
            shift: Some(self.shift).filter(|on| *on),
            store_kv: true,
            kv_quota: None,
            chat_template: None,
            thinking: self.thinking,
            apart: None,
        }
    }

    pub fn engine(&self) -> Result<Engine, AgentError> {
        Engine::open(&self.options(), &mut |_| true)
    }

    pub fn new_session(&self) -> NewSession {
        NewSession {
            folder: "folder".to_owned(),
            system: self.system.clone(),
            tools: self.tools.clone(),
            seed: Some(7),
            setup: None,
        }
    }

    /// What a process of this machine is to its clients. Nothing is done while nobody waits.
    pub fn service(&self) -> Result<Service, AgentError> {
        self.service_with(false)
    }

    /// The same; with `idle` it uses the time in which nobody waits.
    pub fn service_with(&self, idle: bool) -> Result<Service, AgentError> {
        let places = Places {
            home: self.home.clone(),
            config: self.home.join("config.toml"),
            config_named: false,
        };
        let settings = Settings::new(ConfigLayer::default()).expect("settings");
        let projects = Arc::new(Projects::new(places, settings));
        Ok(Service::new(self.engine()?, projects, idle))
    }

    /// A session of a service, with prepared replies.
    pub fn session(
        &self,
        service: &Service,
        name: &str,
        script: Option<&ReplyScript>,
    ) -> Result<OpenSession, AgentError> {
        service.open(SessionOpening {
            open: WhichSession::Named(name.to_owned()),
            new: self.new_session(),
            agent: false,
            attended: false,
            script: script.cloned(),
        })
    }

    /// One turn in a process of its own.
    pub fn turn(
        &self,
        session: &str,
        input: Input,
        options: &TurnOptions,
        script: Option<&str>,
    ) -> Result<Said, AgentError> {
        let script = script.map(|text| ReplyScript::read(text.as_bytes()).expect("a script"));
        let service = self.service()?;
        let session = self.session(&service, session, script.as_ref())?;
        let said = say(&session, input, options);
        session.close().wait()?;
        said
    }
}

/// A turn of an open session, as its client hears it.
pub fn say(session: &OpenSession, input: Input, options: &TurnOptions) -> Result<Said, AgentError> {
    let options = options.clone();
    ask(session, Request::Say { input, options }).map(|(said, _)| said)
}

/// A request of an open session: what was said, and what it came to.
pub fn ask(session: &OpenSession, request: Request) -> Result<(Said, Done), AgentError> {
    let mut said = Said::default();
    for event in session.ask(request)? {
        match event {
            Event::Done(done) => {
                if let Done::Turn(end) = &done {
                    said.end = Some(end.clone());
                }
                said.info = Some(session.info());
                return Ok((said, done));
            }
            Event::Error {
                kind,
                message,
                hint,
                ..
            } => {
                let error = AgentError::new(ErrorKind::of_word(&kind), message);
                return Err(match hint {
                    Some(hint) => error.hinted(hint),
                    None => error,
                });
            }
            event => said.hear(event),
        }
    }
    panic!("a request ends with what it came to")
}

/// An open session whose client waits for each of its requests. It is closed, and on disk, when this is
/// dropped.
pub struct Talk {
    service: Service,
    session: OpenSession,
    new: NewSession,
    home: PathBuf,
}

impl Talk {
    pub fn open(service: &Service, desk: &Desk, name: &str) -> Result<Talk, AgentError> {
        Ok(Talk {
            session: desk.session(service, name, None)?,
            service: service.clone(),
            new: desk.new_session(),
            home: desk.home.clone(),
        })
    }

    /// A request; with `script` of a client that brings these replies.
    pub fn ask(
        &mut self,
        request: Request,
        script: Option<&ReplyScript>,
    ) -> Result<(Said, Done), AgentError> {
        let Some(script) = script else {
            return ask(&self.session, request);
        };
        let another = self.service.open(SessionOpening {
            open: WhichSession::Named(self.info().name),
            new: self.new.clone(),
            agent: false,
            attended: false,
            script: Some(script.clone()),
        })?;
        ask(&another, request)
    }

    pub fn turn(
        &mut self,
        input: Input,
        options: &TurnOptions,
        script: Option<&ReplyScript>,
    ) -> Result<Said, AgentError> {
        let options = options.clone();
        let request = Request::Say { input, options };
        self.ask(request, script).map(|(said, _)| said)
    }

    pub fn retry(
        &mut self,
        options: &TurnOptions,
        script: Option<&ReplyScript>,
    ) -> Result<Said, AgentError> {
        let options = options.clone();
        let request = Request::Retry { options };
        self.ask(request, script).map(|(said, _)| said)
    }

    pub fn undo(&mut self, turns: usize) -> Result<UndoneTurns, AgentError> {
        match self.ask(Request::Undo { turns }, None)?.1 {
            Done::Undone(taken) => Ok(taken),
            other => panic!("{other:?}"),
        }
    }

    pub fn edit(&mut self) -> Result<UndoneTurns, AgentError> {
        match self.ask(Request::Edit, None)?.1 {
            Done::Undone(taken) => Ok(taken),
            other => panic!("{other:?}"),
        }
    }

    pub fn redo(&mut self, branch: Option<i64>) -> Result<usize, AgentError> {
        match self.ask(Request::Redo { branch }, None)?.1 {
            Done::Redone { tokens } => Ok(tokens),
            other => panic!("{other:?}"),
        }
    }

    /// The session that was made, as npast.db has it.
    pub fn fork(
        &mut self,
        name: Option<&str>,
        keep: Option<usize>,
    ) -> Result<npast::session::Session, AgentError> {
        let name = name.map(str::to_owned);
        match self.ask(Request::Fork { name, keep }, None)?.1 {
            Done::Forked { name } => {
                let db = Db::open(&self.home.join("npast.db"))?;
                Ok(db.find(&name)?.expect("a session"))
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn last_text(&mut self) -> Option<String> {
        match self.ask(Request::Info, None).expect("what it is").1 {
            Done::Info { last_text, .. } => last_text,
            other => panic!("{other:?}"),
        }
    }

    pub fn info(&self) -> Info {
        self.session.info()
    }

    pub fn close(self) -> Result<(), AgentError> {
        self.session.close().wait()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.session.close().wait();
    }
}

/// A turn on an open conversation; `cancel_on` sees each event and says when to press Ctrl-C.
pub fn turn(
    talk: &mut Conversation,
    input: Input,
    options: &TurnOptions,
    mut script: Option<&mut ReplyScript>,
    cancel_on: &dyn Fn(&Event) -> bool,
) -> Result<Said, AgentError> {
    turn_with(talk, cancel_on, &mut |talk, cancel, on| {
        talk.turn(input.clone(), options, script.as_deref_mut(), cancel, on)
    })
}

/// Something that samples a reply on a conversation.
pub type Asked<'a> = &'a mut dyn FnMut(
    &mut Conversation,
    &Arc<AtomicBool>,
    &mut dyn FnMut(Event),
) -> Result<TurnEnd, AgentError>;

/// A turn, however it is asked for.
pub fn turn_with(
    talk: &mut Conversation,
    cancel_on: &dyn Fn(&Event) -> bool,
    ask: Asked<'_>,
) -> Result<Said, AgentError> {
    let cancel = Arc::new(AtomicBool::new(false));
    let mut said = Said::default();
    let flag = cancel.clone();
    let end = ask(talk, &cancel, &mut |event| {
        if cancel_on(&event) {
            flag.store(true, Ordering::Relaxed);
        }
        said.hear(event);
    })?;
    said.end = Some(end);
    said.info = Some(talk.info());
    Ok(said)
}

/// Greedy, at most `n` tokens.
pub fn greedy(n: usize) -> TurnOptions {
    TurnOptions {
        sampling: Sampling {
            temperature: 0.0,
            ..Sampling::default()
        },
        max_tokens: Some(n),
        stop: Vec::new(),
        ..TurnOptions::default()
    }
}

/// What npast.db has of a session.
pub struct Stored {
    pub session: npast::session::Session,
    pub messages: Vec<npast::session::StoredMessage>,
    pub ledger: Vec<Token>,
}

impl Stored {
    /// The messages in canonical form.
    pub fn canonical(&self) -> Vec<Message> {
        let read =
            |m: &npast::session::StoredMessage| Message::from_json(&m.body).expect("a message");
        self.messages.iter().map(read).collect()
    }
}

impl Desk {
    /// Reads a session from npast.db as it is on disk.
    pub fn stored(&self, session: &str) -> Stored {
        let db = Db::open(&self.home.join("npast.db")).expect("npast.db");
        let found = db.find(session).expect("a lookup").expect("a session");
        Stored {
            messages: db.messages(found.id).expect("messages"),
            ledger: db.ledger(found.id).expect("a ledger"),
            session: found,
        }
    }
}

/// The branches that a session left.
pub fn branches(desk: &Desk, session: &str) -> Vec<Branch> {
    let db = Db::open(&desk.home.join("npast.db")).expect("npast.db");
    let found = db.find(session).expect("a lookup").expect("a session");
    db.branches(found.id).expect("branches")
}
