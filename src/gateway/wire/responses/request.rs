//! Reading a request for a response. Its items become messages in `items`.

use serde_json::Value;

use super::super::content;
use super::super::fields::RequestFields;
use super::super::{Ask, Calls, Format, RequestRefusal, Show};
use super::items;
use super::reply::Echo;

/// Reads the body of a request: what is asked, and what the response repeats of it.
///
/// # Errors
/// A sentence with the field that is wrong, or that this server cannot do.
pub fn read(body: &Value) -> Result<(Ask, Echo), RequestRefusal> {
    let fields = RequestFields::of("the request", body)?;
    if fields.flag("background")? {
        return Err(RequestRefusal::field(
            "background",
            "responses in the background are not made by this server: leave the field out",
        ));
    }
    let mut ask = Ask {
        model: fields.text("model")?.map(str::to_owned),
        max_tokens: fields.max_tokens(&["max_output_tokens", "max_tokens"])?,
        stop: fields.stops("stop")?,
        parallel: fields.choice("parallel_tool_calls")?,
        show: Show {
            stream: fields.flag("stream")?,
            ..Show::default()
        },
        think: match fields.object("reasoning")? {
            Some(reasoning) => match reasoning.text("effort")? {
                Some("none") => Some(false),
                _ => None,
            },
            None => None,
        },
        ..Ask::default()
    };
    ask.sampling = super::super::openai::sampling(fields, &mut ask)?;
    if fields.whole("top_logprobs", 0, 20)?.is_some_and(|n| n > 0) {
        return Err(RequestRefusal::field(
            "top_logprobs",
            "logprobs are not given by this server; leave the field out",
        ));
    }
    format(fields, &mut ask)?;
    tools(fields, &mut ask)?;
    keys(fields, &mut ask)?;
    let instructions = fields.text("instructions")?.map(str::to_owned);
    let messages = match fields.get("input") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![crate::chat::Message::user(text.clone())],
        Some(_) => items::read(fields.list("input")?, &mut ask)?,
    };
    if messages.is_empty() && ask.keys.previous.is_none() {
        return Err(RequestRefusal::field(
            "input",
            "input must hold at least one item",
        ));
    }
    let echo = Echo {
        instructions: instructions.clone(),
        previous: ask.keys.previous.clone(),
        store: ask.keys.store,
        metadata: fields.get("metadata").cloned(),
        reasoning: fields.get("reasoning").cloned(),
        text: fields.get("text").cloned(),
        tools: fields.get("tools").cloned(),
        tool_choice: fields.get("tool_choice").cloned(),
        parallel: ask.parallel.unwrap_or(true),
        temperature: ask.sampling.temperature,
        top_p: ask.sampling.top_p,
        max_output_tokens: ask.max_tokens,
        encrypted: wants_encrypted(fields)?,
    };
    ask.place(instructions, messages);
    Ok((ask, echo))
}

fn wants_encrypted(fields: RequestFields<'_>) -> Result<bool, RequestRefusal> {
    let include = fields.list("include")?;
    Ok(include.iter().any(|v| v == "reasoning.encrypted_content"))
}

fn keys(fields: RequestFields<'_>, ask: &mut Ask) -> Result<(), RequestRefusal> {
    let named = |name: &str| -> Result<Option<String>, RequestRefusal> {
        let text = fields.text(name)?.filter(|text| !text.is_empty());
        Ok(text.map(|text| format!("{name}:{text}")))
    };
    ask.keys.previous = fields
        .text("previous_response_id")?
        .filter(|id| !id.is_empty())
        .map(str::to_owned);
    ask.keys.store = fields.choice("store")?.unwrap_or(true);
    let conversation = match fields.get("conversation") {
        Some(Value::Object(object)) => {
            let id = object.get("id").and_then(Value::as_str);
            id.map(|id| format!("conversation:{id}"))
        }
        _ => named("conversation")?,
    };
    ask.keys.conversation = match conversation {
        Some(key) => Some(key),
        None => named("prompt_cache_key")?,
    };
    Ok(())
}

fn format(fields: RequestFields<'_>, ask: &mut Ask) -> Result<(), RequestRefusal> {
    let text = fields.object("text")?;
    let Some(format) = text.map(|t| t.object("format")).transpose()?.flatten() else {
        return Ok(());
    };
    ask.format = match (format.text("type")?, format.get("schema")) {
        (None | Some("text"), _) => Format::Text,
        (Some("json_object"), _) => Format::Object,
        (Some("json_schema"), Some(schema @ Value::Object(_))) => Format::Schema(schema.clone()),
        _ => {
            return Err(RequestRefusal::field(
                "text.format",
                "text.format must have the type text, json_object, or json_schema with schema, an object",
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
        match (tool.text("type")?, tool.object("function")?) {
            // The form of chat completions, which some clients send here too.
            (Some("function"), Some(function)) => {
                tools.push(content::tool(&what, function, "parameters")?);
            }
            (Some("function"), None) => tools.push(content::tool(&what, tool, "parameters")?),
            (other, _) => {
                let name: String = other.unwrap_or("none").chars().take(40).collect();
                ask.ignore(format!("tool:{name}"));
            }
        }
    }
    ask.tools = content::tool_list(tools);
    ask.choice = match fields.get("tool_choice") {
        None => Calls::Auto,
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Calls::Auto,
            "none" => Calls::None,
            "required" => Calls::Required,
            _ => {
                return Err(RequestRefusal::field(
                    "tool_choice",
                    "tool_choice must be auto, none, required or a function",
                ));
            }
        },
        Some(object) => {
            let object = RequestFields::of("tool_choice", object)?;
            match (object.text("type")?, object.text("name")?) {
                (Some("function"), Some(name)) if !name.is_empty() => Calls::Only(name.to_owned()),
                (Some("allowed_tools"), _) => {
                    ask.ignore("tool_choice:allowed_tools");
                    match object.text("mode")? {
                        Some("required") => Calls::Required,
                        _ => Calls::Auto,
                    }
                }
                _ => {
                    return Err(RequestRefusal::field(
                        "tool_choice",
                        "tool_choice must be auto, none, required, or a function with its name",
                    ));
                }
            }
        }
    };
    Ok(())
}
