//! A server's tool as the model sees it: a bounded name, description and schema, and results as
//! text.

use std::path::Path;
use std::sync::Arc;

use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::{Map, Value, json};

use super::ServerConfig;
use super::link::Link;
use crate::tools::{Answer, Effect, Room, Spec, Subject, Tool, shown};

/// Longest name of a tool, in bytes.
const MAX_NAME: usize = 64;

/// Longest description, in bytes.
const MAX_DESCRIPTION: usize = 400;

/// Largest schema, in bytes of JSON.
const MAX_SCHEMA: usize = 4096;

/// A tool of a server.
pub(super) struct McpTool {
    spec: Spec,
    /// The server's name of it.
    remote: String,
    /// What its server may do that programs may not.
    open: Option<&'static str>,
    link: Arc<Link>,
}

impl McpTool {
    /// Takes over a listed tool.
    pub fn new(listed: &rmcp::model::Tool, config: &ServerConfig, link: Arc<Link>) -> McpTool {
        let described = listed.description.as_deref().unwrap_or_default();
        McpTool {
            spec: Spec {
                name: name(&link.name, &listed.name),
                description: description(described),
                parameters: schema(&listed.input_schema),
            },
            remote: listed.name.clone().into_owned(),
            open: match (config.sandbox, config.network) {
                (false, _) => Some("its server runs outside of the sandbox"),
                (true, true) => Some("its server may reach the network"),
                (true, false) => None,
            },
            link,
        }
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

    fn run(&self, arguments: &Value, room: &Room<'_>) -> Answer {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        match self.link.call(&self.remote, arguments, room) {
            Ok(result) => Answer {
                ok: result.is_error != Some(true),
                text: text(&result),
            },
            Err(reason) => Answer::bad(reason),
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

/// A schema that is small: without what only explains it where it is large, and anything goes where
/// it is too large even so; the server checks its arguments itself.
fn schema(listed: &Map<String, Value>) -> Value {
    let object = json!({"type": "object"});
    let mut schema = Value::Object(listed.clone());
    if schema.get("type") != Some(&json!("object")) {
        return object;
    }
    if let Some(fields) = schema.as_object_mut() {
        fields.shift_remove("$schema");
        fields.shift_remove("title");
    }
    let large = |schema: &Value| schema.to_string().len() > MAX_SCHEMA;
    if large(&schema) {
        strip(&mut schema, false);
    }
    match large(&schema) {
        true => object,
        false => schema,
    }
}

/// Drops descriptions, titles and examples; `names` tells that keys are names of properties.
fn strip(schema: &mut Value, names: bool) {
    match schema {
        Value::Object(fields) => {
            if !names {
                for word in ["description", "title", "examples", "$comment"] {
                    fields.shift_remove(word);
                }
            }
            for (name, field) in fields.iter_mut() {
                strip(field, !names && name == "properties");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| strip(item, false)),
        _ => {}
    }
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
