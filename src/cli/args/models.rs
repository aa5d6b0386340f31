//! Flags of `npast models`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

const EXAMPLES: &str = "\
Examples:
  npast models
  npast models pull qwen3-4b
  npast models info qwen3-4b
  npast models default qwen3-4b
  npast models rm 'old-*'";

const PULL: &str = "\
Examples:
  npast models pull
  npast models pull qwen3-4b
  npast models pull hf:Qwen/Qwen3-4B-GGUF:Q8_0
  npast models pull 'https://example.com/model.gguf#sha256=…'";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ModelsArgs {
    #[command(subcommand)]
    pub command: Option<ModelsCommand>,
}

#[derive(Subcommand, Debug)]
pub enum ModelsCommand {
    /// Every model of this machine with the name that -m takes (also without a word behind `models`)
    ///
    /// Those of npast's own folder, of the cache of the Hugging Face hub, and of Ollama's store.
    #[command(visible_alias = "ls")]
    List,
    /// Fetch a model: hf:OWNER/REPO[:QUANT], the address of a GGUF file, or a short name
    ///
    /// Without one, the short names. What was begun goes on. A model of the hub comes into its cache
    /// (LLAMA_CACHE, HF_HUB_CACHE or HF_HOME name it), where other programs find it too, and one with
    /// an address into npast's models folder; `#sha256=…` behind an address has its sum checked.
    /// HF_TOKEN is the token for models that want one, HF_ENDPOINT another hub.
    #[command(after_help = PULL)]
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
    /// Remove models from the disk; there is no way back
    Rm {
        /// Their names in the list; * stands for any characters
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// The model that is taken where none is named; with a name, that one from now on
    Default {
        /// Its name in the list
        model: Option<String>,
    },
}
