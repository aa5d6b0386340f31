//! `npast config`: the configuration file with every key explained. What the file sets stands in it as it is
//! set; every other key is a comment with a value that could stand there. The explanations are those of the
//! flags, so that there is one text for both.

use clap::CommandFactory;
use serde_json::json;

use super::CliContext;
use super::args::Cli;
use super::error::Failure;
use super::output::{self, wrap};
use crate::config::{ConfigError, ConfigLayer, Env};
use crate::harmless;

/// Columns of an explanation.
const WIDTH: usize = 92;

/// The keys in groups, each with a value that could stand there.
const GROUPS: &[(&str, &[(&str, &str)])] = &[
    (
        "Model",
        &[
            ("model", "\"qwen3-4b\""),
            ("gpu-layers", "99"),
            ("main-gpu", "0"),
            ("tensor-split", "[3.0, 1.0]"),
            ("override-tensor", "[\"exps=CPU\"]"),
            ("n-cpu-moe", "0"),
            ("no-mmap", "false"),
            ("chat-template", "\"template.jinja\""),
            ("no-thinking", "false"),
        ],
    ),
    (
        "Memory",
        &[
            ("ctx", "16384"),
            ("cache-type", "\"f16\""),
            ("no-kv-offload", "false"),
            ("no-store", "false"),
            ("no-idle", "false"),
            ("kv-quota", "\"20GiB\""),
            ("policy", "\"exact\""),
            ("threads", "8"),
            ("threads-batch", "8"),
            ("ubatch", "512"),
            ("rope-scaling", "\"yarn\""),
            ("rope-freq-base", "1000000.0"),
            ("rope-freq-scale", "1.0"),
            ("yarn-ext-factor", "1.0"),
            ("yarn-attn-factor", "1.0"),
            ("yarn-beta-fast", "32.0"),
            ("yarn-beta-slow", "1.0"),
            ("yarn-orig-ctx", "32768"),
        ],
    ),
    (
        "Sampling",
        &[
            ("temp", "0.8"),
            ("top-k", "40"),
            ("top-p", "0.95"),
            ("min-p", "0.05"),
            ("repeat-penalty", "1.0"),
            ("seed", "7"),
            ("max-tokens", "2048"),
            ("stop", "[\"END\"]"),
            ("repeats", "\"stop\""),
        ],
    ),
    (
        "Long conversations",
        &[
            ("compress", "\"auto\""),
            ("compress-at", "75"),
            ("compress-tail", "3000"),
            ("prune", "\"auto\""),
            ("flush-memory", "\"auto\""),
            ("shift", "false"),
        ],
    ),
    (
        "Agent",
        &[
            ("system", "\"@prompt.md\""),
            ("no-tools", "false"),
            ("with-tools", "[\"fetch_url\"]"),
            ("without-tools", "[\"terminal\"]"),
            ("max-steps", "50"),
            ("max-turn-tokens", "100000"),
            ("approve", "\"ask\""),
            ("sandbox", "\"on\""),
        ],
    ),
];

/// Tables, which stand behind all keys.
const TABLES: &[(&str, &str)] = &[
    (
        "approve",
        "# Which calls of tools run without a question, are asked about, or are refused. With this table the\n\
         # key approve above is called policy.\n\
         # [approve]\n\
         # policy = \"ask\"\n\
         # allow = [\"terminal: cargo test *\"]\n\
         # ask = []\n\
         # deny = [\"fetch_url\"]\n",
    ),
    (
        "sandbox",
        "# What the sandbox opens to programs. With this table the key sandbox above is called mode.\n\
         # [sandbox]\n\
         # mode = \"on\"\n\
         # network = false\n\
         # write = [\"~/.cargo\"]\n\
         # env = [\"CC\"]\n",
    ),
    (
        "serve",
        "# How npast serve is set, besides its flags.\n\
         # [serve]\n\
         # require-token = false\n\
         # hosts = [\"npast.example\"]\n\
         # allow-origins = [\"http://localhost:3000\"]\n\
         # max-replies = 128\n\
         # rate-limit = 0\n\
         # max-body = 64\n\
         # log = \"npast=info\"\n",
    ),
    (
        "mcp",
        "# A server of tools (MCP); as many as you like, each with a name of its own.\n\
         # [mcp.files]\n\
         # command = \"~/bin/files-server\"\n\
         # args = [\"--stdio\"]\n\
         # env = { LOG = \"off\" }\n\
         # tools = [\"search\"]\n\
         # write = [\"~/data\"]\n\
         # network = false\n",
    ),
];

/// Prints the file; with `--json` what file and variables set.
///
/// # Errors
/// The file cannot be read, or something in it is wrong.
pub fn run(run: &CliContext, env: Env<'_>) -> Result<i32, Failure> {
    let text = run.places.read_file()?;
    // What is wrong with the file is said as at every start.
    run.places.resolve(env, ConfigLayer::default())?;
    let variables = ConfigLayer::from_env(env)?;
    let path = run.places.config.display().to_string();
    let there = text.is_some();
    let set: toml::Table =
        text.as_deref()
            .unwrap_or_default()
            .parse()
            .map_err(|e: toml::de::Error| ConfigError::Syntax {
                path: run.places.config.clone(),
                reason: e.message().replace('\n', ", "),
            })?;
    if run.json {
        return output::json::lines(&[json!({
            "type": "config", "path": path, "exists": there, "file": json!(set),
            "variables": variables.said(),
        })]);
    }
    output::content(&explained(&harmless::line(&path), there, &set, &variables))
}

/// The file's text.
fn explained(path: &str, there: bool, set: &toml::Table, variables: &ConfigLayer) -> String {
    let mut text = format!(
        "# The configuration file of npast: {path}{}\n\
         # Lines that begin with # say what could be set. Flags win over variables, variables over this file.\n\
         # A key is also a variable: top-k is NPAST_TOP_K. Relative paths begin at this file's folder.\n",
        if there { "" } else { " (there is none yet)" }
    );
    let said = variables.said();
    for (group, keys) in GROUPS {
        text += &format!("\n# --- {group} ---\n");
        for (key, sample) in *keys {
            text.push('\n');
            for row in wrap_words(&meaning(key), WIDTH) {
                text += &format!("# {row}\n");
            }
            if let Some(value) = said.get(*key) {
                text += &format!(
                    "# The variable {} is set and wins: {value}\n",
                    variable(key)
                );
            }
            match set.get(*key).filter(|value| !value.is_table()) {
                Some(value) => text += &format!("{key} = {value}\n"),
                None => text += &format!("# {key} = {sample}\n"),
            }
        }
    }
    text += "\n# --- Tables ---\n";
    for (name, sample) in TABLES {
        text.push('\n');
        match set.get(*name).filter(|value| value.is_table()) {
            Some(value) => {
                let one = toml::Table::from_iter([((*name).to_owned(), value.clone())]);
                text += &one.to_string();
            }
            None => text += sample,
        }
    }
    text
}

/// What the flag of this key says of itself, in short.
fn meaning(key: &str) -> String {
    let flag = match key {
        "with-tools" => "with-tool",
        "without-tools" => "without-tool",
        key => key,
    };
    let command = Cli::command();
    let arg = command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(flag));
    let help = arg.and_then(|arg| arg.get_help());
    help.map(ToString::to_string).unwrap_or_default()
}

fn variable(key: &str) -> String {
    format!("NPAST_{}", key.to_uppercase().replace('-', "_"))
}

/// A text in rows of at most `width` columns, broken between words.
fn wrap_words(text: &str, width: usize) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match rows.last_mut() {
            Some(row) if row.len() + 1 + word.len() <= width => {
                row.push(' ');
                row.push_str(word);
            }
            _ => rows.extend(wrap(word, width)),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Settings;

    #[test]
    fn every_key_is_explained_once_and_its_sample_can_be_set() {
        let mut keys: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, keys)| keys.iter().map(|(key, _)| *key))
            .collect();
        for key in &keys {
            assert!(!meaning(key).is_empty(), "{key} has no explanation");
        }
        keys.sort_unstable();
        let mut known = ConfigLayer::KEYS.to_vec();
        known.sort_unstable();
        assert_eq!(keys, known);
        let text = explained("PATH", true, &toml::Table::new(), &ConfigLayer::default());
        // With all that is a comment set, but for the words that explain.
        let set = |table: bool| {
            let mut tables = false;
            let lines = text.lines().filter_map(|line| line.strip_prefix("# "));
            let lines = lines.filter(|line| {
                tables |= line.starts_with("--- Tables");
                let value = line.split_once(" = ").is_some_and(|(key, _)| {
                    key.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
                });
                tables == table && (value || (table && line.starts_with('[')))
            });
            lines.collect::<Vec<_>>().join("\n")
        };
        let (layer, _) = ConfigLayer::from_toml(&set(false), Path::new("/x/config.toml")).unwrap();
        assert_eq!(layer.said().len(), ConfigLayer::KEYS.len());
        Settings::new(layer).unwrap();
        let tables = set(true);
        ConfigLayer::from_toml(&tables, Path::new("/x/config.toml")).unwrap();
        let servers = ConfigLayer::servers(&tables, Path::new("/x/config.toml")).unwrap();
        assert_eq!(servers.len(), 1);
        assert!(text.lines().all(|line| line.len() <= 110), "{text}");
    }

    #[test]
    fn what_is_set_stands_in_it_as_it_is_set_and_is_read_back() {
        let file = "top-k = 7\nstop = [\"a\\u001b\", \"b\"]\ntop-p = 0.95\n\
                    [approve]\npolicy = \"auto\"\nallow = [\"terminal: ls\"]\n\
                    [mcp.x]\ncommand = \"y\"\n";
        let set: toml::Table = file.parse().unwrap();
        let variables = ConfigLayer {
            top_k: Some(9),
            ..ConfigLayer::default()
        };
        let text = explained("PATH", true, &set, &variables);
        for part in [
            "\ntop-k = 7\n",
            "\ntop-p = 0.95\n",
            "# The variable NPAST_TOP_K is set and wins: 9\n",
            "# temp = 0.8\n",
            "# approve = \"ask\"\n",
            "[approve]\n",
            "# [serve]\n",
        ] {
            assert!(text.contains(part), "{part:?} is missing in {text}");
        }
        assert!(!text.contains('\u{1b}'), "{text}");
        let again: toml::Table = text.parse().unwrap();
        assert_eq!(again, set);
    }
}
