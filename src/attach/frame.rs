//! What goes over the socket. Both sides are npast; a number says whether they are the same kind of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::{Event, Info, NewSession, Notice, WhichSession};
use crate::service::{Request, Tooling};

/// Another number where an older npast would misread a frame.
pub const PROTOCOL: u32 = 2;

/// What a gateway says of itself to whoever connects.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// npast's version.
    pub version: String,
    /// The gateway's process.
    pub pid: u32,
    /// The model's file name.
    pub model: String,
    /// The model's file, real and absolute.
    pub path: PathBuf,
    /// The conversation's limit in tokens.
    pub limit: usize,
    /// What its flags, variables and configuration file say, by key.
    pub settings: BTreeMap<String, Value>,
}

/// From a command line to the gateway.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Up {
    /// The first frame: the session of this connection.
    Open(Box<Joining>),
    /// A request to it.
    Request {
        /// Its events name it.
        id: u64,
        /// The client was interrupted before it asked.
        stopped: bool,
        /// The request.
        request: Box<Request>,
    },
    /// The request is to stop.
    Stop {
        /// Which.
        id: u64,
    },
    /// The client leaves when its requests are done, and waits until all is on disk.
    Close,
}

/// Which session a client wants, and how its requests run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Joining {
    /// Which one.
    pub open: WhichSession,
    /// What it is started with, if it starts. Its folder is the client's.
    pub new: NewSession,
    /// Whether a session that starts gets npast's own prompt and tools.
    pub agent: bool,
    /// Whether somebody can answer questions.
    pub attended: bool,
    /// Policy and budget of the client's calls.
    pub tooling: Tooling,
    /// Prepared replies, as a script's text.
    pub script: Option<String>,
}

/// From the gateway to a command line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Down {
    /// The first frame, when the model is loaded.
    Hello(Box<Hello>),
    /// The session is open.
    Opened {
        /// What it is.
        now: Box<SessionView>,
        /// What there is to say of what serves its tools.
        notices: Vec<Notice>,
    },
    /// It could not be opened; an [`Event::Error`].
    Refused {
        /// Why.
        error: Event,
    },
    /// Something happened in a request.
    Event {
        /// Which.
        id: u64,
        /// What.
        event: Event,
    },
    /// What the session is now; before the last event of a request.
    Now(Box<SessionView>),
    /// All is on disk.
    Closed {
        /// An [`Event::Error`] where something could not be stored.
        error: Option<Event>,
    },
}

/// A session at one moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SessionView {
    /// What it is.
    pub info: Info,
    /// What the programs of its tools are kept from.
    pub sandbox: Option<String>,
    /// What was steered and could not be said in the turn any more.
    pub left: Option<String>,
}
