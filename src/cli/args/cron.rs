//! Flags of `npast cron`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{ModelArgs, SamplingArgs};
use crate::config::ConfigLayer;

const EXAMPLES: &str = "\
Examples:
  npast cron
  npast cron add news \"30 7 * * MON-FRI\" \"What changed in this folder since yesterday?\"
  npast cron run news
  npast cron rm news";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct CronArgs {
    #[command(subcommand)]
    pub command: Option<CronCommand>,
}

#[derive(Subcommand, Debug)]
pub enum CronCommand {
    /// Add a job: a prompt that is said in a session of the job's name whenever it is due
    ///
    /// The session belongs to the folder in which the job is added. Nobody is there to be asked when it
    /// runs. Nothing runs a job by itself: have the system's timer call `npast cron run` each minute.
    Add {
        /// The job's name, and its session's
        name: String,
        /// When: minute, hour, day of the month, month, day of the week, such as "30 7 * * MON-FRI"; or
        /// @hourly, @daily, @weekly, @monthly, @yearly. In this machine's time zone
        when: String,
        /// What is said
        prompt: String,
        /// What happens with calls of tools that would be asked about
        #[arg(long, value_enum, default_value_t)]
        approve: JobPolicy,
        /// The model; without it, the session's own or the default one
        #[arg(short, long, value_name = "MODEL")]
        model: Option<PathBuf>,
    },
    /// All jobs: when they are due next, and what became of the last time (also without a word
    /// behind `cron`)
    #[command(visible_alias = "ls")]
    List,
    /// Remove jobs; their sessions stay
    Rm {
        /// The jobs
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Run what is due now, one job after the other
    ///
    /// A time is run once, however many processes look. One that is found more than ten minutes late is
    /// missed: that is said, and it is not run.
    Run(Box<CronRunArgs>),
}

/// What happens with calls of tools where nobody can be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum JobPolicy {
    /// They are refused
    #[default]
    Deny,
    /// They run
    Auto,
}

#[derive(Args, Debug)]
pub struct CronRunArgs {
    /// Run this job now, whenever it is due
    pub name: Option<String>,

    /// Prepared replies, one JSON object per line, decoded instead of sampled ones
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,

    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    sampling: SamplingArgs,
}

impl CronRunArgs {
    /// What the flags say.
    pub fn layer(&self) -> ConfigLayer {
        let mut layer = ConfigLayer::default();
        self.model.lay(&mut layer);
        self.sampling.lay(&mut layer);
        layer
    }
}
