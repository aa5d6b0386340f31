//! What a caller is told while an engine opens and a turn runs.

use serde_json::Value;

use super::{CompressStage, Receipt, TurnSum};

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

/// What happens in a turn. The command line prints it as text or, with `--json`, as one object a
/// line.
#[derive(Clone, Debug)]
pub enum Event {
    /// Stored KV is put back: tokens.
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
    Reasoning(String),
    /// More of its answer.
    Text(String),
    /// A call, when it is complete.
    ToolCall {
        /// Of ours.
        id: String,
        /// Of the tool.
        name: String,
        /// An object.
        arguments: Value,
    },
    /// What a call gave, after it was run or refused; in call order.
    ToolResult {
        /// Of the call.
        id: String,
        /// Of the tool.
        name: String,
        /// Whether it did what was asked.
        ok: bool,
        /// What the model reads.
        text: String,
    },
    /// The conversation is being compressed, and has come this far.
    Compress(CompressStage),
    /// What the user said while the turn ran enters it here, behind the results of a step.
    Steered(String),
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
}
