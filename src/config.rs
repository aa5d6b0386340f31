//! The settings of a run: defaults < file < environment < flags. Each source is a [`ConfigLayer`]; laid
//! over each other the layers become [`Settings`], the only form that reaches the engine.

mod error;
mod layer;
mod mcp;
mod settings;
mod tables;

use std::io::Read;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

pub use crate::models::Env;
pub use error::ConfigError;
pub use layer::ConfigLayer;
pub use settings::{Approve, Settings};
pub use tables::{SandboxTable, ServeTable, Tables};

/// Largest configuration file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

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
    pub fn resolve(&self, env: Env<'_>, flags: ConfigLayer) -> Result<Settings, ConfigError> {
        let (mut file, tables, servers) = match self.read_file()? {
            Some(text) => {
                let (layer, tables) = ConfigLayer::from_toml(&text, &self.config)?;
                (layer, tables, ConfigLayer::servers(&text, &self.config)?)
            }
            None => (ConfigLayer::default(), Tables::default(), Vec::new()),
        };
        let default_model = file.model.take();
        let mut asked = flags.over(ConfigLayer::from_env(env)?);
        // A shell leaves the ~ of `--model=~/x` and of a quoted word.
        asked.go_home(&|key| format!("the value of {key}"))?;
        let settings = Settings::new(asked.clone().over(file))?;
        Ok(Settings {
            asked,
            default_model,
            servers,
            tables,
            ..settings
        })
    }

    /// The text of the configuration file; nothing where there is none.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`].
    pub fn read_file(&self) -> Result<Option<String>, ConfigError> {
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
