//! Drafts: messages on their way into a template, with the substitutes that the battery found
//! necessary already made, and every foreign text marked.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use super::pieces::{ContentOwner, Placeholder};
use crate::chat::message::plain;
use crate::chat::message::{Message, Role, ToolCall};

/// How messages are brought into a form that the template can write. The default is: as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Substitutes {
    /// The system text stands at the head of the first user message.
    pub system_in_user: bool,
    /// A later system message becomes a user message with a prefix.
    pub late_system_as_user: bool,
    /// Tools, calls and results are written in the plain format.
    pub plain_tools: bool,
    /// The results of several calls are rendered one by one, each after its own call.
    pub results_one_by_one: bool,
    /// User messages in a row are joined.
    pub join_users: bool,
    /// A user message after results is written at the end of the last result.
    pub user_in_result: bool,
    /// Call ids have nine letters and digits.
    pub short_ids: bool,
    /// How a reply with calls stands in an anchor.
    pub anchor: AnchorText,
}

/// Whether the reply of an anchor has a text beside its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AnchorText {
    /// If the true reply has one.
    #[default]
    AsReply,
    /// Never: the template writes it after the results.
    Never,
    /// Always: the template does not write the calls.
    Always,
}

/// What a late system message starts with when it has to be a user message.
pub const LATE_SYSTEM: &str = "[System message]\n";
/// What stands before a user's text inside a tool result.
pub const USER_IN_RESULT: &str = "\n\n[User message]\n";

/// A stretch of a draft's text: ours, or foreign and then with what it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DraftPart {
    pub text: String,
    pub owner: Option<ContentOwner>,
}

impl DraftPart {
    pub fn ours(text: impl Into<String>) -> DraftPart {
        DraftPart {
            text: text.into(),
            owner: None,
        }
    }

    /// White space needs no placeholder: it holds no control text, and templates test texts for being empty.
    pub fn foreign(text: &str, owner: ContentOwner) -> DraftPart {
        DraftPart {
            text: text.to_owned(),
            owner: (!text.trim().is_empty()).then_some(owner),
        }
    }
}

/// A message as it goes to the template.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MessageDraft {
    pub role: Role,
    pub text: Vec<DraftPart>,
    pub reasoning: Option<DraftPart>,
    pub calls: Vec<ToolCall>,
    pub call_id: Option<String>,
    pub name: Option<String>,
    /// The message whose call arguments are foreign; ours without.
    pub message: Option<usize>,
}

impl MessageDraft {
    pub fn of(message: &Message, index: usize, plan: Substitutes) -> MessageDraft {
        MessageDraft {
            role: message.role,
            text: vec![DraftPart::foreign(
                &message.text,
                ContentOwner::Message(index),
            )],
            reasoning: message
                .reasoning
                .as_deref()
                .filter(|r| !r.trim().is_empty())
                .map(|r| DraftPart::foreign(r, ContentOwner::Message(index))),
            calls: message
                .calls
                .iter()
                .map(|call| ToolCall {
                    id: call_id(&call.id, plan),
                    name: plain_name(&call.name),
                    arguments: call.arguments.clone(),
                })
                .collect(),
            call_id: message.call_id.as_deref().map(|id| call_id(id, plan)),
            name: message.name.as_deref().map(plain_name),
            message: Some(index),
        }
    }

    pub fn ours(role: Role, text: &str) -> MessageDraft {
        MessageDraft {
            role,
            text: vec![DraftPart::ours(text)],
            reasoning: None,
            calls: Vec::new(),
            call_id: None,
            name: None,
            message: None,
        }
    }
}

/// Names and ids are written by the template as its own text, so they may hold nothing that could
/// be a control token: letters and digits of all languages, and a few signs.
pub(in crate::chat) fn plain_name(name: &str) -> String {
    name.chars()
        .take(128)
        .map(|c| match c {
            '_' | '-' | '.' | ':' | '/' => c,
            c if c.is_alphanumeric() => c,
            _ => '_',
        })
        .collect()
}

/// A name that is not in `taken`: with a number where it would be.
pub(super) fn free_name(name: String, taken: &Map<String, Value>) -> String {
    if !taken.contains_key(&name) {
        return name;
    }
    (2..)
        .map(|n| format!("{name}_{n}"))
        .find(|other| !taken.contains_key(other))
        .unwrap_or(name)
}

/// Whether a text or a name in `value` is hostile.
pub(super) fn holds(value: &Value, hostile: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => hostile(text),
        Value::Array(list) => list.iter().any(|v| holds(v, hostile)),
        Value::Object(map) => map.iter().any(|(key, v)| hostile(key) || holds(v, hostile)),
        _ => false,
    }
}

/// Tools without the text of a control token, for renderings in which tools stand only before what
/// is wanted of them.
pub(super) fn harmless(value: &Value, hostile: &dyn Fn(&str) -> bool) -> Value {
    match value {
        Value::String(text) if hostile(text) => "A text.".into(),
        Value::Array(list) => list.iter().map(|v| harmless(v, hostile)).collect(),
        Value::Object(map) => {
            let entries = map.iter().map(|(key, v)| {
                let key = if hostile(key) {
                    plain_name(key)
                } else {
                    key.clone()
                };
                (key, harmless(v, hostile))
            });
            Value::Object(entries.collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

/// The id under which a call stands in the rendering.
pub(super) fn call_id(id: &str, plan: Substitutes) -> String {
    let fits = id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric());
    if plan.short_ids && !fits {
        blake3::hash(id.as_bytes()).to_hex()[..9].to_owned()
    } else {
        plain_name(id)
    }
}

/// The session's part of a rendering after the substitutes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HeadDraft {
    pub system: Option<Vec<DraftPart>>,
    pub tools: Option<Value>,
}

pub(super) fn head(system: Option<&str>, tools: Option<&Value>, plan: Substitutes) -> HeadDraft {
    let tools = tools.filter(|t| t.as_array().is_some_and(|list| !list.is_empty()));
    let mut parts = Vec::new();
    if let Some(system) = system {
        parts.push(DraftPart::foreign(system, ContentOwner::System));
    }
    if let (true, Some(tools)) = (plan.plain_tools, tools) {
        if !parts.is_empty() {
            parts.push(DraftPart::ours("\n\n"));
        }
        parts.push(DraftPart::foreign(
            &plain::describe(tools),
            ContentOwner::Tools,
        ));
    }
    HeadDraft {
        system: (!parts.is_empty()).then_some(parts),
        tools: if plan.plain_tools {
            None
        } else {
            tools.cloned()
        },
    }
}

/// Messages as drafts, substitutes made. `first` says that they begin the conversation.
pub(super) fn drafts(messages: &[Message], first: bool, plan: Substitutes) -> Vec<MessageDraft> {
    let mut out: Vec<MessageDraft> = Vec::with_capacity(messages.len());
    // Later calls of a reply, each to be written before its own result.
    let mut waiting = VecDeque::new();
    for (index, message) in messages.iter().enumerate() {
        if plan.results_one_by_one && !plan.plain_tools && message.calls.len() > 1 {
            let mut draft = MessageDraft::of(message, index, plan);
            waiting = draft.calls.drain(1..).map(|call| (call, index)).collect();
            out.push(draft);
            continue;
        }
        if message.role == Role::Tool
            && out.last().is_some_and(|last| last.role == Role::Tool)
            && let Some((call, of)) = waiting.pop_front()
        {
            let mut draft = MessageDraft::ours(Role::Assistant, "");
            draft.calls.push(call);
            draft.message = Some(of);
            out.push(draft);
        }
        let mut draft = if plan.plain_tools && message.role == Role::Tool {
            let mut draft = MessageDraft::of(message, index, plan);
            let name = draft.name.take().unwrap_or_else(|| "the tool".into());
            draft.role = Role::User;
            draft.call_id = None;
            draft
                .text
                .insert(0, DraftPart::ours(format!("Result of {name}:\n")));
            draft
        } else if plan.plain_tools {
            MessageDraft::of(&plain::flatten(message), index, plan)
        } else {
            MessageDraft::of(message, index, plan)
        };
        let late = !(first && index == 0);
        if draft.role == Role::System && late && plan.late_system_as_user {
            draft.role = Role::User;
            draft.text.insert(0, DraftPart::ours(LATE_SYSTEM));
        }
        match out.last_mut() {
            Some(last)
                if plan.join_users && draft.role == Role::User && last.role == Role::User =>
            {
                last.text.push(DraftPart::ours("\n\n"));
                last.text.append(&mut draft.text);
            }
            Some(last)
                if plan.user_in_result && draft.role == Role::User && last.role == Role::Tool =>
            {
                last.text.push(DraftPart::ours(USER_IN_RESULT));
                last.text.append(&mut draft.text);
            }
            _ => out.push(draft),
        }
    }
    out
}

/// What stands between the preface and the user's own words.
pub const BEHIND_PREFACE: &str = "\n\n";

/// Puts the preface before the words of the first user message; a user message of its own has it where
/// there is none.
pub(super) fn with_preface(preface: Option<&str>, drafts: &mut Vec<MessageDraft>) {
    let Some(preface) = preface else {
        return;
    };
    let first = drafts.iter().position(|d| d.role == Role::User);
    if first.is_none() {
        drafts.insert(0, MessageDraft::ours(Role::User, ""));
    }
    let user = &mut drafts[first.unwrap_or(0)];
    let own = std::mem::take(&mut user.text);
    user.text = vec![
        DraftPart::foreign(preface, ContentOwner::Preface),
        DraftPart::ours(BEHIND_PREFACE),
    ];
    user.text.extend(own);
}

/// Puts the system text where the plan wants it.
pub(super) fn with_system(head: &mut HeadDraft, drafts: &mut Vec<MessageDraft>, plan: Substitutes) {
    let Some(mut system) = head.system.take() else {
        return;
    };
    if !plan.system_in_user {
        let mut draft = MessageDraft::ours(Role::System, "");
        draft.text = system;
        drafts.insert(0, draft);
        return;
    }
    system.push(DraftPart::ours("\n\n"));
    match drafts.iter_mut().find(|d| d.role == Role::User) {
        Some(user) => {
            system.append(&mut user.text);
            user.text = system;
        }
        None => {
            let mut draft = MessageDraft::ours(Role::User, "");
            draft.text = system;
            drafts.insert(0, draft);
        }
    }
}

/// Replaces foreign texts by sentinels, or not.
pub(super) struct DraftWriter {
    tag: String,
    sketch: bool,
    only: Option<usize>,
    count: usize,
    pub slots: Vec<Placeholder>,
}

impl DraftWriter {
    /// Writes sentinels; `tag` occurs in no text of the request.
    pub fn sketch(tag: &str) -> DraftWriter {
        DraftWriter {
            tag: tag.to_owned(),
            sketch: true,
            only: None,
            count: 0,
            slots: Vec::new(),
        }
    }

    /// Writes the texts themselves.
    pub fn real() -> DraftWriter {
        DraftWriter {
            sketch: false,
            ..DraftWriter::sketch("")
        }
    }

    /// Writes sentinels, but for the slot with this sentinel number.
    pub fn alone(tag: &str, number: usize) -> DraftWriter {
        DraftWriter {
            only: Some(number),
            ..DraftWriter::sketch(tag)
        }
    }

    fn foreign(&mut self, text: &str, owner: ContentOwner) -> String {
        let number = self.count;
        self.count += 1;
        if !self.sketch || self.only == Some(number) {
            return text.to_owned();
        }
        let sentinel = format!("{}n{number}z", self.tag);
        self.slots.push(Placeholder {
            sentinel: sentinel.clone(),
            text: text.to_owned(),
            owner,
        });
        sentinel
    }

    fn part(&mut self, part: &DraftPart) -> String {
        match part.owner {
            Some(owner) => self.foreign(&part.text, owner),
            None => part.text.clone(),
        }
    }

    /// A draft in the OpenAI form.
    pub fn message(&mut self, draft: &MessageDraft) -> Value {
        let reasoning = draft.reasoning.as_ref().map(|r| self.part(r));
        let text: String = draft.text.iter().map(|p| self.part(p)).collect();
        let mut out = json!({"role": draft.role.as_str(), "content": text});
        if let Some(reasoning) = reasoning {
            out["reasoning_content"] = json!(reasoning);
        }
        if !draft.calls.is_empty() {
            let calls: Vec<Value> = draft
                .calls
                .iter()
                .map(|call| {
                    let arguments = match draft.message {
                        Some(index) => self.arguments(&call.arguments, index),
                        None => call.arguments.clone(),
                    };
                    json!({"id": call.id, "type": "function",
                        "function": {"name": call.name, "arguments": arguments.to_string()}})
                })
                .collect();
            out["tool_calls"] = json!(calls);
        }
        if let Some(id) = &draft.call_id {
            out["tool_call_id"] = json!(id);
        }
        if let Some(name) = &draft.name {
            out["name"] = json!(name);
        }
        out
    }

    fn arguments(&mut self, value: &Value, message: usize) -> Value {
        match value {
            Value::String(text) if !text.trim().is_empty() => {
                Value::String(self.foreign(text, ContentOwner::Message(message)))
            }
            Value::Array(list) => list.iter().map(|v| self.arguments(v, message)).collect(),
            Value::Object(map) => {
                let mut entries = Map::new();
                for (key, v) in map {
                    let value = self.arguments(v, message);
                    entries.insert(free_name(plain_name(key), &entries), value);
                }
                Value::Object(entries)
            }
            other => other.clone(),
        }
    }

    /// Tools, with slots for the texts that `hostile` names.
    pub fn tools(&mut self, value: &Value, hostile: &dyn Fn(&str) -> bool) -> Value {
        match value {
            Value::String(text) if hostile(text) => {
                Value::String(self.foreign(text, ContentOwner::Tools))
            }
            Value::Array(list) => list.iter().map(|v| self.tools(v, hostile)).collect(),
            Value::Object(map) => {
                let entries = map.iter().map(|(k, v)| (k.clone(), self.tools(v, hostile)));
                Value::Object(entries.collect::<Map<_, _>>())
            }
            other => other.clone(),
        }
    }
}

/// Whether a key anywhere in `value` is hostile, or a tool's name: these have no slot.
pub(super) fn hostile_names(value: &Value, hostile: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::Array(list) => list.iter().any(|v| hostile_names(v, hostile)),
        Value::Object(map) => map.iter().any(|(key, v)| {
            hostile(key)
                || (key == "name" && v.as_str().is_some_and(hostile))
                || hostile_names(v, hostile)
        }),
        _ => false,
    }
}

/// A tag for sentinels that none of the texts contains.
pub(super) fn tag_for(texts: &str) -> String {
    (0u32..)
        .map(|n| format!("Npq{n}w"))
        .find(|tag| !texts.contains(tag.as_str()))
        .unwrap_or_default()
}
