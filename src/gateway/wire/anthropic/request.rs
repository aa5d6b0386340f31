//! Reading a request for a message.

use serde_json::Value;

use super::super::content;
use super::super::fields::RequestFields;
use super::super::{Ask, Calls, Format, RequestRefusal, SamplingAsk, Show};
use crate::chat::Message;

/// Reads the body of a request.
///
/// # Errors
/// A sentence with the field that is wrong, or that this server cannot do.
pub fn read(body: &Value) -> Result<Ask, RequestRefusal> {
    let fields = RequestFields::of("the request", body)?;
    let max_tokens = fields.max_tokens(&["max_tokens"])?;
    if fields.get("max_tokens").is_none() {
        return Err(RequestRefusal::field(
            "max_tokens",
            "max_tokens: Field required",
        ));
    }
    let mut ask = read_to_count(body)?;
    ask.max_tokens = max_tokens;
    ask.stop = fields.stops("stop_sequences")?;
    ask.show = Show {
        stream: fields.flag("stream")?,
        ..Show::default()
    };
    ask.sampling = SamplingAsk {
        temperature: fields.number("temperature", 0.0, 100.0)?,
        top_p: fields.number("top_p", 0.0, 1.0)?,
        top_k: fields
            .whole("top_k", -1, 1 << 24)?
            .map(|k| u32::try_from(k).unwrap_or(0)),
        ..SamplingAsk::default()
    };
    format(fields, &mut ask)?;
    Ok(ask)
}

/// Reads what makes the prompt: the request for a count has nothing else.
///
/// # Errors
/// As [`read`].
pub fn read_to_count(body: &Value) -> Result<Ask, RequestRefusal> {
    let fields = RequestFields::of("the request", body)?;
    let mut ask = Ask {
        model: fields.text("model")?.map(str::to_owned),
        think: match fields.object("thinking")? {
            Some(thinking) => match thinking.text("type")? {
                Some("disabled") => Some(false),
                Some("enabled") => Some(true),
                // As the model likes.
                _ => None,
            },
            None => None,
        },
        ..Ask::default()
    };
    if let Some(metadata) = fields.object("metadata")? {
        let user = metadata.text("user_id")?.filter(|user| !user.is_empty());
        ask.keys.conversation = user.and_then(conversation);
    }
    tools(fields, &mut ask)?;
    let system = content::text("system", fields.get("system"))?;
    let messages = messages(fields.list("messages")?, &mut ask)?;
    if messages.is_empty() {
        return Err(RequestRefusal::field(
            "messages",
            "messages: at least one message is required",
        ));
    }
    ask.place(Some(system), messages);
    Ok(ask)
}

/// Claude Code writes a session's id into the user's id, as `…_session_ID` or in a JSON object. A
/// user alone names no conversation.
fn conversation(user: &str) -> Option<String> {
    if let Ok(Value::Object(object)) = serde_json::from_str(user) {
        let id = object.get("session_id")?.as_str()?;
        return (!id.is_empty()).then(|| format!("user_id:{id}"));
    }
    let (_, id) = user.rsplit_once("_session_")?;
    (!id.is_empty()).then(|| format!("user_id:{id}"))
}

fn format(fields: RequestFields<'_>, ask: &mut Ask) -> Result<(), RequestRefusal> {
    let format = match fields.object("output_format")? {
        Some(format) => Some(format),
        None => match fields.object("output_config")? {
            Some(config) => config.object("format")?,
            None => None,
        },
    };
    let Some(format) = format else {
        return Ok(());
    };
    ask.format = match (format.text("type")?, format.get("schema")) {
        (Some("json_schema"), Some(schema @ Value::Object(_))) => Format::Schema(schema.clone()),
        (Some("text") | None, _) => Format::Text,
        _ => {
            return Err(RequestRefusal::field(
                "output_format",
                "output_format must have the type json_schema, and schema, an object",
            ));
        }
    };
    Ok(())
}

fn tools(fields: RequestFields<'_>, ask: &mut Ask) -> Result<(), RequestRefusal> {
    let mut tools = Vec::new();
    for (at, tool) in fields.list("tools")?.iter().enumerate() {
        let what = format!("tools[{at}]");
        let tool = RequestFields::of(&what, tool)?;
        match tool.text("type")? {
            None | Some("custom") => tools.push(content::tool(&what, tool, "input_schema")?),
            // Tools that Anthropic's server runs.
            Some(other) => ask.ignore(format!("tool:{}", short(other))),
        }
    }
    ask.tools = content::tool_list(tools);
    let Some(choice) = fields.object("tool_choice")? else {
        return Ok(());
    };
    if choice.flag("disable_parallel_tool_use")? {
        ask.parallel = Some(false);
    }
    ask.choice = match choice.text("type")? {
        None | Some("auto") => Calls::Auto,
        Some("any") => Calls::Required,
        Some("none") => Calls::None,
        Some("tool") => match choice.text("name")? {
            Some(name) if !name.is_empty() => Calls::Only(name.to_owned()),
            _ => {
                return Err(RequestRefusal::field(
                    "tool_choice",
                    "tool_choice of type tool needs the name of a tool",
                ));
            }
        },
        Some(other) => {
            return Err(RequestRefusal::field(
                "tool_choice",
                format!(
                    "tool_choice must have the type auto, any, tool or none, not {:?}",
                    short(other)
                ),
            ));
        }
    };
    Ok(())
}

fn short(word: &str) -> String {
    word.chars().take(40).collect()
}

fn messages(list: &[Value], ask: &mut Ask) -> Result<Vec<Message>, RequestRefusal> {
    let mut messages = Vec::with_capacity(list.len());
    for (at, value) in list.iter().enumerate() {
        let what = format!("messages[{at}]");
        let fields = RequestFields::of(&what, value)?;
        let inside = format!("{what}.content");
        let content = fields.get("content");
        match fields.text("role")? {
            Some("user") => user(&inside, content, &mut messages, ask)?,
            Some("assistant") => messages.push(assistant(&inside, content, ask)?),
            Some("system" | "developer") => {
                messages.push(Message::system(content::text(&inside, content)?));
            }
            other => {
                return Err(RequestRefusal::field(
                    &what,
                    format!(
                        "{what} must have the role user, assistant or system, not {:?}",
                        short(other.unwrap_or("none"))
                    ),
                ));
            }
        }
    }
    Ok(messages)
}

/// A user's message holds the results of calls too. They come first, whatever their order, for they
/// answer the calls before them.
fn user(
    what: &str,
    content: Option<&Value>,
    messages: &mut Vec<Message>,
    ask: &mut Ask,
) -> Result<(), RequestRefusal> {
    let Some(Value::Array(blocks)) = content else {
        messages.push(Message::user(content::text(what, content)?));
        return Ok(());
    };
    let mut texts = Vec::new();
    let mut results = false;
    for (at, block) in blocks.iter().enumerate() {
        let what = format!("{what}[{at}]");
        let kind = block.get("type").and_then(Value::as_str);
        match kind {
            Some("tool_result") => {
                let fields = RequestFields::of(&what, block)?;
                let id = fields.text("tool_use_id")?.unwrap_or_default();
                ask.keys.given(id);
                let text = content::text(&format!("{what}.content"), fields.get("content"))?;
                let mut result = Message::tool_result(id, "", text);
                result.name = None;
                messages.push(result);
                results = true;
            }
            Some("document") => texts.push(document(&what, block)?),
            _ => texts.push(content::part_text(&what, block)?.to_owned()),
        }
    }
    if !texts.is_empty() || !results {
        messages.push(Message::user(texts.join("\n")));
    }
    Ok(())
}

/// A document that is text.
fn document(what: &str, block: &Value) -> Result<String, RequestRefusal> {
    let source = block.get("source");
    let field = |name: &str| source.and_then(|s| s.get(name));
    match (field("type").and_then(Value::as_str), field("data")) {
        (Some("text"), Some(Value::String(text))) => Ok(text.clone()),
        (Some("content"), _) => content::text(&format!("{what}.source.content"), field("content")),
        _ => Err(content::no_text(what, "document")),
    }
}

fn assistant(
    what: &str,
    content: Option<&Value>,
    ask: &mut Ask,
) -> Result<Message, RequestRefusal> {
    let Some(Value::Array(blocks)) = content else {
        return Ok(Message::assistant(content::text(what, content)?));
    };
    let mut texts = Vec::new();
    let mut thoughts = Vec::new();
    let mut calls = Vec::new();
    for (at, block) in blocks.iter().enumerate() {
        let what = format!("{what}[{at}]");
        match block.get("type").and_then(Value::as_str) {
            Some("thinking") => {
                let fields = RequestFields::of(&what, block)?;
                thoughts.extend(fields.text("thinking")?);
                ask.keys
                    .given(fields.text("signature")?.unwrap_or_default());
            }
            Some("redacted_thinking") => {}
            Some("tool_use") => {
                let fields = RequestFields::of(&what, block)?;
                let (id, name) = (fields.text("id")?, fields.text("name")?);
                ask.keys.given(id.unwrap_or_default());
                calls.push(content::call(&what, id, name, fields.get("input"))?);
            }
            // What tools of Anthropic's server did for another model.
            Some(other) if other == "server_tool_use" || other.ends_with("_tool_result") => {
                ask.ignore(format!("block:{}", short(other)));
            }
            _ => texts.push(content::part_text(&what, block)?),
        }
    }
    let mut message = Message::assistant(texts.join("\n"));
    message.reasoning = (!thoughts.is_empty()).then(|| thoughts.join("\n"));
    message.calls = calls;
    Ok(message)
}
