//! What a request came to, as plain values: the end of a turn, an undo, a compression; and what a session
//! is.

use serde::{Deserialize, Serialize};

use crate::ledger::Finish;
use crate::slot::MemoryClass;

/// How a turn ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TurnEnd {
    /// Of the last reply.
    pub finish: Finish,
    /// Ctrl-C came before the first token: the user's text, handed back.
    pub withdrawn: Option<String>,
    /// npast ended the turn, and not the model or the user.
    pub stopped: Option<TurnStop>,
}

/// Why npast ended a turn in which the model went on calling tools.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnStop {
    /// The budget of steps is used up.
    Steps,
    /// The budget of tokens is used up.
    Tokens,
    /// The same call gave the same result again and again.
    Loop,
    /// One call after another named no tool or had wrong arguments.
    Chances,
}

/// What an undo took back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UndoneTurns {
    /// Turns.
    pub turns: usize,
    /// Messages, replies included.
    pub messages: usize,
    /// Tokens of the ledger.
    pub tokens: usize,
    /// The text of the first user message among them.
    pub text: String,
    /// The session that they were taken back in.
    pub session: String,
}

/// What a compression made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Compressed {
    /// The session that the conversation goes on as.
    pub session: String,
    /// Tokens of the conversation before.
    pub from: usize,
    /// Tokens of it now.
    pub to: usize,
    /// The summary was put together without the model.
    pub plain: bool,
}

/// Where a compression is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompressStage {
    /// The summary is being written.
    Writing,
    /// The summary, or what stands for the results, is there, and the new session is not yet.
    Written,
    /// The new session is stored, and the conversation goes on in it; it is being read.
    Stored,
    /// It is read.
    Read,
}

/// What a cut of results would do, in tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Pruned {
    /// Results that became a line.
    pub results: usize,
    /// So much shorter is the conversation.
    pub saved: usize,
    /// So much of it is read again.
    pub again: usize,
}

impl Pruned {
    /// Whether it pays: what is read again is at most twice what is saved, and the conversation is a
    /// tenth shorter.
    pub(in crate::agent) fn pays(&self, len: usize) -> bool {
        self.again <= 2 * self.saved && self.saved * 10 >= len
    }
}

/// The end of a conversation, for whoever comes back to it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LastExchange {
    /// What the user said last, from its beginning on.
    pub said: String,
    /// The reply to it, up to its end; nothing where there is none yet.
    pub reply: String,
    /// How the reply ended.
    pub finish: Option<Finish>,
    /// Calls of tools between the two.
    pub calls: usize,
    /// Messages of the user in all.
    pub turns: usize,
}

/// A conversation as people know it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Info {
    /// In npast.db.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// It was there before.
    pub resumed: bool,
    /// The model's file name.
    pub model: String,
    /// The memory class.
    pub class: MemoryClass,
    /// Tokens of its ledger.
    pub context: usize,
    /// The text of a message that a crash left unanswered.
    pub open_message: Option<String>,
    /// The last reply ended early and can be continued.
    pub unfinished: bool,
    /// Its tools are npast's to run.
    pub runs_tools: bool,
    /// The folder it belongs to.
    pub folder: String,
}
