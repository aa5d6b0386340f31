//! Flags of `npast serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::{ModelArgs, SamplingArgs, ToolArgs};
use crate::cli::serve::ClientProgram;
use crate::config::ConfigLayer;

#[derive(Args, Debug)]
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

    /// Prepared replies, one JSON object per line, decoded instead of sampled ones
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,

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
