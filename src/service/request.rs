//! What a client wants of a session, as plain values: the same for a command line, a line of JSON and a
//! request over HTTP.

use serde::{Deserialize, Serialize};

use crate::agent::{Behind, ClientHistory, Input, TurnOptions};
use crate::approve::{Approve, Grant};
use crate::chat::pins::PinRules;

/// A request to one session. As JSON it is an object whose field `request` is the variant's name in
/// snake case. [`Request::Steer`], [`Request::Interrupt`] and [`Request::Answer`] are about the
/// request that runs, and take effect at once; all others wait for their turn.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// A turn that answers an input.
    Say {
        /// What is answered.
        input: Input,
        /// How the turn runs.
        #[serde(default)]
        options: TurnOptions,
    },
    /// The session becomes what a client's whole history says, and the last message is answered.
    Follow {
        /// What the client sent.
        history: ClientHistory,
        /// Which changes of system text, tools and first message keep the tokens.
        #[serde(default)]
        rules: PinRules,
        /// How the turn runs.
        #[serde(default)]
        options: TurnOptions,
    },
    /// The session goes on from a place in it, and the last message is answered.
    GoOn {
        /// From which place.
        from: Behind,
        /// What the client sent: `messages` are those behind that place. System text and tools are the
        /// session's where they are absent.
        history: ClientHistory,
        /// Which changes of system text, tools and first message keep the tokens.
        #[serde(default)]
        rules: PinRules,
        /// How the turn runs.
        #[serde(default)]
        options: TurnOptions,
    },
    /// Another reply in the place of the last one.
    Retry {
        /// How the turn runs.
        #[serde(default)]
        options: TurnOptions,
    },
    /// The last message is taken back, so that another can take its place.
    Edit,
    /// Turns are taken back.
    Undo {
        /// How many, counted from the end.
        turns: usize,
    },
    /// A branch is put back.
    Redo {
        /// Its number; nothing is the one that was taken off last.
        branch: Option<i64>,
    },
    /// Another session is made that has what this one has.
    Fork {
        /// Its name; nothing is the name of this one with a number.
        name: Option<String>,
        /// How many turns it has; nothing is all of them.
        keep: Option<usize>,
    },
    /// A question that is answered beside the conversation: neither it nor its answer is part of it.
    Aside {
        /// What is asked.
        question: String,
        /// How the answer is sampled.
        #[serde(default)]
        options: TurnOptions,
    },
    /// The conversation goes on as another session, with a summary in the place of its middle.
    Compress {
        /// What gets most room in the summary.
        topic: Option<String>,
        /// How the summary is sampled, and how much stays word for word.
        #[serde(default)]
        options: TurnOptions,
    },
    /// Old long results of tools become a line each, whether that pays or not.
    Prune {
        /// How much stays word for word.
        #[serde(default)]
        options: TurnOptions,
    },
    /// What the session is.
    Info,
    /// Said to the model behind the results of the present step; after the turn if there is none.
    Steer {
        /// What is said.
        text: String,
    },
    /// The request that runs is stopped. What was decoded stays.
    Interrupt,
    /// An answer to a question.
    Answer {
        /// Which question.
        question: u64,
        /// The answer.
        grant: Grant,
        /// With [`Grant::No`]: what the model is told instead.
        #[serde(default)]
        reason: Option<String>,
    },
}

impl Request {
    /// The policy for calls that the request names in the place of its client's.
    pub fn policy(&self) -> Option<Approve> {
        match self {
            Request::Say { options, .. }
            | Request::Follow { options, .. }
            | Request::GoOn { options, .. }
            | Request::Retry { options }
            | Request::Aside { options, .. }
            | Request::Compress { options, .. }
            | Request::Prune { options } => options.approve,
            _ => None,
        }
    }
}
