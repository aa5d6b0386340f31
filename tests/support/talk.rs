//! A conversation as a user has it, on a tiny model, over as many processes as a test wants: an
//! engine is opened, used and dropped, and only the disk stays.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use npast::agent::{
    AgentError, Conversation, Engine, Event, Info, Input, NewSession, Options, Policy, Receipt,
    TurnEnd, TurnOptions, WhichSession,
};
use npast::chat::{Message, ReplyScript};
use npast::ledger::Token;
use npast::llama::{ContextOptions, ModelOptions, Sampling};
use npast::session::{Branch, Db};

use crate::model::{self, Class};

/// A user's machine: a data folder and a model.
pub struct Desk {
    pub home: PathBuf,
    pub model: PathBuf,
    pub limit: usize,
    pub policy: Policy,
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

    /// One turn in a process of its own.
    pub fn turn(
        &self,
        session: &str,
        input: Input,
        options: &TurnOptions,
        script: Option<&str>,
    ) -> Result<Said, AgentError> {
        let engine = self.engine()?;
        let mut talk =
            engine.conversation(WhichSession::Named(session.to_owned()), self.new_session())?;
        let mut script = script.map(|text| ReplyScript::read(text.as_bytes()).expect("a script"));
        let said = turn(&mut talk, input, options, script.as_mut(), &|_| false);
        talk.close()?;
        said
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
        match event {
            Event::Text { text } => said.text += &text,
            Event::Reasoning { text } => said.reasoning += &text,
            Event::ToolCall {
                name, arguments, ..
            } => said.calls.push((name, arguments)),
            Event::Receipt(receipt) => said.receipts.push(*receipt),
            Event::Notice { text, .. } => said.notices.push(text),
            Event::Prefill { done, total } => said.prefill.push((done, total)),
            _ => {}
        }
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
