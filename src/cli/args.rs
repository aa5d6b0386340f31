//! Arguments as typed. What they mean is decided in `config` and in the subcommands.

mod cron;
mod model;
mod sampling;
mod serve;
#[cfg(test)]
mod tests;
mod trajectory;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

pub use cron::{CronArgs, CronCommand, CronRunArgs, JobPolicy};
pub use model::ModelArgs;
pub use sampling::SamplingArgs;
pub use serve::ServeArgs;
pub use trajectory::{ExportArgs, ImportArgs};

use super::error::Failure;
use crate::config::ConfigLayer;

const EXAMPLES: &str = "\
Examples:
  npast -m model.gguf --session work \"What does build.rs do?\"
  git diff | npast -m model.gguf --session work \"Review this.\"
  npast -c \"And the tests?\"
  npast --session work

Every flag of the groups Model, Memory and Sampling can also be a key of the configuration file \
(npast/config.toml in the XDG config folder, or the file that NPAST_CONFIG names; `top-k = 20`) \
or a variable (NPAST_TOP_K=20). Flags win over variables, variables over the file.

Data live under $NPAST_HOME, else in the XDG data folder. Exit codes: 0 done, 1 failed, 2 wrong \
usage, 130 interrupted.";

/// A local AI agent that never reads the same token twice
#[derive(Parser, Debug)]
#[command(name = "npast", after_long_help = EXAMPLES, disable_version_flag = true)]
#[command(disable_help_subcommand = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<CliCommand>,

    #[command(flatten)]
    pub talk: TalkArgs,

    /// One JSON event per line on standard output, and nothing else
    ///
    /// Events: session, prefill, reasoning, text, tool_call, tool_result, receipt, turn, error.
    /// Fields may be added in later versions and are never renamed.
    #[arg(long, global = true)]
    pub json: bool,

    /// Say more on standard error (twice: still more)
    ///
    /// NPAST_LOG takes a filter instead, such as `npast::kv=debug,llama=info`. No message text
    /// and no prompt is ever logged.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// No receipts, no progress, no thinking on standard error
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// On a terminal, replies as they are written: no Markdown, words are not wrapped
    ///
    /// A pipe and a file always get them so.
    #[arg(long)]
    pub raw: bool,

    /// Versions of npast, llama.cpp and the state format; backends; CPU features
    #[arg(short = 'V', long)]
    pub version: bool,

    // Last: a group's heading would go on into what follows.
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    sampling: SamplingArgs,
}

impl Cli {
    /// What the flags say.
    pub fn layer(&self) -> ConfigLayer {
        let mut layer = ConfigLayer {
            system: self.talk.system.clone(),
            seed: self.talk.seed,
            ..ConfigLayer::default()
        };
        self.talk.tooling.lay(&mut layer);
        self.model.lay(&mut layer);
        self.sampling.lay(&mut layer);
        layer
    }
}

/// The message of this run, and the session that gets it.
#[derive(Args, Debug, Default)]
pub struct TalkArgs {
    /// The message; on a terminal without one a chat begins
    ///
    /// Piped input is a message too. With both, the message is PROMPT, an empty line, the input.
    pub prompt: Option<String>,

    /// The conversation to go on with, or to start under this name
    ///
    /// Without it a new session is named from its first words.
    #[arg(long, value_name = "NAME", conflicts_with = "last")]
    pub session: Option<String>,

    /// Go on with the last session of this folder
    #[arg(short = 'c', long = "last")]
    pub last: bool,

    /// Go on with a reply that ended early, instead of saying something
    #[arg(long = "continue", conflicts_with_all = ["prompt", "messages"])]
    pub continue_: bool,

    /// System prompt of a session that starts now
    ///
    /// It is frozen then. `@FILE` reads a file; a text that begins with @ is written with two.
    #[arg(long, value_name = "TEXT|@FILE")]
    pub system: Option<String>,

    /// Tools of a session that starts now: a JSON list in OpenAI's form
    #[arg(long, value_name = "@FILE")]
    pub tools: Option<String>,

    /// Sampling seed of a session that starts now; drawn without it
    ///
    /// It is mixed with each token's position, so a session that was resumed draws as one that
    /// never stopped.
    #[arg(long, value_name = "N", help_heading = "Sampling")]
    pub seed: Option<u64>,

    /// Messages to append instead of PROMPT: one JSON object per line
    ///
    /// Canonical messages of the roles user and tool, such as
    /// {"role":"tool","tool_call_id":"1","content":"…"}. `-` reads standard input.
    #[arg(long, value_name = "@FILE|-", conflicts_with = "prompt")]
    pub messages: Option<String>,

    /// Prepared replies, one JSON object per line, decoded instead of sampled ones
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,

    /// Load the model in this process, also where a gateway of the same data folder runs
    ///
    /// Without it `npast` works through that gateway (`npast serve`), and no model is loaded.
    #[arg(long)]
    pub alone: bool,

    /// Give a session that starts now npast's own tools, also without a terminal
    ///
    /// On a terminal it gets them anyway: files, search, commands, memory. --system and --tools
    /// start a session without.
    #[arg(long, help_heading = "Agent", conflicts_with = "tools")]
    pub agent: bool,

    #[command(flatten)]
    pub tooling: ToolArgs,
}

/// What an agent may do.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Agent")]
pub struct ToolArgs {
    /// Start sessions without tools, as a plain chat
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    no_tools: Option<bool>,

    /// A tool that sessions which start now get besides the usual ones, such as fetch_url; repeatable
    #[arg(long = "with-tool", value_name = "NAME")]
    with_tools: Option<Vec<String>>,

    /// A tool that sessions which start now do not get; repeatable
    #[arg(long = "without-tool", value_name = "NAME")]
    without_tools: Option<Vec<String>>,

    /// What happens when the model calls a tool: ask, auto or deny [default: ask]
    ///
    /// Where npast cannot ask, a call that needs a question is denied.
    #[arg(long, value_name = "POLICY")]
    approve: Option<String>,

    /// Whether programs run in the sandbox: on or off
    ///
    /// `npast doctor` says what it holds on this system.
    #[arg(long, value_name = "MODE")]
    sandbox: Option<String>,

    /// Most replies of one turn whose calls are run [default: 50]
    #[arg(long, value_name = "N")]
    max_steps: Option<usize>,

    /// Most tokens that the replies of one turn may have together
    #[arg(long, value_name = "TOKENS")]
    max_turn_tokens: Option<usize>,
}

impl ToolArgs {
    /// Writes what was typed into a layer.
    pub fn lay(&self, layer: &mut ConfigLayer) {
        layer.no_tools = self.no_tools;
        layer.with_tools = self.with_tools.clone();
        layer.without_tools = self.without_tools.clone();
        layer.approve = self.approve.clone();
        layer.sandbox = self.sandbox.clone();
        layer.max_steps = self.max_steps;
        layer.max_turn_tokens = self.max_turn_tokens;
    }
}

#[derive(Subcommand, Debug)]
pub enum CliCommand {
    /// Serve the model over HTTP: the APIs of OpenAI and Anthropic, and npast's own sessions
    Serve(Box<ServeArgs>),
    /// List, show, fork, rename and remove sessions; take turns back
    Sessions(SessionsArgs),
    /// Prompts that are run at times: add, list, remove, and run what is due
    Cron(CronArgs),
    /// List, fetch, examine and remove models; name the one that is taken without -m
    Models(ModelsArgs),
    /// What is kept of KV states on disk
    Kv(KvArgs),
    /// The exact system prompt and tools of a session, and what they cost in tokens
    Prompt(Box<PromptArgs>),
    /// Build, devices, model, template and data folder, and what is wrong with them
    Doctor(Box<DoctorArgs>),
    /// What a shell reads to complete flags and subcommands: bash, zsh or fish
    ///
    /// For bash: npast completions bash > ~/.local/share/bash-completion/completions/npast; for fish:
    /// npast completions fish > ~/.config/fish/completions/npast.fish; for zsh: a file _npast in a
    /// folder of $fpath.
    Completions {
        /// The shell
        shell: Completed,
    },
    /// The manual's page of npast, or of a subcommand
    ///
    /// To read it: npast man | man -l -
    Man {
        /// A subcommand, such as `models pull`
        words: Vec<String>,
    },
}

/// A shell that completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Completed {
    /// Bash
    Bash,
    /// Zsh
    Zsh,
    /// Fish
    Fish,
}

#[derive(Args, Debug)]
pub struct ModelsArgs {
    #[command(subcommand)]
    pub command: Option<ModelsCommand>,
}

#[derive(Subcommand, Debug)]
pub enum ModelsCommand {
    /// Every model of this machine with the name that -m takes (also without a word behind `models`)
    ///
    /// Those of npast's own folder, of the cache of the Hugging Face hub, and of Ollama's store.
    List,
    /// Fetch a model: hf:OWNER/REPO[:QUANT], the address of a GGUF file, or a short name
    ///
    /// Without one, the short names. What was begun goes on. A model of the hub comes into its cache
    /// (LLAMA_CACHE, HF_HUB_CACHE or HF_HOME name it), where other programs find it too, and one with
    /// an address into npast's models folder; `#sha256=…` behind an address has its sum checked.
    /// HF_TOKEN is the token for models that want one, HF_ENDPOINT another hub.
    Pull {
        /// What to fetch
        model: Option<String>,
    },
    /// What a model is, what a token costs in it, and the largest context that fits this machine
    ///
    /// No weight is read for it.
    Info {
        /// Its name in the list, or a path
        model: PathBuf,
    },
    /// Which of the short names fit this machine, and cards of 8 to 32 GB
    ///
    /// With the context, the cache type and the placement that npast would choose for each, the KV
    /// that they take, and the formula. Nothing is fetched for it.
    Recommend,
    /// Remove a model from the disk; there is no way back
    Rm {
        /// Its name in the list
        model: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// The model that is taken where none is named; with a name, that one from now on
    Default {
        /// Its name in the list
        model: Option<String>,
    },
}

#[derive(Args, Debug)]
pub struct SessionsArgs {
    #[command(subcommand)]
    pub command: SessionsCommand,
}

#[derive(Subcommand, Debug)]
pub enum SessionsCommand {
    /// All sessions, the last used first
    ///
    /// `stored` are the tokens that a new process restores from disk, `shared` those of them that
    /// another session holds too.
    List,
    /// One session: its facts and its messages
    Show {
        /// The session
        name: String,
        /// Also the branches that undo, retry and edit left
        #[arg(long)]
        all: bool,
        /// Only the sessions that it continues and those that continue it
        #[arg(long, conflicts_with = "all")]
        lineage: bool,
        /// Only what each model call cost, and what was done for it in idle time
        #[arg(long, conflicts_with_all = ["all", "lineage"])]
        receipts: bool,
    },
    /// Take the last turns of a session back: a user's message and all that came after it
    ///
    /// They stay as a branch: `redo` puts them back. Behind a compression it goes back to the session
    /// that was compressed.
    Undo {
        /// The session
        name: String,
        /// How many turns
        #[arg(default_value_t = 1)]
        turns: usize,
    },
    /// Put back what undo, retry or edit took off last; what stands in its place becomes a branch
    Redo {
        /// The session
        name: String,
        /// Another branch, by its number in `show --all`
        branch: Option<i64>,
    },
    /// Start a session with what another one has
    ///
    /// Both have the same tokens up to there, so what is stored of them is shared.
    Fork {
        /// The session
        name: String,
        /// The new session; without a name, the old one's with a number behind it
        new: Option<String>,
        /// Only the first N turns
        #[arg(long, value_name = "N")]
        at: Option<usize>,
    },
    /// Put a summary by the model in the place of the middle of a session
    ///
    /// It goes on as another session, which `--session NAME` opens from then on; the one before stays
    /// readable, and `undo` behind the compression goes back to it.
    Compress(Box<CompressArgs>),
    /// Write a session as a line of JSON: its messages, exact tokens, receipts and sums
    ///
    /// Messages stand in it as other programs read them; what npast alone knows is the field `npast`.
    /// Branches are not written. It has all that was said, so keep it as you keep the session.
    Export(ExportArgs),
    /// Read sessions from lines of JSON, all of a file or none
    ///
    /// Lines of `export`, and conversations of other programs, as {"messages":[…]} or
    /// {"conversations":[{"from":…,"value":…}]}. A session with tokens goes on where it was, under its
    /// own vocabulary; others are read once by the model that opens them. They belong to this folder.
    Import(ImportArgs),
    /// Give a session another name
    Rename {
        /// The session
        name: String,
        /// Its new name
        to: String,
    },
    /// Remove a session with its messages; there is no way back
    Rm {
        /// The session
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args, Debug)]
pub struct CompressArgs {
    /// The session
    pub name: String,

    /// What the summary gives most room to
    pub topic: Option<String>,

    /// Prepared replies; the line with `"job": "compress"` is the summary
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,

    /// Load the model in this process, also where a gateway of the same data folder runs
    ///
    /// Without it `npast` works through that gateway (`npast serve`), and no model is loaded.
    #[arg(long)]
    pub alone: bool,

    #[command(flatten)]
    model: ModelArgs,
}

impl CompressArgs {
    /// What was typed, as a layer.
    pub fn layer(&self) -> ConfigLayer {
        let mut layer = ConfigLayer::default();
        self.model.lay(&mut layer);
        layer
    }
}

#[derive(Args, Debug)]
pub struct KvArgs {
    #[command(subcommand)]
    pub command: KvCommand,

    /// Most KV on disk, of all models, such as 20GiB or 500MB
    #[arg(long, value_name = "SIZE", global = true)]
    pub kv_quota: Option<String>,
}

impl KvArgs {
    /// What was typed, as a layer.
    pub fn layer(&self) -> ConfigLayer {
        ConfigLayer {
            kv_quota: self.kv_quota.clone(),
            ..ConfigLayer::default()
        }
    }
}

#[derive(Subcommand, Debug)]
pub enum KvCommand {
    /// Files, bytes, free space; per model and session what is stored and what a start would read
    ///
    /// `tokens` of a session are those that a new process restores from disk, `shared` are the
    /// bytes it shares with other sessions. What is not restored is read again.
    Status,
    /// Read and prove every file; what is damaged goes to quarantine
    ///
    /// Exit code 1 when something was.
    Verify(Box<VerifyArgs>),
    /// Remove what no session needs, and what is above the quota
    ///
    /// Small segments are merged by the process that uses them, in idle time, and not here: that
    /// takes the model.
    Gc,
}

#[derive(Args, Debug, Default)]
pub struct VerifyArgs {
    /// Also evaluate some segments again and compare bytes; takes the model that made them
    #[arg(long)]
    pub deep: bool,
    #[command(flatten)]
    model: ModelArgs,
}

impl VerifyArgs {
    /// What the flags say.
    pub fn layer(&self) -> ConfigLayer {
        let mut layer = ConfigLayer::default();
        self.model.lay(&mut layer);
        layer
    }
}

#[derive(Args, Debug)]
pub struct PromptArgs {
    /// A stored session; without one, what a session that starts in this folder now would get
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,

    /// The ids of the tokens too
    #[arg(long)]
    pub tokens: bool,

    #[command(flatten)]
    pub tooling: ToolArgs,

    #[command(flatten)]
    model: ModelArgs,
}

impl PromptArgs {
    /// What the flags say.
    pub fn layer(&self) -> ConfigLayer {
        let mut layer = ConfigLayer::default();
        self.tooling.lay(&mut layer);
        self.model.lay(&mut layer);
        layer
    }
}

#[derive(Args, Debug)]
pub struct DoctorArgs {
    #[command(flatten)]
    model: ModelArgs,
}

impl DoctorArgs {
    /// What the flags say.
    pub fn layer(&self) -> ConfigLayer {
        let mut layer = ConfigLayer::default();
        self.model.lay(&mut layer);
        layer
    }
}

/// A command line that was understood.
#[derive(Debug)]
pub enum ParsedArgs {
    /// To be run.
    Run(Box<Cli>),
    /// To be printed.
    Help(String),
}

/// Reads a command line, the program's name first.
///
/// # Errors
/// Wrong usage, in one sentence with a hint.
pub fn parse(args: &[OsString]) -> Result<ParsedArgs, Failure> {
    let mut command = Cli::command();
    let matches = match command.try_get_matches_from_mut(args) {
        Ok(matches) => matches,
        Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp) => {
            return Ok(ParsedArgs::Help(e.render().to_string()));
        }
        Err(e) => return Err(wrong(&e)),
    };
    if let Some((name, _)) = matches.subcommand() {
        // Without this check npast would ignore them silently.
        let globals = ["json", "verbose", "quiet"];
        let stray = matches.ids().find(|id| {
            command.get_arguments().any(|a| a.get_id() == *id)
                && !globals.contains(&id.as_str())
                && matches.value_source(id.as_str()) == Some(ValueSource::CommandLine)
        });
        if let Some(id) = stray {
            return Err(Failure::usage(
                format!("--{id} stands before the subcommand {name} and would be ignored"),
                format!("write it behind `npast {name}`, if that takes it"),
            ));
        }
    }
    let cli = Cli::from_arg_matches(&matches).map_err(|e| wrong(&e))?;
    Ok(ParsedArgs::Run(Box::new(cli)))
}

/// Whether errors are to be events, also when the rest of the line was not understood.
pub fn wants_json(args: &[OsString]) -> bool {
    let flags = args.iter().skip(1).take_while(|a| *a != "--");
    flags.into_iter().any(|a| a == "--json")
}

fn wrong(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let first = text.lines().map(str::trim).find(|l| !l.is_empty());
    let mut message = first.unwrap_or_default();
    message = message.strip_prefix("error: ").unwrap_or(message);
    let mut message = message.trim_end_matches(':').to_owned();
    if let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg)
        && error.kind() == ErrorKind::MissingRequiredArgument
    {
        message = format!("{message}: {}", missing.join(", "));
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        message = "this subcommand needs another one behind it".to_owned();
    }
    let tip = text.lines().find_map(|l| l.trim().strip_prefix("tip: "));
    let hint = match tip {
        Some(tip) => tip.to_owned(),
        None if error.kind() == ErrorKind::UnknownArgument => {
            "a message of several words stands in quotes; `npast --help` lists the flags".into()
        }
        None => "`npast --help` says what can be typed".into(),
    };
    Failure::usage(message, hint)
}
