//! `--json`: one event per line. The fields are a contract: some may be added, none renamed.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Pipe, notice, printed, screen};
use crate::agent::{Event, Info};
use crate::cli::error::Failure;

/// Events as lines.
pub struct Lines {
    pub(super) out: Pipe,
}

impl Lines {
    /// Writes to `out`.
    pub fn new(out: Pipe) -> Lines {
        Lines { out }
    }

    /// The conversation that is open now; `held` is what its programs are kept from.
    pub fn session(&mut self, info: &Info, held: Option<&str>) {
        self.line(&json!({
            "type": "session", "id": info.id, "name": info.name, "resumed": info.resumed,
            "model": info.model, "class": info.class.as_str(), "context": info.context,
            "sandbox": held,
        }));
    }

    /// A notice is no event: it goes to standard error.
    pub fn event(&mut self, event: Event) {
        let value = match event {
            Event::Restoring { .. } => return,
            Event::Notice { text, hint } => return notice(&text, hint.as_deref()),
            Event::Prefill { done, total } => {
                json!({"type": "prefill", "done": done, "total": total})
            }
            Event::Reasoning(text) => json!({"type": "reasoning", "text": text}),
            Event::Text(text) => json!({"type": "text", "text": text}),
            Event::ToolCall {
                id,
                name,
                arguments,
            } => json!({"type": "tool_call", "id": id, "name": name, "arguments": arguments}),
            Event::ToolResult { id, name, ok, text } => {
                json!({"type": "tool_result", "id": id, "name": name, "ok": ok, "text": text})
            }
            Event::Steered(text) => json!({"type": "steered", "text": text}),
            Event::Compress(stage) => json!({"type": "compress", "stage": stage.as_str()}),
            Event::Receipt(receipt) => typed("receipt", &*receipt),
            Event::Turn(sum) => typed("turn", &sum),
        };
        self.line(&value);
    }

    fn line(&mut self, value: &Value) {
        self.out.event(&value.to_string());
    }
}

/// A record with its `type` before its own fields.
fn typed(kind: &str, record: &impl Serialize) -> Value {
    let mut fields = Map::new();
    fields.insert("type".into(), kind.into());
    // Records of numbers and names: nothing in them that JSON does not have.
    if let Ok(Value::Object(own)) = serde_json::to_value(record) {
        fields.extend(own);
    }
    Value::Object(fields)
}

fn failure(failure: &Failure) -> Value {
    json!({
        "type": "error", "kind": failure.kind, "message": failure.message,
        "hint": failure.hint, "exit": failure.exit,
    })
}

/// The error a run ended with, as its last event.
pub fn error(ended: &Failure) {
    let _ = lines(&[failure(ended)]);
}

/// Finished lines.
pub fn lines(values: &[Value]) -> Result<i32, Failure> {
    let mut screen = screen();
    let mut lines = values.iter().map(Value::to_string);
    printed(lines.try_for_each(|line| screen.event(&line)))
}

#[cfg(test)]
mod tests {
    use super::super::receipt::samples;
    use super::super::screen::Looks;
    use super::super::screen::tests::piped;
    use super::*;
    use crate::slot::Class;

    #[test]
    fn every_event_is_one_line_with_the_fields_of_the_contract() {
        let (pipe, bytes, _) = piped(Looks::default());
        let mut lines = Lines::new(pipe);
        let info = Info {
            id: 7,
            name: "work".into(),
            resumed: true,
            model: "m.gguf".into(),
            class: Class::Hybrid,
            context: 9310,
            open_message: None,
            unfinished: false,
            runs_tools: true,
            folder: "/work".into(),
        };
        lines.session(&info, Some("network (seccomp)"));
        lines.session(
            &Info {
                resumed: false,
                ..info
            },
            None,
        );
        lines.event(Event::Restoring { tokens: 5 });
        lines.event(Event::Prefill {
            done: 128,
            total: 300,
        });
        lines.event(Event::Reasoning("hm\n".into()));
        lines.event(Event::Text("\"é\"".into()));
        lines.event(Event::ToolCall {
            id: "c1".into(),
            name: "read".into(),
            arguments: json!({"path": "b", "all": true}),
        });
        lines.event(Event::ToolResult {
            id: "c1".into(),
            name: "read".into(),
            ok: false,
            text: "no\n".into(),
        });
        lines.event(Event::Steered("not there".into()));
        lines.event(Event::Receipt(Box::new(samples::receipt())));
        lines.event(Event::Receipt(Box::new(samples::missed())));
        lines.event(Event::Turn(samples::turn()));
        let want = r#"{"type":"session","id":7,"name":"work","resumed":true,"model":"m.gguf","class":"hybrid","context":9310,"sandbox":"network (seccomp)"}
{"type":"session","id":7,"name":"work","resumed":false,"model":"m.gguf","class":"hybrid","context":9310,"sandbox":null}
{"type":"prefill","done":128,"total":300}
{"type":"reasoning","text":"hm\n"}
{"type":"text","text":"\"é\""}
{"type":"tool_call","id":"c1","name":"read","arguments":{"path":"b","all":true}}
{"type":"tool_result","id":"c1","name":"read","ok":false,"text":"no\n"}
{"type":"steered","text":"not there"}
{"type":"receipt","kind":"turn","call":3,"context":9345,"kept":9310,"restored":0,"evaluated":21,"appended":21,"generated":15,"pending":1,"finish":"stop","miss":null,"restored_bytes":0,"saved_bytes":0,"snapshot_bytes":0,"ms":{"restore":0,"prefill":38,"first_token":41,"decode":120,"save":2}}
{"type":"receipt","kind":"turn","call":3,"context":9345,"kept":62,"restored":0,"evaluated":9269,"appended":21,"generated":15,"pending":1,"finish":"stop","miss":{"at":62,"message":1,"reason":"system prompt differs: \"a\" became \"b\""},"restored_bytes":0,"saved_bytes":0,"snapshot_bytes":0,"ms":{"restore":0,"prefill":38,"first_token":41,"decode":120,"save":2}}
{"type":"turn","calls":1,"context":9345,"kept":9310,"restored":0,"evaluated":21,"appended":21,"generated":15,"finish":"stop","seconds":0.2}
"#;
        assert_eq!(bytes.text(), want);
    }

    #[test]
    fn text_of_a_stranger_is_the_same_value_and_no_order_to_a_terminal() {
        let (pipe, bytes, _) = piped(Looks::default());
        let mut lines = Lines::new(pipe);
        lines.event(Event::Text("\u{1b}]0;a\u{7}\u{9b}2J\u{7f}\u{202e}".into()));
        let want = r#"{"type":"text","text":"\u001b]0;a\u0007\u009b2J\u007f\u202e"}"#;
        assert_eq!(bytes.text(), format!("{want}\n"));
    }

    #[test]
    fn an_error_is_an_event_with_kind_message_hint_and_exit_code() {
        let interrupted = failure(&Failure::interrupted()).to_string();
        assert_eq!(
            interrupted,
            r#"{"type":"error","kind":"interrupted","message":"interrupted","hint":null,"exit":130}"#
        );
        let usage = failure(&Failure::usage("no", "do")).to_string();
        assert_eq!(
            usage,
            r#"{"type":"error","kind":"usage","message":"no","hint":"do","exit":2}"#
        );
    }

    #[test]
    fn a_reader_that_goes_away_cancels_the_turn() {
        let (pipe, bytes, _) = piped(Looks::default());
        let cancel = pipe.cancel.clone();
        bytes.close();
        let mut lines = Lines::new(pipe);
        lines.event(Event::Text("a".into()));
        assert!(cancel.load(std::sync::atomic::Ordering::SeqCst));
        assert!(lines.out.failed.is_some());
    }
}
