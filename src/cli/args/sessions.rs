//! Flags of `npast sessions`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{ExportArgs, ImportArgs, ModelArgs};
use crate::cli::error::Failure;
use crate::config::ConfigLayer;

const EXAMPLES: &str = "\
Examples:
  npast sessions
  npast sessions -n 10 --here
  npast sessions show work
  npast sessions undo work 2
  npast sessions fork work try-it --at 3
  npast sessions rm 'test-*' --older-than 30d";

const RM: &str = "\
Examples:
  npast sessions rm work
  npast sessions rm a b 'test-*'
  npast sessions rm --older-than 30d -y";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct SessionsArgs {
    #[command(subcommand)]
    pub command: Option<SessionsCommand>,

    #[command(flatten)]
    pub list: SessionsListArgs,
}

impl SessionsArgs {
    /// Flags of the list also stand before `list`; before another subcommand they are wrong.
    ///
    /// # Errors
    /// Wrong usage.
    pub fn settle(&mut self) -> Result<(), Failure> {
        match &self.command {
            Some(SessionsCommand::List(own)) => {
                self.list = SessionsListArgs {
                    most: own.most.or(self.list.most),
                    here: own.here || self.list.here,
                };
                self.command = None;
                Ok(())
            }
            Some(_) if self.list != SessionsListArgs::default() => Err(Failure::usage(
                "-n and --here are flags of the list",
                "npast sessions -n 10 --here",
            )),
            _ => Ok(()),
        }
    }
}

/// Which sessions are listed.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionsListArgs {
    /// At most so many, the last used
    #[arg(short = 'n', long = "most", value_name = "N")]
    pub most: Option<usize>,

    /// Only those of this folder
    #[arg(long)]
    pub here: bool,
}

/// Which sessions are removed.
#[derive(Args, Clone, Debug, Default)]
pub struct SessionsRmArgs {
    /// Their names; * stands for any characters
    #[arg(required_unless_present = "older_than", value_name = "NAME")]
    pub names: Vec<String>,

    /// Keep those that were used more recently than this: 12h, 30d, 8w. Without names, look at all sessions
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub older_than: Option<Duration>,

    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// A number with a unit: minutes, hours, days, weeks.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number with m, h, d or w behind it, such as 30d".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let seconds = number.checked_mul(seconds).ok_or_else(wrong)?;
    Ok(Duration::from_secs(seconds))
}

#[derive(Subcommand, Debug)]
pub enum SessionsCommand {
    /// All sessions, the last used first
    ///
    /// `stored` are the tokens that a new process restores from disk, `shared` those of them that
    /// another session holds too.
    #[command(visible_alias = "ls")]
    List(SessionsListArgs),
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
    /// Remove sessions with their messages; there is no way back
    #[command(after_help = RM)]
    Rm(SessionsRmArgs),
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
