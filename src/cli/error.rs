//! What went wrong, for people and programs: a kind, one sentence, what to do, an exit code.

use std::borrow::Cow;

use crate::agent::AgentError;
use crate::chat::ScriptError;
use crate::config::ConfigError;
use crate::llama::gguf::GgufError;
use crate::models;
use crate::session;

/// The run failed.
pub const FAILED: i32 = 1;
/// The command line, the configuration or the input is wrong.
pub const USAGE: i32 = 2;
/// Ctrl-C.
pub const INTERRUPTED: i32 = 130;

/// Why a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// For programs; never renamed.
    pub kind: Cow<'static, str>,
    /// One sentence without a full stop.
    pub message: String,
    /// What to do, if anything.
    pub hint: Option<String>,
    /// The exit code.
    pub exit: i32,
}

impl Failure {
    /// Wrong usage.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure {
            kind: "usage".into(),
            message: message.into(),
            hint: Some(hint.into()),
            exit: USAGE,
        }
    }

    /// Something that should have worked did not.
    pub fn failed(kind: &'static str, message: impl Into<String>) -> Failure {
        Failure {
            kind: kind.into(),
            message: message.into(),
            hint: None,
            exit: FAILED,
        }
    }

    /// A build with `dynamic-backends` that was moved without its libraries.
    pub fn backends() -> Failure {
        Failure {
            hint: Some(
                "put the libraries of this build (libggml-cpu-*.so) beside the program, or into \
                 lib/npast beside the program's folder"
                    .into(),
            ),
            ..Failure::failed("backends", "npast finds no library that computes")
        }
    }

    /// The user ended the run.
    pub fn interrupted() -> Failure {
        Failure {
            kind: "interrupted".into(),
            message: "interrupted".into(),
            hint: None,
            exit: INTERRUPTED,
        }
    }

    /// This machine's CPU lacks what the build uses.
    pub fn cpu(feature: &str) -> Failure {
        Failure {
            hint: Some(
                "build it on this machine, or use a build for a plain CPU (without \
                 -C target-cpu=native in .cargo/config.toml)"
                    .into(),
            ),
            ..Failure::failed(
                "cpu",
                format!(
                    "this npast was built for CPUs with {feature}, and this CPU has no {feature}"
                ),
            )
        }
    }

    /// With something to do about it.
    pub fn hint(self, hint: impl Into<String>) -> Failure {
        Failure {
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure {
            kind: "config".into(),
            ..Failure::usage(error.to_string(), error.hint())
        }
    }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Failure {
        Failure {
            kind: error.kind().into(),
            message: error.to_string(),
            hint: error.hint(),
            exit: error.exit(),
        }
    }
}

impl From<session::DbError> for Failure {
    fn from(error: session::DbError) -> Failure {
        let (kind, exit) = match error {
            session::DbError::Name(_) | session::DbError::Branch(_) => ("session", USAGE),
            session::DbError::Job(_) => ("job", USAGE),
            session::DbError::Interrupted => ("interrupted", INTERRUPTED),
            _ => ("session", FAILED),
        };
        Failure {
            kind: kind.into(),
            message: error.to_string(),
            hint: error.hint().map(str::to_owned),
            exit,
        }
    }
}

impl From<session::LockError> for Failure {
    fn from(error: session::LockError) -> Failure {
        Failure {
            hint: error.hint().map(str::to_owned),
            ..Failure::failed("locked", error.to_string())
        }
    }
}

impl From<ScriptError> for Failure {
    fn from(error: ScriptError) -> Failure {
        Failure {
            kind: "script".into(),
            ..Failure::usage(
                error.to_string(),
                "a line is {\"text\":…} or {\"content\":…,\"reasoning\":…,\"tool_calls\":[…]}",
            )
        }
    }
}

impl From<models::ModelsError> for Failure {
    fn from(error: models::ModelsError) -> Failure {
        if let models::ModelsError::Interrupted = error {
            return Failure::interrupted();
        }
        Failure {
            kind: if error.is_usage() { "usage" } else { "model" }.into(),
            message: error.to_string(),
            hint: error.hint(),
            exit: if error.is_usage() { USAGE } else { FAILED },
        }
    }
}

impl From<GgufError> for Failure {
    fn from(error: GgufError) -> Failure {
        Failure::failed("model", error.to_string())
            .hint("download the file again, and compare its size and checksum with the source's")
    }
}
