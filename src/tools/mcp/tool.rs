//! A server's tool as the model sees it: a bounded name, description and schema, and results as
//! text.

use std::path::Path;
use std::sync::Arc;

use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::Value;

use super::ServerConfig;
use super::link::ServerLink;
use crate::tools::{CallContext, Effect, Spec, Subject, Tool, ToolAnswer, schema, shown};

/// Longest name of a tool, in bytes.
const MAX_NAME: usize = 64;

/// Longest description, in bytes.
const MAX_DESCRIPTION: usize = 400;

/// Largest schema, in bytes of JSON: each costs tokens in every session. The server checks its
/// arguments itself, so a larger one can lose what lies deep in it.
const MAX_SCHEMA: usize = 4096;

/// A tool of a server.
pub(super) struct McpTool {
    spec: Spec,
    /// The server's name of it.
    remote: String,
    /// What was odd in its schema.
    odd: Vec<String>,
    /// What its server may do that programs may not.
    open: Option<&'static str>,
    link: Arc<ServerLink>,
}

impl McpTool {
    /// Takes over a listed tool.
    pub fn new(
        listed: &rmcp::model::Tool,
        config: &ServerConfig,
        link: Arc<ServerLink>,
    ) -> McpTool {
        let described = listed.description.as_deref().unwrap_or_default();
        let normal = schema::normal(&Value::Object((*listed.input_schema).clone()), MAX_SCHEMA);
        McpTool {
            spec: Spec {
                name: name(&link.name, &listed.name),
                description: description(described),
                parameters: normal.schema,
            },
            odd: normal.odd,
            remote: listed.name.clone().into_owned(),
            open: match (config.sandbox, config.network) {
                (false, _) => Some("its server runs outside of the sandbox"),
                (true, true) => Some("its server may reach the network"),
                (true, false) => None,
            },
            link,
        }
    }

    /// Gives it another name for the model.
    pub fn rename(&mut self, name: String) {
        self.spec.name = name;
    }
}

impl Tool for McpTool {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    /// A server's own hints about what a tool changes are its word and nothing else.
    fn effect(&self, _: &Value) -> Effect {
        Effect::Runs
    }

    fn subject(&self, arguments: &Value, _: &Path) -> Subject {
        Subject::Call(format!("{} {arguments}", self.spec.name))
    }

    fn caution(&self) -> Option<&str> {
        self.open
    }

    fn odd(&self) -> &[String] {
        &self.odd
    }

    fn run(&self, arguments: &Value, room: &CallContext<'_>) -> ToolAnswer {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        match self.link.call(&self.remote, arguments, room) {
            Ok(result) => ToolAnswer {
                ok: result.is_error != Some(true),
                text: text(&result),
            },
            Err(reason) => ToolAnswer::bad(reason),
        }
    }
}

/// `SERVER_tool`, of what names may hold.
fn name(server: &str, tool: &str) -> String {
    let good = |c: char| match c.is_ascii_alphanumeric() || c == '_' || c == '-' {
        true => c,
        false => '_',
    };
    let mut name: String = format!("{server}_{tool}").chars().map(good).collect();
    name.truncate(MAX_NAME);
    name
}

fn description(text: &str) -> String {
    let text = shown::clean(text.as_bytes());
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.len() <= MAX_DESCRIPTION {
        return text;
    }
    let cut = &text[..shown::floor(&text, MAX_DESCRIPTION)];
    match cut.rfind(". ") {
        Some(at) if at > MAX_DESCRIPTION / 3 => cut[..=at].to_owned(),
        _ => format!("{cut}…"),
    }
}

/// A name that is taken, with a number.
pub(super) fn numbered(name: &str, n: usize) -> String {
    let end = format!("_{n}");
    let room = MAX_NAME - end.len();
    format!("{}{end}", &name[..name.len().min(room)])
}

/// What a call gave, as text.
fn text(result: &CallToolResult) -> String {
    let size = |base64: &str| shown::size(base64.len() as u64 * 3 / 4);
    let block = |block: &ContentBlock| match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => {
            format!("[an image, {}, {}]", image.mime_type, size(&image.data))
        }
        ContentBlock::Audio(audio) => {
            format!("[a sound, {}, {}]", audio.mime_type, size(&audio.data))
        }
        ContentBlock::Resource(resource) => match &resource.resource {
            ResourceContents::TextResourceContents { uri, text, .. } => format!("{uri}:\n{text}"),
            ResourceContents::BlobResourceContents { uri, blob, .. } => {
                format!("[{uri}, {}]", size(blob))
            }
            _ => "[a resource that cannot be shown]".to_owned(),
        },
        ContentBlock::ResourceLink(link) => format!("[{}: {}]", link.name, link.uri),
        _ => "[something that cannot be shown]".to_owned(),
    };
    let blocks: Vec<String> = result.content.iter().map(block).collect();
    match (blocks.is_empty(), &result.structured_content) {
        (true, Some(value)) => value.to_string(),
        (true, None) => "[it gave nothing]".to_owned(),
        (false, _) => blocks.join("\n"),
    }
}
