//! What a client needs to know of a server, in the form in which that client reads it.

use std::fmt::Write;

use clap::ValueEnum;
use serde_json::{Value, json};

/// A client whose configuration can be printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ClientProgram {
    /// Codex: config.toml
    Codex,
    /// Claude Code: settings.json
    Claude,
    /// OpenCode: opencode.json
    Opencode,
    /// Hermes: config.yaml
    Hermes,
    /// Zed: settings.json
    Zed,
    /// Continue: config.yaml
    Continue,
    /// Open WebUI: variables
    Openwebui,
}

/// What is told of a server.
pub struct ServerFacts {
    /// Its address, such as `http://127.0.0.1:8080`.
    pub url: String,
    /// The model's name.
    pub model: String,
    /// Tokens of a conversation.
    pub context: usize,
    /// The token.
    pub token: String,
}

/// What a client waits for an answer: a long prompt takes minutes on a small machine.
const PATIENCE_MS: u64 = 3_600_000;

impl ClientProgram {
    /// The block, with a comment that says where it belongs where the form has comments; else the
    /// second text says it.
    pub fn config(self, facts: &ServerFacts) -> (String, Option<&'static str>) {
        match self {
            ClientProgram::Codex => (codex(facts), None),
            ClientProgram::Claude => (
                json(&claude(facts)),
                Some(
                    "belongs into ~/.claude/settings.json, or .claude/settings.local.json of a project",
                ),
            ),
            ClientProgram::Opencode => (
                json(&opencode(facts)),
                Some(
                    "belongs into ~/.config/opencode/opencode.json, or opencode.json of a project",
                ),
            ),
            ClientProgram::Hermes => (hermes(facts), None),
            ClientProgram::Zed => (
                json(&zed(facts)),
                Some(
                    "belongs into Zed's settings.json; Zed takes the token from the variable \
                     NPAST_API_KEY, or from its own settings of the provider",
                ),
            ),
            ClientProgram::Continue => (continue_(facts), None),
            ClientProgram::Openwebui => (openwebui(facts), None),
        }
    }
}

fn json(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// A reply can have a quarter of the context.
fn output(facts: &ServerFacts) -> usize {
    (facts.context / 4).max(1)
}

/// A string as TOML, YAML and JSON read it.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn codex(facts: &ServerFacts) -> String {
    let mut text = String::new();
    let _ = write!(
        text,
        "# Belongs into ~/.codex/config.toml. Codex takes the token from a variable:\n\
         # export NPAST_TOKEN={token}\n\
         model = {model}\n\
         model_provider = \"npast\"\n\
         model_context_window = {context}\n\
         \n\
         [model_providers.npast]\n\
         name = \"npast\"\n\
         base_url = {url}\n\
         wire_api = \"responses\"\n\
         env_key = \"NPAST_TOKEN\"\n\
         stream_idle_timeout_ms = {PATIENCE_MS}\n",
        token = facts.token,
        model = quoted(&facts.model),
        context = facts.context,
        url = quoted(&format!("{}/v1", facts.url)),
    );
    text
}

fn claude(facts: &ServerFacts) -> Value {
    json!({
        "env": {
            "ANTHROPIC_BASE_URL": facts.url,
            "ANTHROPIC_AUTH_TOKEN": facts.token,
            "ANTHROPIC_MODEL": facts.model,
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": facts.model,
            "ANTHROPIC_DEFAULT_SONNET_MODEL": facts.model,
            "ANTHROPIC_DEFAULT_OPUS_MODEL": facts.model,
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS": output(facts).to_string(),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
            "API_TIMEOUT_MS": PATIENCE_MS.to_string(),
        },
    })
}

fn opencode(facts: &ServerFacts) -> Value {
    let model = json!({
        "name": facts.model,
        "tool_call": true,
        "limit": { "context": facts.context, "output": output(facts) },
    });
    json!({
        "$schema": "https://opencode.ai/config.json",
        "provider": {
            "npast": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "npast",
                "options": {
                    "baseURL": format!("{}/v1", facts.url),
                    "apiKey": facts.token,
                    "timeout": false,
                },
                "models": { facts.model.as_str(): model },
            },
        },
        "model": format!("npast/{}", facts.model),
        "small_model": format!("npast/{}", facts.model),
    })
}

fn hermes(facts: &ServerFacts) -> String {
    let mut text = String::new();
    let _ = write!(
        text,
        "# Belongs into ~/.hermes/config.yaml. Hermes wants a context of at least 65536 tokens.\n\
         model:\n  \
           provider: custom\n  \
           base_url: {url}\n  \
           api_key: {token}\n  \
           default: {model}\n  \
           context_length: {context}\n",
        url = quoted(&format!("{}/v1", facts.url)),
        token = quoted(&facts.token),
        model = quoted(&facts.model),
        context = facts.context,
    );
    text
}

fn zed(facts: &ServerFacts) -> Value {
    json!({
        "language_models": {
            "openai_compatible": {
                "npast": {
                    "api_url": format!("{}/v1", facts.url),
                    "available_models": [{
                        "name": facts.model,
                        "display_name": facts.model,
                        "max_tokens": facts.context,
                        "max_output_tokens": output(facts),
                        "capabilities": {
                            "tools": true,
                            "images": false,
                            "parallel_tool_calls": true,
                            "prompt_cache_key": true,
                        },
                    }],
                },
            },
        },
        "agent": { "default_model": { "provider": "npast", "model": facts.model } },
    })
}

fn continue_(facts: &ServerFacts) -> String {
    let mut text = String::new();
    let _ = write!(
        text,
        "# Belongs into ~/.continue/config.yaml.\n\
         name: npast\n\
         version: 1.0.0\n\
         schema: v1\n\
         models:\n  \
           - name: {model}\n    \
             provider: openai\n    \
             model: {model}\n    \
             apiBase: {url}\n    \
             apiKey: {token}\n    \
             roles: [chat, edit, apply]\n    \
             capabilities: [tool_use]\n    \
             defaultCompletionOptions:\n      \
               contextLength: {context}\n      \
               maxTokens: {output}\n    \
             requestOptions:\n      \
               timeout: {PATIENCE_MS}\n",
        model = quoted(&facts.model),
        url = quoted(&format!("{}/v1", facts.url)),
        token = quoted(&facts.token),
        context = facts.context,
        output = output(facts),
    );
    text
}

fn openwebui(facts: &ServerFacts) -> String {
    let mut text = String::new();
    let _ = write!(
        text,
        "# Variables of Open WebUI. From a container this machine is host.docker.internal: start\n\
         # npast serve with --listen 0.0.0.0:PORT --allow-remote --host host.docker.internal.\n\
         OPENAI_API_BASE_URL={url}/v1\n\
         OPENAI_API_KEY={token}\n\
         ENABLE_OLLAMA_API=false\n\
         AIOHTTP_CLIENT_TIMEOUT={seconds}\n",
        url = facts.url,
        token = facts.token,
        seconds = PATIENCE_MS / 1000,
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> ServerFacts {
        ServerFacts {
            url: "http://127.0.0.1:8080".into(),
            model: "Qwen3 \"8B\"".into(),
            context: 32768,
            token: "secret".into(),
        }
    }

    fn config(client: ClientProgram) -> String {
        client.config(&facts()).0
    }

    #[test]
    fn codex_reads_toml() {
        let table: toml::Table = config(ClientProgram::Codex).parse().unwrap();
        let provider = &table["model_providers"]["npast"];
        assert_eq!(table["model"].as_str(), Some("Qwen3 \"8B\""));
        assert_eq!(
            provider["base_url"].as_str(),
            Some("http://127.0.0.1:8080/v1")
        );
        assert_eq!(provider["wire_api"].as_str(), Some("responses"));
        assert_eq!(
            provider["stream_idle_timeout_ms"].as_integer(),
            Some(3_600_000)
        );
    }

    #[test]
    fn claude_opencode_and_zed_read_json() {
        let read = |client| serde_json::from_str::<Value>(&config(client)).unwrap();
        let claude = read(ClientProgram::Claude);
        assert_eq!(claude["env"]["ANTHROPIC_BASE_URL"], "http://127.0.0.1:8080");
        assert_eq!(claude["env"]["ANTHROPIC_AUTH_TOKEN"], "secret");
        // Variables are strings.
        let all = claude["env"].as_object().unwrap();
        assert!(all.values().all(Value::is_string));
        let opencode = read(ClientProgram::Opencode);
        assert_eq!(opencode["model"], "npast/Qwen3 \"8B\"");
        let limit = &opencode["provider"]["npast"]["models"]["Qwen3 \"8B\""]["limit"];
        assert_eq!(*limit, json!({ "context": 32768, "output": 8192 }));
        let zed = read(ClientProgram::Zed);
        let zed = &zed["language_models"]["openai_compatible"]["npast"];
        assert_eq!(zed["available_models"][0]["max_tokens"], 32768);
    }

    #[test]
    fn the_others_read_yaml_and_variables() {
        assert_eq!(
            config(ClientProgram::Hermes),
            "# Belongs into ~/.hermes/config.yaml. Hermes wants a context of at least 65536 tokens.\n\
             model:\n  provider: custom\n  base_url: \"http://127.0.0.1:8080/v1\"\n  \
             api_key: \"secret\"\n  default: \"Qwen3 \\\"8B\\\"\"\n  context_length: 32768\n"
        );
        let text = config(ClientProgram::Continue);
        assert!(
            text.contains("\n  - name: \"Qwen3 \\\"8B\\\"\"\n    provider: openai\n"),
            "{text}"
        );
        assert!(text.contains("\n      contextLength: 32768\n"), "{text}");
        let text = config(ClientProgram::Openwebui);
        assert!(
            text.contains(
                "\nOPENAI_API_BASE_URL=http://127.0.0.1:8080/v1\nOPENAI_API_KEY=secret\n"
            )
        );
    }
}
