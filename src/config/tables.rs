//! The tables of the configuration file: `[approve]`, `[sandbox]` and `[serve]`. The one-word forms of
//! the first two (`approve = "auto"`, `sandbox = "off"`) are keys like others.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::ConfigError;
use crate::approve::{ApprovalRule, ApprovalRules};

/// What only the file can say.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// `[approve]`: rules by tool and pattern.
    pub rules: ApprovalRules,
    /// `[sandbox]`: what it opens.
    pub sandbox: SandboxTable,
    /// `[serve]`: how a gateway is set, besides its flags.
    pub serve: ServeTable,
}

/// `[serve]`. A gateway reads it again while it runs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServeTable {
    /// Every caller must show the token.
    pub require_token: bool,
    /// Other names by which the server is called.
    pub hosts: Vec<String>,
    /// Origins of web pages that may call.
    pub allow_origins: Vec<String>,
    /// Replies that run or wait at the same time.
    pub max_replies: Option<usize>,
    /// Requests a minute of each address; 0 lets all through.
    pub rate_limit: Option<u32>,
    /// Most MiB of a request's body.
    pub max_body: Option<usize>,
    /// What is logged, as in NPAST_LOG.
    pub log: Option<String>,
}

/// `[sandbox]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxTable {
    mode: Option<String>,
    /// Whether programs may reach the network.
    pub network: bool,
    /// Folders that programs may write besides the project; absolute.
    pub write: Vec<PathBuf>,
    /// Variables that programs see besides the usual ones.
    pub env: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ApproveTable {
    policy: Option<String>,
    allow: Vec<String>,
    ask: Vec<String>,
    deny: Vec<String>,
}

impl Tables {
    /// Takes the tables out of `table` and leaves their one-word forms in it.
    pub(super) fn take(table: &mut toml::Table, path: &Path) -> Result<Tables, ConfigError> {
        let wrong = |key: &str, reason: String| ConfigError::Value {
            place: format!("the table [{key}] in {}", path.display()),
            reason,
        };
        let mut tables = Tables::default();
        if let Some(approve) = section::<ApproveTable>(table, "approve", path)? {
            let rules = |texts: Vec<String>| -> Result<Vec<ApprovalRule>, ConfigError> {
                let rules = texts.iter().map(|text| ApprovalRule::parse(text));
                let rules: Result<_, _> = rules.collect();
                rules.map_err(|e| wrong("approve", e.to_string()))
            };
            tables.rules = ApprovalRules {
                allow: rules(approve.allow)?,
                ask: rules(approve.ask)?,
                deny: rules(approve.deny)?,
            };
            if let Some(policy) = approve.policy {
                table.insert("approve".into(), policy.into());
            }
        }
        if let Some(mut sandbox) = section::<SandboxTable>(table, "sandbox", path)? {
            for written in &mut sandbox.write {
                *written = absolute(written, path).map_err(|e| wrong("sandbox", e))?;
            }
            if let Some(mode) = sandbox.mode.take() {
                table.insert("sandbox".into(), mode.into());
            }
            tables.sandbox = sandbox;
        }
        if let Some(serve) = section::<ServeTable>(table, "serve", path)? {
            let within = |key: &str, value: Option<usize>, most: usize| match value {
                Some(n) if n == 0 || n > most => {
                    Err(wrong("serve", format!("{key} is between 1 and {most}")))
                }
                _ => Ok(()),
            };
            within("max-replies", serve.max_replies, 100_000)?;
            within("max-body", serve.max_body, 4096)?;
            tables.serve = serve;
        }
        Ok(tables)
    }
}

/// A path with the home folder in the place of a `~` at its beginning, as a shell reads it.
///
/// # Errors
/// It is the home folder of another user (`~user/…`), or this user has none.
pub(super) fn at_home(named: &Path) -> Result<PathBuf, String> {
    let mut parts = named.components();
    let first = parts.next().map(|part| part.as_os_str().to_string_lossy());
    match first.as_deref() {
        Some("~") => {
            let home = etcetera::home_dir().map_err(|_| "no home folder is known".to_owned())?;
            Ok(home.join(parts.as_path()))
        }
        Some(other) if other.starts_with('~') && parts.next().is_some() => {
            Err(format!("write {} out, without {other}", named.display()))
        }
        _ => Ok(named.to_owned()),
    }
}

/// A folder that `file` names: a relative path starts at the file's own folder.
///
/// # Errors
/// Why it is no folder's name.
pub(super) fn absolute(named: &Path, file: &Path) -> Result<PathBuf, String> {
    let named = at_home(named)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    std::path::absolute(folder.join(named)).map_err(|e| e.to_string())
}

/// A key's value where it is a table.
fn section<'a, T: Deserialize<'a>>(
    table: &mut toml::Table,
    key: &str,
    path: &Path,
) -> Result<Option<T>, ConfigError> {
    if !table.get(key).is_some_and(toml::Value::is_table) {
        return Ok(None);
    }
    let Some(value) = table.remove(key) else {
        return Ok(None);
    };
    value
        .try_into()
        .map(Some)
        .map_err(|e: toml::de::Error| ConfigError::Value {
            place: format!("the table [{key}] in {}", path.display()),
            reason: e.message().replace('\n', ", "),
        })
}
