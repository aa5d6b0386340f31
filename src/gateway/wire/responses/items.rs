//! The items of a request become messages: what the model did in one reply (thinking, text, calls)
//! are several items there, and one message here.

use serde_json::Value;

use super::super::content;
use super::super::fields::RequestFields;
use super::super::{Ask, RequestRefusal};
use crate::chat::Message;
use crate::chat::message::Role;

/// Messages that are being put together.
struct Assembly<'a> {
    done: Vec<Message>,
    /// The reply whose items are being read.
    reply: Option<Message>,
    /// It has its text.
    spoken: bool,
    ask: &'a mut Ask,
}

/// Reads the items of `input`.
///
/// # Errors
/// A sentence with the item that is wrong.
pub fn read(items: &[Value], ask: &mut Ask) -> Result<Vec<Message>, RequestRefusal> {
    let mut building = Assembly {
        done: Vec::with_capacity(items.len()),
        reply: None,
        spoken: false,
        ask,
    };
    for (at, item) in items.iter().enumerate() {
        building.item(&format!("input[{at}]"), item)?;
    }
    building.close();
    Ok(building.done)
}

impl Assembly<'_> {
    fn item(&mut self, what: &str, item: &Value) -> Result<(), RequestRefusal> {
        let fields = RequestFields::of(what, item)?;
        let kind = fields.text("type")?;
        if let Some(id) = item.get("id").and_then(Value::as_str) {
            self.ask.keys.given(id);
        }
        match kind {
            None | Some("message") => self.message(what, fields),
            Some("reasoning") => self.reasoning(what, fields),
            Some(kind @ ("function_call" | "custom_tool_call")) => {
                let id = fields.text("call_id")?;
                self.ask.keys.given(id.unwrap_or_default());
                let given = fields.get(match kind {
                    "function_call" => "arguments",
                    _ => "input",
                });
                // The input of a custom tool is a text of any form.
                let wrapped =
                    (kind == "custom_tool_call").then(|| serde_json::json!({ "input": given }));
                let call =
                    content::call(what, id, fields.text("name")?, wrapped.as_ref().or(given))?;
                self.reply().calls.push(call);
                Ok(())
            }
            Some("function_call_output" | "custom_tool_call_output") => {
                self.close();
                let id = fields.text("call_id")?.unwrap_or_default();
                self.ask.keys.given(id);
                let text = output(&format!("{what}.output"), fields.get("output"))?;
                let mut result = Message::tool_result(id, "", text);
                result.name = None;
                self.done.push(result);
                Ok(())
            }
            Some("item_reference") => Err(RequestRefusal::field(
                what,
                format!(
                    "{what} is a reference to an item: this server keeps no items; send the item, \
                     or the response's id as previous_response_id"
                ),
            )),
            // What tools of OpenAI's server did for another model.
            Some(other) => {
                let name: String = other.chars().take(40).collect();
                self.ask.ignore(format!("item:{name}"));
                Ok(())
            }
        }
    }

    fn message(&mut self, what: &str, fields: RequestFields<'_>) -> Result<(), RequestRefusal> {
        let role = fields.text("role")?.unwrap_or_default();
        let text = content::text(&format!("{what}.content"), fields.get("content"))?;
        match Role::parse(role) {
            Some(Role::Assistant) => {
                let begun = self.reply.as_ref();
                if self.spoken || begun.is_some_and(|reply| !reply.calls.is_empty()) {
                    self.close();
                }
                self.reply().text = text;
                self.spoken = true;
            }
            Some(role @ (Role::System | Role::User)) => {
                self.close();
                self.done.push(match role {
                    Role::System => Message::system(text),
                    _ => Message::user(text),
                });
            }
            Some(Role::Tool) | None => {
                let role: String = role.chars().take(40).collect();
                return Err(RequestRefusal::field(
                    what,
                    format!(
                        "{what} must have the role user, assistant, system or developer, not {role:?}"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Thinking begins a reply.
    fn reasoning(&mut self, what: &str, fields: RequestFields<'_>) -> Result<(), RequestRefusal> {
        if let Some(stamp) = fields.text("encrypted_content")? {
            self.ask.keys.given(stamp);
        }
        let content = content::text(&format!("{what}.content"), fields.get("content"))?;
        let text = match content.is_empty() {
            true => content::text(&format!("{what}.summary"), fields.get("summary"))?,
            false => content,
        };
        let begun = self.reply.as_ref();
        if self.spoken || begun.is_some_and(|reply| !reply.calls.is_empty()) {
            self.close();
        }
        let reply = self.reply();
        if !text.is_empty() {
            match &mut reply.reasoning {
                Some(begun) => {
                    begun.push('\n');
                    begun.push_str(&text);
                }
                none => *none = Some(text),
            }
        }
        Ok(())
    }

    fn reply(&mut self) -> &mut Message {
        self.reply.get_or_insert_with(|| Message::assistant(""))
    }

    /// The reply whose items were read is whole. One that has nothing is none.
    fn close(&mut self) {
        self.spoken = false;
        let reply = self.reply.take();
        self.done.extend(reply.filter(|reply| {
            !reply.text.is_empty() || !reply.calls.is_empty() || reply.reasoning.is_some()
        }));
    }
}

/// What a call gave: a text, parts of one, or an object that Codex once sent.
fn output(what: &str, output: Option<&Value>) -> Result<String, RequestRefusal> {
    match output {
        Some(object @ Value::Object(fields)) => match fields.get("content") {
            Some(content) => content::text(what, Some(content)),
            None => Ok(object.to_string()),
        },
        other => content::text(what, other),
    }
}
