//! Why a reply ended. Stored with the message's span, shown in receipts.

use serde::{Deserialize, Serialize};

/// Why a reply ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model ended its turn.
    Stop,
    /// The token limit of the call was reached.
    Length,
    /// A stop string was found; its tokens stay in the ledger, the text ends before them.
    StopString,
    /// The model ended its turn with tool calls.
    ToolCalls,
    /// Ctrl-C, a crash, or an error while decoding.
    Interrupted,
    /// The context is full.
    Context,
    /// The reply repeated itself and was stopped.
    Repeats,
}

impl Finish {
    /// The word used in JSON and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::StopString => "stop_string",
            Finish::ToolCalls => "tool_calls",
            Finish::Interrupted => "interrupted",
            Finish::Context => "context",
            Finish::Repeats => "repeats",
        }
    }

    /// The inverse of [`Finish::as_str`].
    pub fn parse(word: &str) -> Option<Finish> {
        use Finish::*;
        [
            Stop,
            Length,
            StopString,
            ToolCalls,
            Interrupted,
            Context,
            Repeats,
        ]
        .into_iter()
        .find(|f| f.as_str() == word)
    }
}
