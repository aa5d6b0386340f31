//! What a model can do besides writing: one file per tool, one registry, a stable order. This room
//! runs calls and says what they gave; it knows no model, no session and no terminal. Who may call
//! what is decided in `agent` by [`Tool::effect`] and [`Tool::subject`]; what tools need of the
//! agent (memory, plan, search of the past) is the trait [`ToolHost`].
//!
//! - `registry`: the tools of a session, their JSON, the one way to run them.
//! - `schema`: a tool's schema in the form that templates, grammars and `check` can use.
//! - `check`: arguments against a schema, errors as sentences for the model.
//! - `coerce`: arguments of another type, where one reading is possible.
//! - `host`: the trait, and what passes through it.
//! - `command`: what a command line would run, and the hard list.
//! - `read_file`, `write_file`, `edit_file` (and `nearest`: what is there instead), `list`, `search`,
//!   `todo`, `memory`, `session_search`: a tool each.
//! - `place`: where a path really leads, and opening exactly that; `walk`: folders as git sees them.
//! - `sandbox`: the wall around programs; `terminal`: commands behind it.
//! - `secret`: what no tool may touch, one list for all doors; `gate`: files of a prompt, opened as tools
//!   open them.
//! - `shown`: bytes as a model may see them; `shrink`: a result is cut once, at birth; `results`: where
//!   the whole of it is kept, and for how long.

mod check;
mod coerce;
pub mod command;
mod edit_file;
mod fetch_url;
pub mod gate;
mod host;
mod lines;
mod list;
mod mcp;
mod memory;
mod nearest;
mod pattern;
mod place;
mod read_file;
mod registry;
mod replace;
pub mod results;
#[cfg(unix)]
pub mod sandbox;
pub mod schema;
mod search;
mod secret;
mod seen;
mod session_search;
mod shown;
mod shrink;
mod todo;
mod walk;
mod write_file;

#[cfg(unix)]
mod terminal;
#[cfg(test)]
mod testing;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

pub use edit_file::EditFile;
pub use fetch_url::FetchUrl;
pub use host::{MemoryEdit, MemoryFile, SessionHit, TodoItem, TodoState, ToolHost};
pub use list::List;
pub use mcp::{Launch, ServerConfig, Servers, Surroundings};
pub use memory::Memory;
pub use read_file::ReadFile;
pub use registry::{Registry, RegistryError};
pub use results::Results;
pub use search::Search;
pub use secret::{Owner, Secrets};
pub use session_search::SessionSearch;
pub use shown::clean;
pub use shrink::{Ends, Limits, ends};
#[cfg(unix)]
pub use terminal::Terminal;
pub use todo::{Todo, plan_of, plan_set_by, plan_text, plan_value};
pub use write_file::WriteFile;

/// What a tool is to a model.
#[derive(Clone, PartialEq, Debug)]
pub struct Spec {
    /// What the model calls it by: ASCII letters, digits, `_` and `-`, at most 64.
    pub name: String,
    /// When to use it, in as few tokens as will do.
    pub description: String,
    /// A JSON schema of kind `object`.
    pub parameters: Value,
}

impl Spec {
    /// A tool of ours.
    pub fn new(name: &str, description: &str, parameters: Value) -> Spec {
        Spec {
            name: name.to_owned(),
            description: description.to_owned(),
            parameters,
        }
    }

    /// The OpenAI form: `{"type":"function","function":{name, description, parameters}}`.
    pub fn to_json(&self) -> Value {
        json!({
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": self.parameters,
            },
        })
    }

    /// Reads the OpenAI form; `None` where it has no name.
    pub fn from_json(value: &Value) -> Option<Spec> {
        let function = value.get("function").unwrap_or(value);
        Some(Spec {
            name: function.get("name")?.as_str()?.to_owned(),
            description: function
                .get("description")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            parameters: function
                .get("parameters")
                .cloned()
                .unwrap_or_else(|| json!({"type": "object"})),
        })
    }
}

/// What a call may change. The calls of one reply that only read run side by side; the others one
/// after another, in call order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    /// Nothing.
    Reads,
    /// Files, or npast's own notes.
    Writes,
    /// Anything that a program may.
    Runs,
    /// Nothing here; something elsewhere sees a request.
    Network,
}

/// What approval of a call is about. Displayed it is one line; whoever shows it to a person escapes
/// control characters and cuts it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// Only npast's own notes (plan, memory, past sessions): nobody has to be asked.
    Own,
    /// A file or folder: the real, absolute path, symbolic links resolved as far as they exist.
    Path(PathBuf),
    /// A shell command, as the model wrote it.
    Command(String),
    /// An address.
    Url(String),
    /// A tool of a server: its call in one line.
    Call(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Own => f.write_str("npast's own notes"),
            Subject::Path(path) => write!(f, "{}", path.display()),
            Subject::Command(text) | Subject::Url(text) | Subject::Call(text) => f.write_str(text),
        }
    }
}

/// What a call gave. [`Registry::run`] shrinks `text` once; afterwards it never changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Whether it did what was asked.
    pub ok: bool,
    /// For the model.
    pub text: String,
}

impl Answer {
    /// It worked.
    pub fn good(text: impl Into<String>) -> Answer {
        Answer {
            ok: true,
            text: text.into(),
        }
    }

    /// It did not: a sentence that says what to do instead.
    pub fn bad(text: impl Into<String>) -> Answer {
        Answer {
            ok: false,
            text: text.into(),
        }
    }
}

/// One tool.
pub trait Tool: Send + Sync {
    /// Name, description, parameters: the same for as long as the tool lives.
    fn spec(&self) -> &Spec;

    /// What a call with these arguments may change. Arguments that do not fit the schema must not
    /// make it panic.
    fn effect(&self, arguments: &Value) -> Effect;

    /// What approval of this call is about, seen from the project's folder. As with
    /// [`Tool::effect`], any arguments are allowed.
    fn subject(&self, arguments: &Value, project: &Path) -> Subject;

    /// Why its calls are asked about also where the policy would let them run, unless a rule or a
    /// grant of the user's allows them.
    fn caution(&self) -> Option<&str> {
        None
    }

    /// What in the schema that it came with could not be used: for people, when a session starts
    /// with it.
    fn odd(&self) -> &[String] {
        &[]
    }

    /// Does it. The arguments have passed [`Registry::check`]. It returns within seconds once
    /// [`Room::cancelled`] is true, and gives a sentence for every failure.
    fn run(&self, arguments: &Value, room: &Room<'_>) -> Answer;
}

/// The tools that every session can have; they need nothing but a [`Room`].
pub fn built_in() -> Vec<Box<dyn Tool>> {
    vec![
        Box::new(EditFile::default()),
        Box::new(List::default()),
        Box::new(Memory::default()),
        Box::new(ReadFile::default()),
        Box::new(Search::default()),
        Box::new(SessionSearch::default()),
        Box::new(Todo::default()),
        Box::new(WriteFile::default()),
    ]
}

/// Where a call works.
#[derive(Clone, Copy)]
pub struct Room<'a> {
    /// The project's folder: absolute; relative paths start here.
    pub project: &'a Path,
    /// A folder of this session that only its owner can read (0700), outside of the project. It
    /// exists.
    pub temp: &'a Path,
    /// What was cut from results, in that folder.
    pub results: &'a Results,
    /// What no tool may touch; `temp` is allowed even in such a place.
    pub secret: &'a Secrets,
    /// How much of a result the model sees.
    pub limits: Limits,
    /// What was approved, where approval looked at a [`Subject`]: if the call is about something
    /// else by now (a link was turned round), it is refused.
    pub granted: Option<&'a Subject>,
    /// The call's id: names of files that belong to it begin with it.
    pub call: &'a str,
    /// The user wants it to end.
    pub cancel: &'a AtomicBool,
    /// The agent.
    pub host: &'a dyn ToolHost,
}

impl Room<'_> {
    /// Whether the user wants the call to end.
    pub fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}
