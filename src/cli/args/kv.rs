//! Flags of `npast kv`.

use clap::{Args, Subcommand};

use super::ModelArgs;
use crate::config::ConfigLayer;

const EXAMPLES: &str = "\
Examples:
  npast kv
  npast kv verify
  npast kv gc --kv-quota 5GiB";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct KvArgs {
    #[command(subcommand)]
    pub command: Option<KvCommand>,

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
    /// Files, bytes, free space; per model and session what is stored and what a start would read (also
    /// without a word behind `kv`)
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
