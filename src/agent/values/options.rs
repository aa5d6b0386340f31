//! What a caller decides: which model, which session, how a turn runs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::approve::Approve;
use crate::chat::Message;
use crate::chat::wish::ReplyWish;
use crate::llama::{Apart, ContextOptions, ModelOptions, Sampling};

use super::notice::Notice;

/// How history is kept when a template would write it differently.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// Thinking stays where it was generated.
    #[default]
    Exact,
    /// History is rewritten as the template would write it.
    Template,
}

impl Policy {
    /// The word in configuration and database.
    pub fn as_str(self) -> &'static str {
        match self {
            Policy::Exact => "exact",
            Policy::Template => "template",
        }
    }

    /// The inverse of [`Policy::as_str`].
    pub fn parse(word: &str) -> Option<Policy> {
        [Policy::Exact, Policy::Template]
            .into_iter()
            .find(|p| p.as_str() == word)
    }
}

/// What an engine is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data folder: npast.db, kv/, locks/.
    pub home: PathBuf,
    /// The GGUF file (the first of a split one).
    pub model: PathBuf,
    /// Where weights go.
    pub weights: ModelOptions,
    /// The conversation's limit in tokens; `None` takes what the model was trained for, as far as
    /// memory goes.
    pub limit: Option<usize>,
    /// Cache, threads, RoPE; `cells` is computed from the limit.
    pub context: ContextOptions,
    /// What else the fit may choose.
    pub leeway: Leeway,
    /// Tokens of one decode call; `None` is 512 with layers on a GPU and 128 without.
    pub ubatch: Option<usize>,
    /// The history policy that the user named. Sessions that start now get it, [`Policy::Exact`] without
    /// one; a stored session keeps its own.
    pub policy: Option<Policy>,
    /// Whether compressions move the last turns in memory instead of having them read again, where the model
    /// can do that, if the user decided it; their state is approximate then. Sessions that start now do not
    /// without it; a stored session keeps its own.
    pub shift: Option<bool>,
    /// Whether KV is kept on disk.
    pub store_kv: bool,
    /// Most bytes of KV on disk, of all models; `None` is 20 GiB or a tenth of the disk, whichever
    /// is less.
    pub kv_quota: Option<u64>,
    /// A chat template that replaces the model's own.
    pub chat_template: Option<String>,
    /// Whether templates with a thinking switch are rendered with thinking on, if the user decided it.
    /// Otherwise sessions that start now think; a stored session keeps its own.
    pub thinking: Option<bool>,
    /// How a process of its own is started for the template, and for a model that is not known yet.
    /// `None` does their work in this process: for a caller that trusts both.
    pub apart: Option<Apart>,
}

/// The settings that the user did not name: npast chooses them by the memory of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Leeway {
    /// The cache type.
    pub cache: bool,
    /// Tokens of the session that is about to be opened: a context should hold them, though its
    /// start takes longer.
    pub session: usize,
}

impl Options {
    /// Whether a session that starts now thinks.
    pub(in crate::agent) fn thinks(&self) -> bool {
        self.thinking.unwrap_or(true)
    }
}

/// Which session a caller wants.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhichSession {
    /// By name; started when there is none.
    Named(String),
    /// The one used last in this folder.
    Last,
    /// A new one, named from the first words of this text.
    FromWords(String),
}

/// What the next reply answers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// A user's message.
    Text(String),
    /// Canonical messages: user messages and tool results.
    Messages(Vec<Message>),
    /// Nothing new: answer the message that is still open.
    Open,
    /// Nothing new: go on with the reply that ended early.
    Continue,
}

/// What a session is started with; frozen then.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NewSession {
    /// The folder it belongs to, for `-c`.
    pub folder: String,
    /// The system prompt.
    pub system: Option<String>,
    /// Tools, OpenAI form.
    pub tools: Option<Value>,
    /// Seed of its sampling; `None` draws one.
    pub seed: Option<u64>,
    /// Prompt and tools of an agent, instead of `system` and `tools`. A session that is there
    /// already keeps its own.
    #[serde(skip)]
    pub setup: Option<AgentSetup>,
}

/// What a session whose tools npast runs is started with.
#[derive(Clone, Debug)]
pub struct AgentSetup {
    /// The built prompt: what does not differ between sessions.
    pub system: String,
    /// What differs: it stands before the user's words in the first user message.
    pub preface: Option<String>,
    /// The tools, OpenAI form.
    pub tools: Value,
    /// The notices of building it, shown if the session starts.
    pub notices: Vec<Notice>,
}

/// How one turn runs.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TurnOptions {
    /// Settings; the seed is the session's.
    pub sampling: Sampling,
    /// Most tokens of one reply.
    pub max_tokens: Option<usize>,
    /// Texts that end a reply.
    pub stop: Vec<String>,
    /// Compress the conversation when it comes near the context's end; `None` never does so by itself.
    pub compress: Option<CompressOptions>,
    /// What each reply must be besides.
    pub wish: ReplyWish,
    /// Stops a reply that repeats itself.
    pub repeats: bool,
    /// What a turn leaves to be done (a compression, a title) waits until nobody waits for anything; without
    /// this a compression is done before the request ends, and there are no titles.
    pub idle: bool,
    /// Tells how likely the tokens of an answer were, with so many of the likeliest in the place of
    /// each; with nothing here it is not computed.
    pub odds: Option<usize>,
    /// What happens to calls that no rule speaks of, in this turn; nothing is the client's own policy.
    pub approve: Option<Approve>,
}

/// When a conversation is compressed by itself, and what stays of it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct CompressOptions {
    /// The part of the context, in percent, at which it is due; `None` is 75, and 85 where the context
    /// has less than 16,384 tokens.
    pub at: Option<usize>,
    /// Most tokens of the last turns that stay word for word; `None` is a fifth of the context.
    pub tail: Option<usize>,
    /// Before a summary is made, old long results of tools become lines where that pays.
    pub prune: bool,
    /// Before a summary, the model stores what later sessions should know, where it has the memory tool.
    pub flush_memory: bool,
}
