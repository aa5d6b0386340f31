//! Stand-in for the engine until the merge: the signatures the command line is written against.
#![allow(missing_docs)]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{Event, Input, NewSession, Open, Options, Stage, TurnOptions};
use crate::chat::Script;
use crate::ledger::Finish;
use crate::slot::Class;

pub struct Engine;

pub struct Facts {
    pub model: String,
    pub description: String,
    pub class: Class,
    pub limit: usize,
    pub token_bytes: usize,
    pub ubatch: usize,
    pub template: Vec<String>,
    pub vocab: String,
    pub fallback_template: bool,
}

impl Engine {
    pub fn open(
        _options: &Options,
        _progress: &mut dyn FnMut(Stage) -> bool,
    ) -> Result<Engine, AgentError> {
        todo!()
    }

    pub fn facts(&self) -> Facts {
        todo!()
    }

    pub fn notices(&self) -> Vec<(String, Option<String>)> {
        todo!()
    }

    pub fn conversation(&self, _open: Open, _new: NewSession) -> Result<Conversation, AgentError> {
        todo!()
    }
}

pub struct Conversation;

#[derive(Clone, Debug)]
pub struct Info {
    pub id: i64,
    pub name: String,
    pub resumed: bool,
    pub model: String,
    pub class: Class,
    pub context: usize,
    pub open_message: Option<String>,
    pub unfinished: bool,
}

impl Conversation {
    pub fn info(&self) -> Info {
        todo!()
    }

    pub fn turn(
        &mut self,
        _input: Input,
        _options: &TurnOptions,
        _script: Option<&mut Script>,
        _cancel: &Arc<AtomicBool>,
        _on: &mut dyn FnMut(Event),
    ) -> Result<TurnEnd, AgentError> {
        todo!()
    }

    pub fn close(self) -> Result<(), AgentError> {
        todo!()
    }
}

pub struct TurnEnd {
    pub finish: Finish,
    pub withdrawn: Option<String>,
}

#[derive(Debug)]
pub struct AgentError {
    pub message: String,
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for AgentError {}

impl AgentError {
    pub fn kind(&self) -> &'static str {
        "agent"
    }

    pub fn hint(&self) -> Option<String> {
        None
    }

    pub fn exit(&self) -> i32 {
        1
    }
}
