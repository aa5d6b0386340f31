//! Arguments as typed. What they mean is decided in `config` and in the subcommands.

mod aliases;
mod cron;
mod kv;
mod model;
mod models;
mod near;
mod sampling;
mod serve;
mod sessions;
#[cfg(test)]
mod tests;
mod trajectory;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

pub use cron::{CronArgs, CronCommand, CronRunArgs, JobPolicy};
pub use kv::{KvArgs, KvCommand};
pub use model::ModelArgs;
pub use models::{ModelsArgs, ModelsCommand};
pub use sampling::SamplingArgs;
pub use serve::ServeArgs;
pub use sessions::{CompressArgs, SessionsArgs, SessionsCommand, SessionsListArgs, SessionsRmArgs};
pub use trajectory::{ExportArgs, ImportArgs};

use super::error::Failure;
use crate::config::ConfigLayer;

const EXAMPLES: &str = "\
Examples:
  npast -m model.gguf --session work \"What does build.rs do?\"
  git diff | npast --session work \"Review this.\"
  npast -c \"And the tests?\"
  npast --session work
  npast --no-session \"How do I undo a git commit?\"

A stored session knows its model, so -m is needed at its start only.

Every flag of the groups Model, Memory and Sampling can also be a key of the configuration file \
(npast/config.toml in the XDG config folder, or the file that NPAST_CONFIG names; `top-k = 20`) \
or a variable (NPAST_TOP_K=20). Flags win over variables, variables over the file.

Data live under $NPAST_HOME, else in the XDG data folder. Exit codes: 0 done, 1 failed, 2 wrong \
usage, 130 interrupted.";

const CONFIG: &str = "\
Examples:
  npast config
  npast config > new.toml
  npast --json config";

const DOCTOR: &str = "\
Examples:
  npast doctor
  npast doctor -m qwen3-4b";

const PROMPT: &str = "\
Examples:
  npast prompt
  npast prompt --session work --tokens";

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
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,

    /// Say more on standard error (twice: still more)
    ///
    /// NPAST_LOG takes a filter instead, such as `npast::kv=debug,llama=info`. No message text
    /// and no prompt is ever logged.
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Output")]
    pub verbose: u8,

    /// No receipts, no progress, no thinking on standard error
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Output"
    )]
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

    /// The message, as a flag
    #[arg(short = 'p', long = "prompt", value_name = "TEXT", conflicts_with_all = ["prompt", "messages", "continue_"])]
    pub said: Option<String>,

    /// The conversation to go on with, or to start under this name
    ///
    /// Without it a new session is named from its first words.
    #[arg(long, value_name = "NAME", conflicts_with = "last")]
    pub session: Option<String>,

    /// Go on with the last session of this folder
    #[arg(short = 'c', long = "last")]
    pub last: bool,

    /// Keep nothing: the session of this one turn is removed when the turn ends
    #[arg(long, conflicts_with_all = ["session", "last", "continue_"])]
    pub no_session: bool,

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
    #[arg(short = 's', long, value_name = "N", help_heading = "Sampling")]
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

    /// Subcommands that the message may have meant to be.
    #[arg(skip)]
    pub near: Vec<&'static str>,
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

    /// What happens when the model calls a tool: ask, edits, auto or deny [default: ask]
    ///
    /// With edits, files of the project are changed without a question. Where npast cannot ask, a call
    /// that needs a question is denied.
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
    /// The configuration file with every key explained; what is set there stands in it
    #[command(after_help = CONFIG)]
    Config,
    /// The exact system prompt and tools of a session, and what they cost in tokens
    #[command(after_help = PROMPT)]
    Prompt(Box<PromptArgs>),
    /// Build, devices, model, template and data folder, and what is wrong with them
    #[command(after_help = DOCTOR)]
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

/// Reads a command line, the program's name first. Flags of llama.cpp that npast has under another name are
/// read as those.
///
/// # Errors
/// Wrong usage, in one sentence with a hint.
pub fn parse(args: &[OsString]) -> Result<ParsedArgs, Failure> {
    let args = aliases::translated(args)?;
    let mut command = Cli::command();
    let matches = match command.try_get_matches_from_mut(&args) {
        Ok(matches) => matches,
        Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp) => {
            return Ok(ParsedArgs::Help(e.render().to_string()));
        }
        Err(e) => return Err(wrong(&e, &line_of(&args))),
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
            let mut known = command.get_arguments();
            let long = known.find(|a| a.get_id() == id).and_then(|a| a.get_long());
            let flag = long.map_or_else(|| id.to_string(), |long| format!("--{long}"));
            return Err(Failure::usage(
                format!("{flag} stands before the subcommand {name} and would be ignored"),
                format!("write it behind `npast {name}`, if that takes it"),
            ));
        }
    }
    let mut cli = Cli::from_arg_matches(&matches).map_err(|e| wrong(&e, &line_of(&args)))?;
    let talk = &mut cli.talk;
    if talk.said.is_none() && !args.iter().any(|word| word == "--") {
        talk.near = near::meant(talk);
    }
    if let Some(said) = talk.said.take() {
        talk.prompt = Some(said);
    }
    if let Some(CliCommand::Sessions(sessions)) = &mut cli.command {
        sessions.settle()?;
    }
    Ok(ParsedArgs::Run(Box::new(cli)))
}

/// Whether errors are to be events, also when the rest of the line was not understood.
pub fn wants_json(args: &[OsString]) -> bool {
    let flags = args.iter().skip(1).take_while(|a| *a != "--");
    flags.into_iter().any(|a| a == "--json")
}

/// `npast`, and the subcommands that a command line begins with.
fn line_of(args: &[OsString]) -> String {
    let mut line = "npast".to_owned();
    let command = Cli::command();
    let mut at = &command;
    for word in args.iter().skip(1).filter_map(|word| word.to_str()) {
        match at.find_subcommand(word) {
            Some(found) => {
                line += &format!(" {word}");
                at = found;
            }
            None => break,
        }
    }
    line
}

fn wrong(error: &clap::Error, line: &str) -> Failure {
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
        None if error.kind() == ErrorKind::UnknownArgument => match line {
            "npast" => {
                "a message of several words stands in quotes; `npast --help` lists the flags".into()
            }
            line => format!("`{line} --help` lists the flags"),
        },
        None => format!("`{line} --help` says what can be typed"),
    };
    Failure::usage(message, hint)
}
