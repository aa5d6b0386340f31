//! Why a run could not be configured.

use std::path::PathBuf;

/// Why a run could not be configured. All of them are wrong usage.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Neither `NPAST_HOME` nor a home folder.
    #[error("no home folder is known, so there is no place for sessions")]
    NoHome,
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Not TOML.
    #[error("the configuration file {path} is not TOML: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The error of the parser, with the line.
        reason: String,
    },
    /// A key that nothing reads.
    #[error("the key \"{key}\" in {path} is not known")]
    UnknownKey {
        /// The key.
        key: String,
        /// The file.
        path: PathBuf,
        /// The known key most like it.
        like: Option<&'static str>,
        /// All known keys.
        known: &'static [&'static str],
    },
    /// A value of another kind.
    #[error("{place} cannot be read: {reason}")]
    Value {
        /// Key and file, or the variable.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A value out of range.
    #[error("{key} must be {want}, and it is {got}")]
    Range {
        /// The key, which is also the flag's name.
        key: &'static str,
        /// What is allowed.
        want: String,
        /// As given.
        got: String,
    },
}

impl ConfigError {
    /// What the user can do.
    pub fn hint(&self) -> String {
        match self {
            ConfigError::NoHome => "set NPAST_HOME to a folder".into(),
            ConfigError::Unreadable { .. } => {
                "NPAST_CONFIG names another file; without it npast/config.toml in the XDG \
                 config folder is read if it is there"
                    .into()
            }
            ConfigError::Syntax { .. } => "a line has the form `key = value`".into(),
            ConfigError::UnknownKey { like, known, .. } => match like {
                Some(like) => format!("did you mean \"{like}\"?"),
                None => format!("known keys: {}", known.join(", ")),
            },
            ConfigError::Value { .. } => "`npast --help` says what each flag takes".into(),
            ConfigError::Range { key, .. } => {
                format!("give --{key} another value, or correct it in config.toml")
            }
        }
    }
}
