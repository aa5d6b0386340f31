//! Reading a request for a chat completion.

use serde_json::Value;

use super::super::content;
use super::super::fields::{MOST_ODDS, RequestFields};
use super::super::{Ask, Calls, Format, RequestRefusal, SamplingAsk, Show};
use crate::chat::Message;
use crate::chat::message::Role;

/// Reads the body of a request.
///
/// # Errors
/// A sentence with the field that is wrong, or that this server cannot do.
pub fn read(body: &Value) -> Result<Ask, RequestRefusal> {
    let fields = RequestFields::of("the request", body)?;
    let mut ask = Ask {
        model: fields.text("model")?.map(str::to_owned),
        stop: fields.stops("stop")?,
        max_tokens: fields.max_tokens(&["max_completion_tokens", "max_tokens", "n_predict"])?,
        parallel: fields.choice("parallel_tool_calls")?,
        show: Show {
            stream: fields.flag("stream")?,
            usage: match fields.object("stream_options")? {
                Some(options) => options.flag("include_usage")?,
                None => false,
            },
            progress: fields.flag("return_progress")?,
        },
        think: think(fields)?,
        odds: odds(fields)?,
        ..Ask::default()
    };
    ask.sampling = sampling(fields, &mut ask)?;
    one_text(fields)?;
    format(fields, &mut ask)?;
    tools(fields, &mut ask)?;
    ask.keys.conversation = fields
        .text("prompt_cache_key")?
        .filter(|key| !key.is_empty())
        .map(|key| format!("prompt_cache_key:{key}"));
    let messages = messages(fields.list("messages")?, &mut ask)?;
    if messages.is_empty() {
        return Err(RequestRefusal::field(
            "messages",
            "messages must hold at least one message",
        ));
    }
    ask.place(None, messages);
    Ok(ask)
}

/// What a text model with one reply at a time cannot do.
fn one_text(fields: RequestFields<'_>) -> Result<(), RequestRefusal> {
    for name in ["n", "best_of"] {
        if fields.whole(name, 1, 1_000)?.is_some_and(|n| n > 1) {
            return Err(RequestRefusal::field(
                name,
                format!(
                    "{name} must be 1: this server gives one reply to a request; ask again for another"
                ),
            ));
        }
    }
    let modalities = fields.list("modalities")?;
    if fields.get("audio").is_some() || modalities.iter().any(|m| m == "audio") {
        return Err(RequestRefusal::field(
            "modalities",
            "audio cannot be made: the model of this server writes text",
        ));
    }
    Ok(())
}

/// `logprobs` and `top_logprobs`.
fn odds(fields: RequestFields<'_>) -> Result<Option<usize>, RequestRefusal> {
    let top = fields.whole("top_logprobs", 0, MOST_ODDS)?;
    match (fields.flag("logprobs")?, top) {
        (true, top) => Ok(Some(usize::try_from(top.unwrap_or(0)).unwrap_or(0))),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => Err(RequestRefusal::field(
            "top_logprobs",
            "top_logprobs is given with logprobs alone: set logprobs to true",
        )),
    }
}

/// How tokens are chosen: the names of OpenAI, and those of llama.cpp's server and vLLM.
///
/// # Errors
/// When a field is of another kind or out of range.
pub fn sampling(fields: RequestFields<'_>, ask: &mut Ask) -> Result<SamplingAsk, RequestRefusal> {
    for name in ["frequency_penalty", "presence_penalty"] {
        if fields.number(name, -2.0, 2.0)?.is_some_and(|x| x != 0.0) {
            ask.ignore(name);
        }
    }
    let biased = |v: &Value| v.as_object().is_none_or(|o| !o.is_empty());
    if fields.get("logit_bias").is_some_and(biased) {
        ask.ignore("logit_bias");
    }
    let penalty = match fields.number("repeat_penalty", 0.01, 100.0)? {
        Some(penalty) => Some(penalty),
        None => fields.number("repetition_penalty", 0.01, 100.0)?,
    };
    Ok(SamplingAsk {
        temperature: fields.number("temperature", 0.0, 100.0)?,
        top_p: fields.number("top_p", 0.0, 1.0)?,
        // -1 keeps all, as vLLM has it.
        top_k: fields
            .whole("top_k", -1, 1 << 24)?
            .map(|k| u32::try_from(k).unwrap_or(0)),
        min_p: fields.number("min_p", 0.0, 1.0)?,
        repeat_penalty: penalty,
        // -1 draws one, as llama.cpp has it.
        seed: fields
            .whole("seed", i64::MIN, i64::MAX)?
            .filter(|seed| *seed != -1)
            .map(i64::cast_unsigned),
    })
}

/// `reasoning_effort` of OpenAI, `chat_template_kwargs` of vLLM and llama.cpp.
fn think(fields: RequestFields<'_>) -> Result<Option<bool>, RequestRefusal> {
    if let Some(kwargs) = fields.object("chat_template_kwargs")?
        && let Some(think) = kwargs.choice("enable_thinking")?
    {
        return Ok(Some(think));
    }
    Ok(match fields.text("reasoning_effort")? {
        Some("none") => Some(false),
        _ => None,
    })
}

fn format(fields: RequestFields<'_>, ask: &mut Ask) -> Result<(), RequestRefusal> {
    let Some(format) = fields.object("response_format")? else {
        return Ok(());
    };
    ask.format = match format.text("type")? {
        None | Some("text") => Format::Text,
        Some("json_object") => match format.get("schema") {
            // As llama.cpp's server takes it.
            Some(schema) => Format::Schema(schema.clone()),
            None => Format::Object,
        },
        Some("json_schema") => {
            let inner = format.object("json_schema")?;
            let schema = inner.and_then(|inner| inner.get("schema"));
            match schema {
                Some(schema @ Value::Object(_)) => Format::Schema(schema.clone()),
                _ => {
                    return Err(RequestRefusal::field(
                        "response_format",
                        "response_format of type json_schema must hold json_schema.schema, an object",
                    ));
                }
            }
        }
        Some(other) => {
            return Err(RequestRefusal::field(
                "response_format",
                format!(
                    "response_format must have the type text, json_object or json_schema, not {other:?}"
                ),
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
            (None | Some("function"), Some(function)) => {
                tools.push(content::tool(&what, function, "parameters")?);
            }
            (None | Some("function"), None) => {
                return Err(RequestRefusal::field(
                    &what,
                    format!("{what} is a tool without the field function"),
                ));
            }
            // Tools that a server runs, or of a form that no model here writes.
            (Some(other), _) => ask.ignore(format!("tool:{}", short(other))),
        }
    }
    for (at, function) in fields.list("functions")?.iter().enumerate() {
        let what = format!("functions[{at}]");
        let function = RequestFields::of(&what, function)?;
        tools.push(content::tool(&what, function, "parameters")?);
    }
    ask.tools = content::tool_list(tools);
    ask.choice = match fields.get("tool_choice") {
        None => Calls::Auto,
        Some(Value::String(word)) => choice(word)?,
        Some(object) => {
            let object = RequestFields::of("tool_choice", object)?;
            match object.text("type")? {
                Some("function") | None => {
                    let function = object.object("function")?;
                    let name = match function {
                        Some(function) => function.text("name")?,
                        None => object.text("name")?,
                    };
                    named(name)?
                }
                Some("allowed_tools") => {
                    ask.ignore("tool_choice:allowed_tools");
                    let allowed = object.object("allowed_tools")?.unwrap_or(object);
                    choice(allowed.text("mode")?.unwrap_or("auto"))?
                }
                Some(other) => {
                    return Err(RequestRefusal::field(
                        "tool_choice",
                        format!("tool_choice of type {:?} cannot be read", short(other)),
                    ));
                }
            }
        }
    };
    Ok(())
}

/// A word of `tool_choice`.
fn choice(word: &str) -> Result<Calls, RequestRefusal> {
    match word {
        "auto" => Ok(Calls::Auto),
        "none" => Ok(Calls::None),
        "required" | "any" => Ok(Calls::Required),
        other => Err(RequestRefusal::field(
            "tool_choice",
            format!(
                "tool_choice must be auto, none, required or a function, not {:?}",
                short(other)
            ),
        )),
    }
}

fn named(name: Option<&str>) -> Result<Calls, RequestRefusal> {
    match name {
        Some(name) if !name.is_empty() => Ok(Calls::Only(name.to_owned())),
        _ => Err(RequestRefusal::field(
            "tool_choice",
            "tool_choice of a function needs its name",
        )),
    }
}

/// The first characters of a word that is shown.
fn short(word: &str) -> String {
    word.chars().take(40).collect()
}

fn messages(list: &[Value], ask: &mut Ask) -> Result<Vec<Message>, RequestRefusal> {
    let mut messages = Vec::with_capacity(list.len());
    for (at, value) in list.iter().enumerate() {
        messages.push(message(&format!("messages[{at}]"), value, ask)?);
    }
    Ok(messages)
}

fn message(what: &str, value: &Value, ask: &mut Ask) -> Result<Message, RequestRefusal> {
    let fields = RequestFields::of(what, value)?;
    let role = match fields.text("role")? {
        // The name of `tool` in the API of before there were tools.
        Some("function") => Role::Tool,
        Some(name) => Role::parse(name).ok_or_else(|| {
            RequestRefusal::field(
                what,
                format!(
                    "{what} has the role {:?}; it must be system, developer, user, assistant or tool",
                    short(name)
                ),
            )
        })?,
        None => return Err(RequestRefusal::field(what, format!("{what} has no role"))),
    };
    let inside = format!("{what}.content");
    let mut message = match role {
        Role::System => Message::system(content::text(&inside, fields.get("content"))?),
        Role::User => Message::user(content::text(&inside, fields.get("content"))?),
        Role::Assistant => return assistant(what, fields, ask),
        Role::Tool => Message::tool_result("", "", content::text(&inside, fields.get("content"))?),
    };
    message.call_id = None;
    message.name = None;
    if role == Role::Tool {
        message.call_id = fields.text("tool_call_id")?.map(str::to_owned);
        message.name = fields.text("name")?.map(str::to_owned);
        if let Some(id) = &message.call_id {
            ask.keys.given(id);
        }
    }
    Ok(message)
}

/// Thinking may stand in a field of its own, under either name, or as a part of the content.
fn assistant(
    what: &str,
    fields: RequestFields<'_>,
    ask: &mut Ask,
) -> Result<Message, RequestRefusal> {
    let mut texts = Vec::new();
    let mut thoughts: Vec<&str> = Vec::new();
    let content = fields.get("content");
    match content {
        Some(Value::Array(parts)) => {
            for (at, part) in parts.iter().enumerate() {
                match part.get("type").and_then(Value::as_str) {
                    Some("thinking") => {
                        thoughts.extend(part.get("thinking").and_then(Value::as_str));
                        let stamp = part.get("signature").and_then(Value::as_str);
                        ask.keys.given(stamp.unwrap_or_default());
                    }
                    Some("redacted_thinking") => {}
                    _ => texts.push(content::part_text(&format!("{what}.content[{at}]"), part)?),
                }
            }
        }
        Some(Value::String(text)) => texts.push(text),
        other => {
            content::text(&format!("{what}.content"), other)?;
        }
    }
    if texts.is_empty()
        && let Some(refusal) = fields.text("refusal")?
    {
        texts.push(refusal);
    }
    // A reply of another server may have thinking in any form: it is never required.
    for name in ["reasoning_content", "reasoning"] {
        if let Some(Value::String(text)) = fields.get(name)
            && thoughts.is_empty()
        {
            thoughts.push(text);
        }
    }
    let mut message = Message::assistant(texts.join("\n"));
    message.reasoning = (!thoughts.is_empty()).then(|| thoughts.join("\n"));
    for (at, call) in fields.list("tool_calls")?.iter().enumerate() {
        let what = format!("{what}.tool_calls[{at}]");
        let call = RequestFields::of(&what, call)?;
        let id = call.text("id")?;
        let function = call.object("function")?;
        let (name, arguments) = match function {
            Some(function) => (function.text("name")?, function.get("arguments")),
            None => (None, None),
        };
        ask.keys.given(id.unwrap_or_default());
        message
            .calls
            .push(content::call(&what, id, name, arguments)?);
    }
    if let Some(function) = fields.object("function_call")? {
        let what = format!("{what}.function_call");
        let (name, arguments) = (function.text("name")?, function.get("arguments"));
        message
            .calls
            .push(content::call(&what, None, name, arguments)?);
    }
    Ok(message)
}
