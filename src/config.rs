//! What a run is set to: defaults < file < environment < flags. Each source is a [`Layer`]; laid
//! over each other they become [`Settings`], the only form that reaches the engine.

mod layer;
mod mcp;
mod settings;
mod tables;

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

pub use layer::Layer;
pub use settings::{Approve, Settings};
pub use tables::{SandboxTable, ServeTable, Tables};

/// Largest configuration file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Reads one environment variable.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

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
        /// What the parser said, with the line.
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
            ConfigError::UnknownKey { like, .. } => match like {
                Some(like) => format!("did you mean \"{like}\"?"),
                None => format!("known keys: {}", Layer::KEYS.join(", ")),
            },
            ConfigError::Value { .. } => "`npast --help` says what each flag takes".into(),
            ConfigError::Range { key, .. } => {
                format!("give --{key} another value, or correct it in config.toml")
            }
        }
    }
}

/// Where things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The data folder: npast.db, kv/, models/, history.
    pub home: PathBuf,
    /// The configuration file.
    pub config: PathBuf,
    /// Whether somebody named that file, so that it must be there.
    pub config_named: bool,
}

impl Places {
    /// `$NPAST_HOME` and `$NPAST_CONFIG`, else the XDG folders.
    ///
    /// # Errors
    /// [`ConfigError::NoHome`].
    pub fn find(env: Env<'_>) -> Result<Places, ConfigError> {
        let given = |name: &str| {
            let value = env(name).filter(|v| !v.is_empty())?;
            std::path::absolute(value).ok()
        };
        let xdg = || etcetera::choose_base_strategy().map_err(|_| ConfigError::NoHome);
        let named = given("NPAST_CONFIG");
        Ok(Places {
            home: match given("NPAST_HOME") {
                Some(home) => home,
                None => xdg()?.data_dir().join("npast"),
            },
            config_named: named.is_some(),
            config: match named {
                Some(file) => file,
                None => xdg()?.config_dir().join("npast/config.toml"),
            },
        })
    }

    /// The folder of GGUF files that can be named without a path.
    pub fn models(&self) -> PathBuf {
        self.home.join("models")
    }

    /// The session database.
    pub fn db(&self) -> PathBuf {
        self.home.join("npast.db")
    }

    /// File, then environment, then flags, checked.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn resolve(&self, env: Env<'_>, flags: Layer) -> Result<Settings, ConfigError> {
        let (mut file, tables, servers) = match self.read_file()? {
            Some(text) => {
                let (layer, tables) = Layer::from_toml(&text, &self.config)?;
                (layer, tables, Layer::servers(&text, &self.config)?)
            }
            None => (Layer::default(), Tables::default(), Vec::new()),
        };
        let default_model = file.model.take();
        let asked = flags.over(Layer::from_env(env)?);
        let settings = Settings::new(asked.clone().over(file))?;
        Ok(Settings {
            asked,
            default_model,
            servers,
            tables,
            ..settings
        })
    }

    fn read_file(&self) -> Result<Option<String>, ConfigError> {
        match read_bounded(&self.config) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !self.config_named => Ok(None),
            Err(e) => Err(ConfigError::Unreadable {
                path: self.config.clone(),
                reason: e.to_string(),
            }),
        }
    }
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(std::io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
