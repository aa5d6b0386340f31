//! Why a conversation was not compressed. It is as it was then.

use std::fmt;

use crate::ledger::Finish;

use super::error::{AgentError, ErrorKind};

/// Why a conversation was not compressed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// All of it would stay.
    Nothing,
    /// The context has no room for the system prompt and a summary. In tokens.
    Small {
        /// The conversation's limit.
        limit: usize,
        /// The frozen head.
        head: usize,
        /// The longest summary that the instruction allows.
        summary: usize,
        /// What the model was trained for.
        trained: usize,
    },
    /// The chat template cannot write the instruction behind what stands there.
    Template(String),
    /// The engine could not run the side work.
    Engine(String),
    /// The model called a tool.
    Calls,
    /// The model wrote nothing.
    Empty,
    /// The model wrote the same again and again.
    Loop,
    /// The summary did not come to its end.
    Cut(Finish),
    /// The new conversation would not be a fifth shorter. In tokens.
    Longer {
        /// The conversation.
        from: usize,
        /// What it would become.
        to: usize,
    },
    /// The user interrupted it.
    Interrupted,
}

impl Refused {
    /// As the failure of a request for this session.
    pub fn of(&self, session: &str) -> AgentError {
        if *self == Refused::Interrupted {
            return AgentError::new(ErrorKind::Interrupted, "interrupted");
        }
        let text = format!("{session} was not compressed: {self}");
        let error = AgentError::new(ErrorKind::Refused, text);
        match self.hint() {
            Some(hint) => error.hinted(hint),
            None => error,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Nothing => f.write_str("all of it is among what always stays"),
            Refused::Small {
                limit,
                head,
                summary,
                ..
            } => write!(
                f,
                "the context has {limit} tokens, and the system prompt and tools take {head} of them: \
                 a summary of {summary} tokens and the last messages do not fit beside"
            ),
            Refused::Template(why) => {
                write!(f, "the chat template cannot write the instruction: {why}")
            }
            Refused::Engine(why) => write!(f, "the summary could not be written: {why}"),
            Refused::Calls => f.write_str("the model called a tool in the place of a summary"),
            Refused::Empty => f.write_str("the model wrote no summary"),
            Refused::Loop => f.write_str("the model repeated itself in the summary"),
            Refused::Cut(Finish::Length) => f.write_str("the summary was longer than it may be"),
            Refused::Cut(_) => f.write_str("the summary did not come to its end"),
            Refused::Longer { from, to } => {
                write!(
                    f,
                    "{from} tokens would become {to}, less than a fifth fewer"
                )
            }
            Refused::Interrupted => f.write_str("it was interrupted"),
        }
    }
}

impl Refused {
    /// What the user can do, if anything.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Refused::Small { limit, trained, .. } if trained > limit => {
                Some("give a larger --ctx, or a shorter system prompt")
            }
            Refused::Small { .. } => {
                Some("give a shorter system prompt, or take a model with a larger context")
            }
            Refused::Interrupted => None,
            Refused::Nothing | Refused::Longer { .. } => {
                Some("take turns back, or begin a new session")
            }
            _ => Some("it is tried again when the conversation has grown; /compress tries it now"),
        }
    }
}
