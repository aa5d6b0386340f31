//! MCP servers in the configuration file: a table `[mcp.NAME]` each, which no variable and no flag
//! can set.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ConfigError;
use super::tables::{absolute, at_home};
use crate::tools::ServerConfig;

/// The table's name in the file.
pub(super) const KEY: &str = "mcp";

/// Most servers.
const MAX_SERVERS: usize = 16;

/// Longest name of a server, in bytes: tools have its name in front of theirs.
const MAX_NAME: usize = 24;

/// Most folders that a server may write besides the project.
const MAX_FOLDERS: usize = 16;

/// How long a server may take to start, in seconds.
const START: u64 = 20;

/// How long one call may take, in seconds.
const CALL: u64 = 120;

/// Keys of a server.
const KEYS: &[&str] = &[
    "command",
    "args",
    "env",
    "tools",
    "enabled",
    "start-seconds",
    "call-seconds",
    "network",
    "write",
    "sandbox",
];

/// Reads the table `mcp` of the file `path`. Servers come in order of their names; those with
/// `enabled = false` are checked and left out.
///
/// # Errors
/// [`ConfigError::Value`] names the server's key and what is wrong with it.
pub(super) fn servers(value: &toml::Value, path: &Path) -> Result<Vec<ServerConfig>, ConfigError> {
    let wrong = |key: &str, reason: String| ConfigError::Value {
        place: format!("the key \"{key}\" in {}", path.display()),
        reason,
    };
    let Some(table) = value.as_table() else {
        return Err(wrong(KEY, "a server is a table [mcp.NAME]".into()));
    };
    let mut servers = Vec::new();
    for (name, value) in table {
        let key = format!("{KEY}.{name}");
        let Some(table) = value.as_table() else {
            return Err(wrong(&key, "a server is a table [mcp.NAME]".into()));
        };
        if !is_name(name) {
            let reason = format!("a name has 1 to {MAX_NAME} ASCII letters, digits, _ and -");
            return Err(wrong(&key, reason));
        }
        let server = Section {
            key,
            table,
            file: path,
        };
        let read = server
            .read(name)
            .map_err(|(key, reason)| wrong(&key, reason))?;
        servers.extend(read);
    }
    if servers.len() > MAX_SERVERS {
        return Err(wrong(
            KEY,
            format!("there are {} servers, {MAX_SERVERS} can be", servers.len()),
        ));
    }
    servers.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(servers)
}

fn is_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(good)
}

/// The keys of one server; an error is the key and what is wrong.
struct Section<'a> {
    key: String,
    table: &'a toml::Table,
    /// The configuration file.
    file: &'a Path,
}

type Wrong = (String, String);

impl Section<'_> {
    /// `None` where the server is not enabled.
    fn read(&self, name: &str) -> Result<Option<ServerConfig>, Wrong> {
        if let Some(unknown) = self.table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            let reason = format!("a server has the keys {}", KEYS.join(", "));
            return Err((format!("{}.{unknown}", self.key), reason));
        }
        let command: String = self
            .get("command")?
            .ok_or_else(|| (self.key.clone(), "it needs a command".to_owned()))?;
        if command.is_empty() {
            return Err((format!("{}.command", self.key), "it is empty".to_owned()));
        }
        let command = at_home(Path::new(&command))
            .map_err(|reason| (format!("{}.command", self.key), reason))?
            .to_string_lossy()
            .into_owned();
        let server = ServerConfig {
            name: name.to_owned(),
            command,
            args: self.get("args")?.unwrap_or_default(),
            env: self
                .get::<BTreeMap<String, String>>("env")?
                .unwrap_or_default(),
            tools: self.get("tools")?,
            start_limit: self.seconds("start-seconds", START)?,
            call_limit: self.seconds("call-seconds", CALL)?,
            network: self.get("network")?.unwrap_or(false),
            write: self.folders("write")?,
            sandbox: self.get("sandbox")?.unwrap_or(true),
        };
        Ok(self.get("enabled")?.unwrap_or(true).then_some(server))
    }

    fn get<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Wrong> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let read = value.clone().try_into();
        read.map(Some).map_err(|error: toml::de::Error| {
            let reason = error.message().replace('\n', ", ");
            (format!("{}.{key}", self.key), reason)
        })
    }

    fn folders(&self, key: &str) -> Result<Vec<PathBuf>, Wrong> {
        let named: Vec<PathBuf> = self.get(key)?.unwrap_or_default();
        let wrong = |reason| (format!("{}.{key}", self.key), reason);
        if named.len() > MAX_FOLDERS {
            return Err(wrong(format!("at most {MAX_FOLDERS} folders can be named")));
        }
        let whole = named.iter().map(|folder| absolute(folder, self.file));
        whole.collect::<Result<_, _>>().map_err(wrong)
    }

    fn seconds(&self, key: &str, default: u64) -> Result<Duration, Wrong> {
        let seconds = self.get(key)?.unwrap_or(default);
        match seconds {
            1..=3600 => Ok(Duration::from_secs(seconds)),
            _ => Err((
                format!("{}.{key}", self.key),
                "it must be between 1 and 3600".to_owned(),
            )),
        }
    }
}
