//! The events that a client gets: while an engine opens, and while a session works. Events are plain values:
//! the lines of `--json`, the events of a stream over HTTP, and what the terminal's output is made
//! from.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::AgentError;
use super::odds::Weighed;
use super::outcome::{CompressStage, Compressed, Info, LastExchange, Pruned, TurnEnd, UndoneTurns};
use super::receipt::{Receipt, TurnSum};
use crate::tools::FileDiff;

/// Where opening an engine stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// A model that is not known yet is loaded in a process of its own.
    Check,
    /// Weights are being read: 0 to 1.
    Model(f32),
    /// The context is being made and probed.
    Context,
    /// Everything is ready.
    Ready,
}

/// What happens in a session. As JSON each event is an object whose field `type` is the variant's
/// name in snake case.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The session that is open now.
    Session {
        /// What it is.
        #[serde(flatten)]
        info: Info,
        /// What its programs are kept from; nothing where it has no tools of npast's.
        sandbox: Option<String>,
    },
    /// The request waits for others.
    Queued {
        /// How many come before it.
        place: usize,
    },
    /// Stored KV is put back.
    Restoring {
        /// Tokens.
        tokens: usize,
    },
    /// Tokens evaluated, of those to be evaluated.
    Prefill {
        /// Evaluated.
        done: usize,
        /// In all.
        total: usize,
    },
    /// More of the model's thinking.
    Reasoning {
        /// What was added.
        text: String,
    },
    /// More of its answer.
    Text {
        /// What was added.
        text: String,
    },
    /// The tokens of the text that comes next, and how likely they were; where it was asked for.
    Odds {
        /// In order.
        tokens: Vec<Weighed>,
    },
    /// A call is being written. Each such event takes the place of the one before.
    Calling {
        /// The tool; empty as long as it is not known.
        name: String,
        /// The file, command or address it is about, as far as it is written.
        target: Option<String>,
        /// Tokens of the call so far.
        tokens: usize,
        /// Since it began.
        seconds: f64,
    },
    /// A call, when it is complete.
    ToolCall {
        /// Of ours.
        id: String,
        /// Of the tool.
        name: String,
        /// An object.
        arguments: Value,
    },
    /// A call runs. Each such event of a call takes the place of the one before; a call that is over at
    /// once has none.
    Running {
        /// Of the call.
        id: String,
        /// Of the tool.
        name: String,
        /// Since it was started.
        seconds: f64,
        /// Bytes that its program has written.
        bytes: u64,
        /// The last lines of them: at most 8, without control characters.
        tail: String,
    },
    /// What a call gave, after it was run or refused; in call order.
    ToolResult {
        /// Of the call.
        id: String,
        /// Of the tool.
        name: String,
        /// Whether the call succeeded.
        ok: bool,
        /// What the model reads.
        text: String,
        /// How long it ran; nothing where it did not run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<f64>,
        /// The exit code of its program, where one ended by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit: Option<i32>,
        /// Why it did not run, for a person; `text` is for the model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
        /// What it changed in a file, where nobody was asked about it before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        change: Option<FileDiff>,
    },
    /// A call may run only if the user says so. The turn waits for the answer.
    Question(OpenQuestion),
    /// The conversation is being compressed, and has come this far.
    Compress {
        /// How far.
        stage: CompressStage,
    },
    /// A line that the user sent while the turn ran enters the turn here, behind the results of a step.
    Steered {
        /// The line.
        text: String,
    },
    /// What a model call cost; exactly one for each call that decoded a token.
    Receipt(Box<Receipt>),
    /// The end of the turn.
    Turn(TurnSum),
    /// Something the user should know, once: a refused file, a failed write, a fallback.
    Notice {
        /// What happened, one sentence.
        text: String,
        /// What to do, if anything.
        hint: Option<String>,
    },
    /// The request failed; nothing follows.
    Error {
        /// For programs; never renamed.
        kind: String,
        /// What happened, one sentence.
        message: String,
        /// What to do, if anything.
        hint: Option<String>,
        /// The exit code of a command line that ends with it.
        exit: i32,
    },
    /// The request is done; nothing follows.
    Done(Done),
}

/// A question about one call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenQuestion {
    /// What an answer names.
    pub id: u64,
    /// The tool's name.
    pub tool: String,
    /// What the call does, as a verb that stands before `text`: `run`, `read`, `change`.
    #[serde(default)]
    pub verb: String,
    /// What the call would do, for people: lines without control or invisible characters.
    pub text: String,
    /// Why the user is asked, where the policy alone does not say it.
    pub why: Option<String>,
    /// What it would change in a file, if that is what it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<FileDiff>,
    /// What an answer for the session or for always would allow, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The same as rules. Where it is empty, such an answer allows this call alone.
    pub rules: Vec<String>,
}

/// What a request came to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "done", rename_all = "snake_case")]
pub enum Done {
    /// A turn.
    Turn(TurnEnd),
    /// A client's history was followed.
    Followed {
        /// How the turn ended.
        end: TurnEnd,
        /// Messages of the history that were stored already.
        same: usize,
        /// Messages of the history.
        sent: usize,
        /// The first message that was stored otherwise, in words.
        difference: Option<String>,
        /// The rules by which changes of system text, tools and first message were let pass.
        overlooked: Vec<String>,
        /// Why the conversation has another head now, and is another session.
        renewed: Option<String>,
        /// Messages of the session now.
        messages: usize,
        /// The session's name now.
        #[serde(default)]
        session: String,
    },
    /// A request was answered beside the conversations, on scratch; it has no session.
    Beside {
        /// How it ended.
        end: TurnEnd,
        /// The sign by which it was known to stand beside them.
        sign: String,
    },
    /// Turns were taken back.
    Undone(UndoneTurns),
    /// A branch was put back.
    Redone {
        /// Tokens of the ledger now.
        tokens: usize,
    },
    /// Another session was made from this one.
    Forked {
        /// Its name.
        name: String,
    },
    /// What the session is.
    Info {
        /// What it is.
        info: Box<Info>,
        /// The text of the message that [`crate::agent::Conversation::edit`] would take back.
        last_text: Option<String>,
        /// What was said last.
        #[serde(default)]
        exchange: Option<LastExchange>,
    },
    /// The conversation goes on as another session, with a summary in the place of its middle.
    Compressed(Compressed),
    /// Long results became lines, and the conversation goes on as another session.
    Pruned(Pruned),
    /// It was passed on to the request that runs.
    Heard,
}

impl Event {
    /// Whether it ends its request.
    pub fn ends(&self) -> bool {
        matches!(self, Event::Error { .. } | Event::Done(_))
    }
}

impl From<AgentError> for Event {
    fn from(error: AgentError) -> Event {
        Event::Error {
            kind: error.kind().to_owned(),
            exit: error.exit(),
            message: error.to_string(),
            hint: error.hint(),
        }
    }
}

pub(in crate::agent) type On<'a> = &'a mut dyn FnMut(Event);
