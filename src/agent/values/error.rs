//! Why a turn could not be done: one sentence, a hint, an exit code.

use std::fmt;

use crate::chat::message::MessageError;
use crate::chat::pieces::ContentOwner;
use crate::chat::template::ChatError;
use crate::chat::tokenize::TokenizeError;
use crate::llama::bridge::BridgeError;
use crate::llama::gguf::GgufError;
use crate::llama::{ContextError, DecodeError, LoadError};
use crate::session::{self, LockError};
use crate::slot::SlotError;

/// What kind of thing went wrong; the word stands in `--json` errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// The model file.
    Model,
    /// The context or a decode: memory, usually.
    Memory,
    /// The chat template.
    Template,
    /// npast.db or a lock.
    Session,
    /// The input does not fit into the context.
    TooLong,
    /// The input is not usable.
    Input,
    /// A prepared reply is missing or wrong.
    Script,
    /// The engine is gone.
    Engine,
    /// Something that no user can cause.
    Internal,
    /// It would have done no good, and nothing was changed.
    Refused,
    /// The user interrupted.
    Interrupted,
    /// Somebody else is at work on it.
    Busy,
    /// No such session or message is stored.
    Missing,
}

impl ErrorKind {
    /// Every kind with its word in `--json`.
    const WORDS: [(ErrorKind, &str); 13] = [
        (ErrorKind::Model, "model"),
        (ErrorKind::Memory, "memory"),
        (ErrorKind::Template, "template"),
        (ErrorKind::Session, "session"),
        (ErrorKind::TooLong, "too_long"),
        (ErrorKind::Input, "input"),
        (ErrorKind::Script, "script"),
        (ErrorKind::Engine, "engine"),
        (ErrorKind::Internal, "internal"),
        (ErrorKind::Refused, "refused"),
        (ErrorKind::Interrupted, "interrupted"),
        (ErrorKind::Busy, "in_use"),
        (ErrorKind::Missing, "not_found"),
    ];

    /// The kind of a word that another process sent; one that this npast does not know is a fault of
    /// the inside.
    pub fn of_word(word: &str) -> ErrorKind {
        let known = ErrorKind::WORDS.into_iter().find(|(_, w)| *w == word);
        known.map_or(ErrorKind::Internal, |(kind, _)| kind)
    }

    fn as_str(self) -> &'static str {
        let own = ErrorKind::WORDS.into_iter().find(|(kind, _)| *kind == self);
        own.map_or("internal", |(_, word)| word)
    }
}

/// A failure as the user sees it.
#[derive(Debug)]
pub struct AgentError {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
}

impl AgentError {
    /// A failure with its sentence.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> AgentError {
        AgentError {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hinted(mut self, hint: impl Into<String>) -> AgentError {
        self.hint = Some(hint.into());
        self
    }

    /// Whether it is of this kind.
    pub(in crate::agent) fn is(&self, kind: ErrorKind) -> bool {
        self.kind == kind
    }

    /// The word in `--json`.
    pub fn kind(&self) -> &'static str {
        self.kind.as_str()
    }

    /// What to do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        self.hint.clone()
    }

    /// 1 failed, 2 wrong usage, 130 interrupted.
    pub fn exit(&self) -> i32 {
        match self.kind {
            ErrorKind::Interrupted => 130,
            ErrorKind::TooLong | ErrorKind::Input | ErrorKind::Script => 2,
            _ => 1,
        }
    }
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for AgentError {}

impl From<session::DbError> for AgentError {
    fn from(error: session::DbError) -> AgentError {
        let kind = match error {
            session::DbError::Name(_) | session::DbError::Branch(_) => ErrorKind::Input,
            session::DbError::Interrupted => ErrorKind::Interrupted,
            session::DbError::NotFound(_) => ErrorKind::Missing,
            _ => ErrorKind::Session,
        };
        let hint = error.hint().map(str::to_owned);
        AgentError {
            kind,
            message: error.to_string(),
            hint,
        }
    }
}

impl From<LockError> for AgentError {
    fn from(error: LockError) -> AgentError {
        let hint = error.hint().map(str::to_owned);
        AgentError {
            kind: ErrorKind::Session,
            message: error.to_string(),
            hint,
        }
    }
}

impl From<GgufError> for AgentError {
    fn from(error: GgufError) -> AgentError {
        AgentError::new(ErrorKind::Model, error.to_string())
            .hinted("check that the file is a complete GGUF model")
    }
}

impl From<LoadError> for AgentError {
    fn from(error: LoadError) -> AgentError {
        let hint = match &error {
            LoadError::Refused { reason, .. } if reason.contains("unknown model architecture") => {
                "this build of llama.cpp does not know the architecture; a newer npast may"
            }
            LoadError::Refused { reason, .. } if memory_words(reason) => {
                "put fewer layers on the GPU with --gpu-layers, or take a smaller model"
            }
            LoadError::Interrupted(_) => {
                return AgentError::new(ErrorKind::Interrupted, error.to_string());
            }
            LoadError::Buffer { .. } | LoadError::Options(_) => "see npast --help",
            _ => "check that the file is a complete GGUF model",
        };
        AgentError::new(ErrorKind::Model, error.to_string()).hinted(hint)
    }
}

impl From<MessageError> for AgentError {
    fn from(error: MessageError) -> AgentError {
        AgentError::new(ErrorKind::Input, error.to_string())
    }
}

impl From<SlotError> for AgentError {
    fn from(error: SlotError) -> AgentError {
        let message = error.to_string();
        match error {
            SlotError::TooLong { .. } => AgentError::new(ErrorKind::TooLong, message)
                .hinted("compress the conversation, take turns back, or start a new session"),
            SlotError::Context(ContextError::Refused { .. }) => {
                AgentError::new(ErrorKind::Memory, message).hinted(
                    "take a smaller --ctx, a smaller --cache-type such as q8_0, or fewer \
                     --gpu-layers",
                )
            }
            SlotError::Decode(DecodeError::Broken { .. }) => {
                AgentError::new(ErrorKind::Memory, message).hinted(
                    "if memory ran out: fewer --gpu-layers, a smaller --ctx or --ubatch; the \
                     session is whole and goes on",
                )
            }
            SlotError::Dead(_) => AgentError::new(ErrorKind::Engine, message)
                .hinted("nothing stored is lost; start npast again"),
            _ => AgentError::new(ErrorKind::Engine, message),
        }
    }
}

/// Whether a line of llama.cpp's reports a lack of memory.
pub(in crate::agent) fn memory_words(line: &str) -> bool {
    let line = line.to_lowercase();
    [
        "out of memory",
        "failed to allocate",
        "unable to allocate",
        "insufficient memory",
    ]
    .iter()
    .any(|words| line.contains(words))
}

impl From<ChatError> for AgentError {
    fn from(error: ChatError) -> AgentError {
        if error == ChatError::Bridge(BridgeError::Interrupted) {
            return AgentError::new(ErrorKind::Interrupted, error.to_string());
        }
        let hint = match &error {
            ChatError::Place(place) if matches!(place.owner(), Some(ContentOwner::System)) => {
                "give another template with --chat-template @FILE, or start a session without a \
                 system prompt and tools"
            }
            ChatError::Place(place) if matches!(place.owner(), Some(ContentOwner::Tools)) => {
                "give another template with --chat-template @FILE, or start a session without tools"
            }
            ChatError::Place(_) => "give another template with --chat-template @FILE",
            _ => "npast doctor -m MODEL lists what the template can write",
        };
        AgentError::new(ErrorKind::Template, error.to_string()).hinted(hint)
    }
}

impl From<TokenizeError> for AgentError {
    fn from(error: TokenizeError) -> AgentError {
        AgentError::new(ErrorKind::Input, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_a_word_that_another_process_reads_as_the_same_kind() {
        for (at, (kind, word)) in ErrorKind::WORDS.into_iter().enumerate() {
            // The kinds have no gap, so one without a word would be found by the length.
            assert_eq!(kind as usize, at);
            assert_eq!(kind.as_str(), word);
            assert_eq!(ErrorKind::of_word(word), kind);
        }
        assert_eq!(ErrorKind::Missing as usize + 1, ErrorKind::WORDS.len());
        assert_eq!(ErrorKind::of_word("of a later npast"), ErrorKind::Internal);
    }
}
