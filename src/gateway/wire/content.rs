//! Contents of messages, calls and tool definitions: what the APIs have in common there.

use serde_json::{Map, Value, json};

use super::RequestRefusal;
use super::fields::{RequestFields, kind};
use crate::chat::message::ToolCall;

/// The text of a content: a string, null, or a list of text parts, which are joined by line feeds.
/// `what` names the content in errors.
///
/// # Errors
/// When it is something else, or holds what is no text, such as an image.
pub fn text(what: &str, content: Option<&Value>) -> Result<String, RequestRefusal> {
    let parts = match content {
        None | Some(Value::Null) => return Ok(String::new()),
        Some(Value::String(text)) => return Ok(text.clone()),
        Some(Value::Array(parts)) => parts,
        Some(other) => {
            return Err(RequestRefusal::field(
                what,
                format!(
                    "{what} must be a string, null or a list of text parts, not {}",
                    kind(other)
                ),
            ));
        }
    };
    let mut texts = Vec::with_capacity(parts.len());
    for (at, part) in parts.iter().enumerate() {
        texts.push(part_text(&format!("{what}[{at}]"), part)?);
    }
    Ok(texts.join("\n"))
}

/// The text of one part of a content.
///
/// # Errors
/// When it is no text.
pub fn part_text<'a>(what: &str, part: &'a Value) -> Result<&'a str, RequestRefusal> {
    if let Value::String(text) = part {
        return Ok(text);
    }
    let fields = RequestFields::of(what, part)?;
    let (name, field) = match fields.text("type")? {
        Some("refusal") => ("refusal", "refusal"),
        Some(name @ ("text" | "input_text" | "output_text")) => (name, "text"),
        Some(name @ ("summary_text" | "reasoning_text")) => (name, "text"),
        Some(other) => return Err(no_text(what, other)),
        None => ("part", "text"),
    };
    fields.text(field)?.ok_or_else(|| {
        RequestRefusal::field(
            what,
            format!("{what} is a {name} part without the field {field}"),
        )
    })
}

/// The refusal of a part that is no text.
pub fn no_text(what: &str, kind: &str) -> RequestRefusal {
    let kind: String = kind.chars().take(40).collect();
    let why = match kind.as_str() {
        "image" | "image_url" | "input_image" => {
            "images cannot be read: the model of this server reads text"
        }
        "input_audio" | "audio" => "audio cannot be read: the model of this server reads text",
        "file" | "input_file" | "document" => "files cannot be read: send what they hold as text",
        _ => "only text can be read here",
    };
    RequestRefusal::field(what, format!("{what} is a part of type {kind:?}: {why}"))
}

/// The arguments of a call: an object, or a string that holds one; nothing is an empty object.
///
/// # Errors
/// When they are something else.
pub fn arguments(what: &str, given: Option<&Value>) -> Result<Value, RequestRefusal> {
    let refuse = |reason: String| {
        RequestRefusal::field(
            what,
            format!("{what} must be a JSON object, or a string that holds one: {reason}"),
        )
    };
    let value = match given {
        None | Some(Value::Null) => return Ok(Value::Object(Map::new())),
        // Some clients write "" for a call without arguments.
        Some(Value::String(text)) if text.trim().is_empty() => {
            return Ok(Value::Object(Map::new()));
        }
        Some(Value::String(text)) => {
            serde_json::from_str(text).map_err(|error| refuse(error.to_string()))?
        }
        Some(other) => other.clone(),
    };
    match value {
        Value::Object(_) => Ok(value),
        other => Err(refuse(format!("this is {}", kind(&other)))),
    }
}

/// A call of a tool.
///
/// # Errors
/// When its name is missing or its arguments are no object.
pub fn call(
    what: &str,
    id: Option<&str>,
    name: Option<&str>,
    given: Option<&Value>,
) -> Result<ToolCall, RequestRefusal> {
    let name = name.filter(|name| !name.is_empty()).ok_or_else(|| {
        RequestRefusal::field(what, format!("{what} is a call without the name of a tool"))
    })?;
    Ok(ToolCall {
        id: id.unwrap_or_default().to_owned(),
        name: name.to_owned(),
        arguments: arguments(&format!("{what}.arguments"), given)?,
    })
}

/// A tool in OpenAI's form. Only what a model reads is taken: its name, its description, its
/// parameters.
///
/// # Errors
/// When the name is missing or a field is of another kind.
pub fn tool(
    what: &str,
    function: RequestFields<'_>,
    parameters: &str,
) -> Result<Value, RequestRefusal> {
    let name = function.text("name")?.filter(|name| !name.is_empty());
    let name = name
        .ok_or_else(|| RequestRefusal::field(what, format!("{what} is a tool without a name")))?;
    let mut object = Map::new();
    object.insert("name".into(), name.into());
    if let Some(text) = function.text("description")? {
        object.insert("description".into(), text.into());
    }
    let parameters = match function.get(parameters) {
        None => json!({ "type": "object", "properties": {} }),
        Some(schema @ Value::Object(_)) => schema.clone(),
        Some(other) => {
            return Err(RequestRefusal::field(
                what,
                format!(
                    "{what}.{parameters} must be a JSON schema, not {}",
                    kind(other)
                ),
            ));
        }
    };
    object.insert("parameters".into(), parameters);
    Ok(json!({ "type": "function", "function": object }))
}

/// The list of tools, or nothing where it is empty.
pub fn tool_list(tools: Vec<Value>) -> Option<Value> {
    (!tools.is_empty()).then_some(Value::Array(tools))
}
