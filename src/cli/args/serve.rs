//! Flags of `npast serve`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::{ModelArgs, SamplingArgs, ToolArgs};
use crate::cli::serve::ClientProgram;
use crate::config::ConfigLayer;

const EXAMPLES: &str = "\
Examples:
  npast serve -m qwen3-4b
  npast serve --listen 127.0.0.1:9000 --max-replies 8
  npast serve --print-config opencode";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Every caller must show the token, also on this machine
    ///
    /// The token is the file `token` in the data folder. Without this flag the APIs of OpenAI and
    /// Anthropic are open to every program of this machine; npast's own sessions never are.
    #[arg(long)]
    pub require_token: bool,

    /// Listen beyond this machine; every caller must show the token then
    #[arg(long)]
    pub allow_remote: bool,

    /// Another name by which this server is called, such as the one that a proxy uses; repeatable
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,

    /// A web page's origin that may call this server, such as http://localhost:3000; repeatable
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub origins: Vec<String>,

    /// Requests a minute that each address may make; 0 lets all through
    ///
    /// Without this flag it is 600 for a server that listens beyond this machine, and as many as they
    /// like for one that does not.
    #[arg(long, value_name = "N")]
    pub rate_limit: Option<u32>,

    /// Replies that run or wait at the same time; one more is told to try again
    ///
    /// Without this flag it is `max-replies` of the configuration file, else 128.
    #[arg(long, value_name = "N")]
    pub max_replies: Option<NonZeroUsize>,

    /// Prepared replies, one JSON object per line, decoded instead of sampled ones
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,

    /// After SIGTERM or Ctrl-C, so many seconds for replies that run; new requests are refused
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    pub drain: u64,

    /// Do not let command lines work through this server
    ///
    /// They load the model themselves then. Needed for a second server of one data folder.
    #[arg(long)]
    pub alone: bool,

    /// Print what a client needs to use this server, and end
    #[arg(long, value_name = "CLIENT")]
    pub print_config: Option<ClientProgram>,

    #[command(flatten)]
    tooling: ToolArgs,

    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    sampling: SamplingArgs,
}

impl ServeArgs {
    /// What the flags say.
    pub fn layer(&self) -> ConfigLayer {
        let mut layer = ConfigLayer::default();
        self.tooling.lay(&mut layer);
        self.model.lay(&mut layer);
        self.sampling.lay(&mut layer);
        layer
    }
}
