//! What a tool is: its description for the model, what a call may change, what approval of a call is
//! about, and what a call gets and gives.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::asked_file::AskedFile;
use super::change::FileChange;
use super::host::ToolHost;
use super::live::LiveOutput;
use super::refusal::ForeseenRefusal;
use super::result_limits::ResultLimits;
use super::results::Results;
use super::secret::Secrets;

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
    /// Only npast's own notes (plan, memory, past sessions): it needs no approval.
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

/// What a call gave. [`super::Registry::run`] shrinks `text` once; afterwards it never changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ToolAnswer {
    /// Whether the call succeeded.
    pub ok: bool,
    /// For the model.
    pub text: String,
}

impl ToolAnswer {
    /// The answer of a call that succeeded.
    pub fn good(text: impl Into<String>) -> ToolAnswer {
        ToolAnswer {
            ok: true,
            text: text.into(),
        }
    }

    /// The answer of a call that failed: a sentence that says what to do instead.
    pub fn bad(text: impl Into<String>) -> ToolAnswer {
        ToolAnswer {
            ok: false,
            text: text.into(),
        }
    }
}

/// One tool.
pub trait Tool: Send + Sync {
    /// Name, description, parameters: they never change.
    fn spec(&self) -> &Spec;

    /// What a call with these arguments may change. Arguments that do not fit the schema must not
    /// make it panic.
    fn effect(&self, arguments: &Value) -> Effect;

    /// What approval of this call is about, seen from the project's folder. As with
    /// [`Tool::effect`], any arguments are allowed.
    fn subject(&self, arguments: &Value, project: &Path) -> Subject;

    /// Why the user must be asked about its calls even where the policy would let them run, unless a rule or a
    /// grant of the user's allows them.
    fn caution(&self) -> Option<&str> {
        None
    }

    /// Looks at a call before somebody is asked about it, and changes nothing: what it would do to a file,
    /// where that is what it does. The arguments have passed [`super::Registry::check`].
    ///
    /// # Errors
    /// The call would be refused whatever the answer is.
    fn foresee(
        &self,
        _arguments: &Value,
        _room: &CallContext<'_>,
    ) -> Result<Option<FileChange>, ForeseenRefusal> {
        Ok(None)
    }

    /// What in the schema that it came with could not be used: for people, when a session starts
    /// with it.
    fn odd(&self) -> &[String] {
        &[]
    }

    /// Does it. The arguments have passed [`super::Registry::check`]. It returns within seconds once
    /// [`CallContext::cancelled`] is true, and gives a sentence for every failure.
    fn run(&self, arguments: &Value, room: &CallContext<'_>) -> ToolAnswer;
}

/// Where a call works.
#[derive(Clone, Copy)]
pub struct CallContext<'a> {
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
    pub limits: ResultLimits,
    /// What was approved, where approval looked at a [`Subject`]: if the call is about something
    /// else by now (a link was turned round), it is refused.
    pub granted: Option<&'a Subject>,
    /// The file that the call changes, as it was when somebody was asked about the call: if it is
    /// something else by now, the call is refused. Nothing where nobody was asked.
    pub asked: Option<&'a AskedFile>,
    /// The call's id: names of files that belong to it begin with it.
    pub call: &'a str,
    /// The user wants it to end.
    pub cancel: &'a AtomicBool,
    /// Where it shows what it does while it runs.
    pub live: &'a LiveOutput,
    /// The agent.
    pub host: &'a dyn ToolHost,
}

impl CallContext<'_> {
    /// Whether the user wants the call to end.
    pub fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}
