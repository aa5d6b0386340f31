//! A client that holds a conversation itself and sends all of it with each request, in one of the forms
//! that clients have.
#![allow(dead_code)]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use npast::agent::{
    AgentError, ClientHistory, Conversation, Engine, Event, Followed, NewSession, Receipt,
    TurnOptions,
};
use npast::chat::pins::PinRules;
use npast::chat::{Message, ReplyScript};
use serde_json::{Map, Value, json};

/// What the client holds: messages as they went over the wire.
#[derive(Clone, Default)]
pub struct Client {
    pub system: Option<String>,
    pub tools: Option<Value>,
    pub wire: Vec<Value>,
}

/// What one request came to.
pub struct Answer {
    pub followed: Followed,
    pub receipts: Vec<Receipt>,
    pub notices: Vec<String>,
    pub text: String,
}

impl Answer {
    pub fn receipt(&self) -> &Receipt {
        assert_eq!(self.receipts.len(), 1, "one receipt a call");
        &self.receipts[0]
    }
}

impl Client {
    pub fn user(&mut self, text: &str) {
        self.wire.push(json!({"role": "user", "content": text}));
    }

    /// The reply that a conversation stored last, as the API gives it.
    pub fn take_reply(&mut self, talk: &Conversation) {
        let stored = talk.mirror().messages;
        self.wire.push(stored.last().expect("a reply").body.clone());
    }

    /// Results for all calls of the last reply.
    pub fn results(&mut self, text: &str) {
        let calls = self.wire.last().expect("a reply")["tool_calls"].clone();
        for call in calls.as_array().expect("calls") {
            let id = &call["id"];
            self.wire
                .push(json!({"role": "tool", "tool_call_id": id, "content": text}));
        }
    }

    /// Results for all calls of a conversation's last reply: each says what was asked.
    pub fn results_of(&mut self, talk: &Conversation) {
        let stored = talk.mirror().messages;
        let last = Message::from_json(&stored.last().expect("a reply").body).expect("a message");
        for call in last.calls {
            let text = format!("all of {}", call.arguments);
            self.wire
                .push(json!({"role": "tool", "tool_call_id": call.id, "content": text}));
        }
    }

    pub fn history(&self) -> ClientHistory {
        let read = |value: &Value| Message::from_json(value).expect("a message");
        ClientHistory {
            system: self.system.clone(),
            tools: self.tools.clone(),
            messages: self.wire.iter().map(read).collect(),
        }
    }
}

/// Opens the conversation of a client's history.
pub fn open(
    engine: &Engine,
    client: &Client,
    keys: &[&str],
    new: NewSession,
) -> Result<Conversation, AgentError> {
    let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    engine.conversation_of(&client.history(), &keys, PinRules::all(), new)
}

/// One request on an open conversation; `reply` is a line of a script.
pub fn ask(
    talk: &mut Conversation,
    history: &ClientHistory,
    options: &TurnOptions,
    reply: Option<&str>,
) -> Result<Answer, AgentError> {
    let mut script = reply.map(|line| ReplyScript::read(line.as_bytes()).expect("a script"));
    let (mut receipts, mut notices, mut text) = (Vec::new(), Vec::new(), String::new());
    let cancel = Arc::new(AtomicBool::new(false));
    let followed = talk.follow(
        history,
        PinRules::all(),
        options,
        script.as_mut(),
        &cancel,
        &mut |event| match event {
            Event::Receipt(receipt) => receipts.push(*receipt),
            Event::Notice { text, .. } => notices.push(text),
            Event::Text { text: more } => text += &more,
            _ => {}
        },
    )?;
    Ok(Answer {
        followed,
        receipts,
        notices,
        text,
    })
}

/// A form in which a client sends what it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    AsIs,
    ExtraFields,
    Trimmed,
    ReasoningRenamed,
    NoReasoning,
    ArgumentsRewritten,
    ToolsReordered,
    Parts,
    OtherIds,
    SplitMessages,
    All,
}

impl Form {
    pub const EACH: [Form; 11] = [
        Form::AsIs,
        Form::ExtraFields,
        Form::Trimmed,
        Form::ReasoningRenamed,
        Form::NoReasoning,
        Form::ArgumentsRewritten,
        Form::ToolsReordered,
        Form::Parts,
        Form::OtherIds,
        Form::SplitMessages,
        Form::All,
    ];

    /// What the client holds, in this form.
    pub fn of(self, client: &Client) -> Client {
        if self == Form::All {
            let all = [
                Form::ArgumentsRewritten,
                Form::Trimmed,
                Form::ReasoningRenamed,
                Form::OtherIds,
                Form::SplitMessages,
                Form::Parts,
                Form::ExtraFields,
                Form::ToolsReordered,
            ];
            return all
                .iter()
                .fold(client.clone(), |client, form| form.of(&client));
        }
        let mut client = client.clone();
        if self == Form::ToolsReordered
            && let Some(Value::Array(tools)) = &mut client.tools
        {
            tools.reverse();
        }
        if self == Form::SplitMessages {
            client.wire = client.wire.into_iter().flat_map(split).collect();
            return client;
        }
        client
            .wire
            .iter_mut()
            .for_each(|message| self.change(message));
        client
    }

    fn change(self, message: &mut Value) {
        match self {
            Form::ExtraFields => {
                message["refusal"] = Value::Null;
                message["annotations"] = json!([]);
                message["finish_reason"] = json!("tool_calls");
                for (i, call) in calls(message).iter_mut().enumerate() {
                    call["index"] = json!(i);
                    call["extra_content"] = json!({"google": {}});
                }
            }
            Form::Trimmed => {
                if let Some(text) = message["content"].as_str() {
                    message["content"] = json!(text.trim());
                }
            }
            Form::ReasoningRenamed | Form::NoReasoning => {
                let object = message.as_object_mut().expect("an object");
                let thought = object.shift_remove("reasoning_content");
                if let Some(thought) = thought.filter(|_| self == Form::ReasoningRenamed) {
                    object.insert("reasoning".into(), thought);
                }
            }
            Form::ArgumentsRewritten => {
                for call in calls(message) {
                    let text = call["function"]["arguments"].as_str().unwrap_or("{}");
                    let arguments: Value = serde_json::from_str(text).expect("JSON");
                    let text = serde_json::to_string_pretty(&sorted(&arguments));
                    call["function"]["arguments"] = json!(text.expect("JSON"));
                }
            }
            Form::Parts => {
                if let Some(text) = message["content"].as_str().filter(|text| !text.is_empty()) {
                    message["content"] = json!([{"type": "text", "text": text}]);
                } else {
                    message["content"] = Value::Null;
                }
            }
            Form::OtherIds => {
                let other = |id: &Value| json!(format!("toolu_{}", id.as_str().unwrap_or("x")));
                for call in calls(message) {
                    call["id"] = other(&call["id"]);
                }
                if message.get("tool_call_id").is_some() {
                    message["tool_call_id"] = other(&message["tool_call_id"]);
                }
            }
            _ => {}
        }
    }
}

fn calls(message: &mut Value) -> &mut [Value] {
    match message.get_mut("tool_calls") {
        Some(Value::Array(calls)) => calls,
        _ => &mut [],
    }
}

/// A message for the text and one for each call.
fn split(message: Value) -> Vec<Value> {
    let Some(Value::Array(calls)) = message.get("tool_calls") else {
        return vec![message];
    };
    let mut first = message.clone();
    first
        .as_object_mut()
        .expect("an object")
        .shift_remove("tool_calls");
    let mut all = vec![first];
    all.extend(
        calls
            .iter()
            .map(|call| json!({"role": "assistant", "content": null, "tool_calls": [call]})),
    );
    all
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut all: Vec<_> = fields.iter().collect();
            all.sort_by_key(|(key, _)| *key);
            let all = all.into_iter().map(|(k, v)| (k.clone(), sorted(v)));
            Value::Object(all.collect::<Map<_, _>>())
        }
        Value::Array(list) => list.iter().map(sorted).collect(),
        other => other.clone(),
    }
}
