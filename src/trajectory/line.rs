//! One conversation as a line, and what a line says. Pure.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::own::Own;
use super::sharegpt;
use crate::chat::Message;
use crate::ledger::Finish;
use crate::session::{
    self, MessageId, MessageState, NO_VOCABULARY, ReceiptSums, Session, SessionId, Trajectory,
    now_ms,
};

/// How messages are written.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Form {
    /// `{"messages":[{"role":…,"content":…}],"tools":[…]}`.
    #[default]
    OpenAi,
    /// `{"conversations":[{"from":…,"value":…}]}`.
    ShareGpt,
}

/// Writes a session as one line, without the line feed. `among` are the names of the sessions of the same
/// file, by their ids: the line says which of them it continues, and which continues it.
pub fn line(whole: &Trajectory, form: Form, among: &[(SessionId, String)]) -> String {
    let row = &whole.session;
    let named = |id: Option<SessionId>| {
        let found = among.iter().find(|(one, _)| Some(*one) == id);
        found.map(|(_, name)| name.clone())
    };
    let mut own = Own::of(whole);
    own.continues = named(row.parent.filter(|_| row.made.is_some()));
    own.goes_on_as = named(row.successor);
    let system = row.system.as_deref().map(Message::system);
    let bodies = system.iter().map(Message::to_json);
    let bodies = bodies.chain(whole.messages.iter().map(|m| m.body.clone()));
    let mut object = Map::new();
    match form {
        Form::OpenAi => object.insert("messages".into(), bodies.collect()),
        Form::ShareGpt => object.insert(
            "conversations".into(),
            bodies.map(|body| sharegpt::write(&body)).collect(),
        ),
    };
    if let Some(tools) = &row.tools {
        object.insert("tools".into(), tools.clone());
    }
    object.insert("npast".into(), json!(own));
    Value::Object(object).to_string()
}

/// What a line says.
pub(super) struct ReadLine {
    pub whole: Trajectory,
    /// It has a name of its own; otherwise it is named from its first words.
    pub named: bool,
    /// The session of the same file that it continues, and the one that continues it.
    pub continues: Option<String>,
    pub goes_on_as: Option<String>,
}

#[derive(Deserialize)]
struct Fields {
    messages: Option<Vec<Value>>,
    conversations: Option<Vec<Value>>,
    /// Of some data sets, in the place of a first message.
    system: Option<String>,
    tools: Option<Value>,
    npast: Option<Own>,
}

/// Reads a line. Without `exact` only its messages are taken, and no tokens of it.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn read(text: &str, exact: bool) -> Result<ReadLine, String> {
    let mut fields: Fields = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let bodies = match (fields.messages.take(), fields.conversations.take()) {
        (Some(_), Some(_)) => return Err("it has both messages and conversations".into()),
        (None, None) => return Err("it has neither messages nor conversations".into()),
        (Some(messages), None) => openai(messages, fields.npast.is_some())?,
        (None, Some(entries)) => conversations(&entries)?,
    };
    let tools = match fields.tools.take() {
        None | Some(Value::Null) => None,
        // Some data sets have the list as text.
        Some(Value::String(text)) => {
            Some(serde_json::from_str(&text).map_err(|e| format!("its tools are no JSON: {e}"))?)
        }
        Some(tools) => Some(tools),
    };
    if tools
        .as_ref()
        .is_some_and(|tools: &Value| !tools.is_array())
    {
        return Err("its tools are no list".into());
    }
    let (system, bodies) = split(fields.system.take(), fields.npast.as_ref(), bodies)?;
    let Some(own) = fields.npast else {
        return Ok(ReadLine {
            whole: spoken(String::new(), system, tools, bodies),
            named: false,
            continues: None,
            goes_on_as: None,
        });
    };
    let (continues, goes_on_as) = (own.continues.clone(), own.goes_on_as.clone());
    let mut whole = own.session(system, tools, bodies)?;
    if !exact {
        whole = without_tokens(whole);
    }
    Ok(ReadLine {
        whole,
        named: true,
        continues,
        goes_on_as,
    })
}

/// Messages in OpenAI's form. Those of npast's own are taken as they are.
fn openai(messages: Vec<Value>, own: bool) -> Result<Vec<Value>, String> {
    let mut bodies = Vec::with_capacity(messages.len());
    for (at, body) in messages.into_iter().enumerate() {
        let message =
            Message::from_json(&body).map_err(|error| format!("message {at}: {error}"))?;
        bodies.push(match own {
            true => body,
            false => message.to_json(),
        });
    }
    Ok(bodies)
}

fn conversations(entries: &[Value]) -> Result<Vec<Value>, String> {
    // Some data sets have OpenAI's fields under this name.
    let roles = |entry: &Value| entry.get("role").is_some() && entry.get("from").is_none();
    let read = |(at, entry): (usize, &Value)| match roles(entry) {
        true => Message::from_json(entry)
            .map(|message| message.to_json())
            .map_err(|error| format!("entry {at}: {error}")),
        false => sharegpt::read(entry).map_err(|what| format!("entry {at} {what}")),
    };
    entries.iter().enumerate().map(read).collect()
}

/// The system prompt, and the messages behind it.
fn split(
    given: Option<String>,
    own: Option<&Own>,
    mut bodies: Vec<Value>,
) -> Result<(Option<String>, Vec<Value>), String> {
    let first = bodies.first().is_some_and(|body| body["role"] == "system");
    let in_head = match own {
        Some(own) => own.system,
        None => first && given.is_none(),
    };
    if !in_head {
        return Ok((given.filter(|_| own.is_none()), bodies));
    }
    if !first {
        return Err("npast.system is true, and the first message is none of the system".into());
    }
    let body = bodies.remove(0);
    let message = Message::from_json(&body).map_err(|error| error.to_string())?;
    Ok((Some(message.text), bodies))
}

/// A conversation that has messages and no tokens.
fn spoken(
    name: String,
    system: Option<String>,
    tools: Option<Value>,
    bodies: Vec<Value>,
) -> Trajectory {
    let now = now_ms();
    let answered = bodies.iter().rposition(|body| body["role"] == "assistant");
    let answered = answered.map_or(0, |at| at + 1);
    let messages = bodies.into_iter().enumerate().map(|(seq, body)| {
        let role = body["role"].as_str().unwrap_or_default().to_owned();
        let calls = body["tool_calls"].as_array().is_some_and(|c| !c.is_empty());
        session::StoredMessage {
            id: MessageId(0),
            seq,
            state: match seq < answered {
                true => MessageState::Answered,
                false => MessageState::Open,
            },
            finish: (role == "assistant").then_some(match calls {
                true => Finish::ToolCalls,
                false => Finish::Stop,
            }),
            role,
            body,
            span: None,
            created_ms: now,
            trail: None,
        }
    });
    let messages = messages.collect();
    let session = Session {
        id: SessionId(0),
        name,
        folder: String::new(),
        model: "(none)".into(),
        class: "none".into(),
        vocab: NO_VOCABULARY,
        template: NO_VOCABULARY,
        fingerprint: NO_VOCABULARY,
        system,
        tools,
        preface: None,
        head: 0,
        common: None,
        started_ms: now,
        // As good as any: the messages that it will be mixed with differ.
        seed: now.cast_unsigned(),
        policy: "exact".into(),
        parent: None,
        runs_tools: false,
        thinking: None,
        shift: false,
        created_ms: now,
        used_ms: now,
        usage: ReceiptSums::default(),
        tries: 0,
        forked: None,
        successor: None,
        made: None,
        carried: 0,
    };
    Trajectory {
        session,
        messages,
        tokens: Vec::new(),
        pending: 0,
        decoded: Some(0),
        receipts: Vec::new(),
    }
}

/// The same conversation without its tokens, to be rendered by the model that opens it.
fn without_tokens(whole: Trajectory) -> Trajectory {
    let row = whole.session;
    let bodies = whole.messages.into_iter().map(|m| m.body).collect();
    let mut plain = spoken(row.name, row.system, row.tools, bodies);
    plain.session.seed = row.seed;
    plain.session.runs_tools = row.runs_tools;
    plain.session.preface = row.preface;
    plain
}
