//! Flags of `npast sessions export` and `import`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::trajectory;

#[derive(Args, Debug)]
pub struct ExportArgs {
    /// The session
    pub name: String,

    /// How messages are written
    #[arg(long, value_enum, default_value_t)]
    pub form: FormArg,

    /// Also the sessions that it continues and those that continue it, a line each
    #[arg(long)]
    pub lineage: bool,

    /// A new file, which only you may read; without it, standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FormArg {
    /// {"messages":[{"role":…,"content":…}],"tools":[…]}
    #[default]
    Openai,
    /// {"conversations":[{"from":…,"value":…}]}
    Sharegpt,
}

impl From<FormArg> for trajectory::Form {
    fn from(form: FormArg) -> trajectory::Form {
        match form {
            FormArg::Openai => trajectory::Form::OpenAi,
            FormArg::Sharegpt => trajectory::Form::ShareGpt,
        }
    }
}

#[derive(Args, Debug)]
pub struct ImportArgs {
    /// The file
    pub file: PathBuf,

    /// The name of the first session in it; without, the one that it had
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Take messages alone, for a file whose tokens you do not trust
    #[arg(long)]
    pub messages: bool,
}
