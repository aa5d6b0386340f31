//! `--json`: one event per line. The fields are a contract: some may be added, none renamed.

use serde_json::{Value, json};

use super::{Pipe, notice, printed, screen};
use crate::agent::Event;
use crate::cli::error::Failure;

/// Events as lines.
pub struct JsonLines {
    pub(super) out: Pipe,
}

impl JsonLines {
    /// Writes to `out`.
    pub fn new(out: Pipe) -> JsonLines {
        JsonLines { out }
    }

    /// A notice is no line: it goes to standard error. An error is the last line, and the program's
    /// own.
    pub fn event(&mut self, event: Event) {
        match &event {
            Event::Restoring { .. } | Event::Done(_) | Event::Error { .. } => {}
            Event::Notice { text, hint } => notice(text, hint.as_deref()),
            // Records of numbers, names and texts: nothing in them that JSON does not have.
            event => self.line(&serde_json::to_value(event).unwrap_or_default()),
        }
    }

    fn line(&mut self, value: &Value) {
        self.out.event(&value.to_string());
    }
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
    texts(values.iter().map(Value::to_string))
}

/// Finished lines that are JSON already.
pub fn texts(lines: impl IntoIterator<Item = String>) -> Result<i32, Failure> {
    let mut screen = screen();
    printed(lines.into_iter().try_for_each(|line| screen.event(&line)))
}

#[cfg(test)]
mod tests {
    use super::super::receipt::samples;
    use super::super::screen::Looks;
    use super::super::screen::tests::piped;
    use super::*;
    use crate::agent::Info;
    use crate::slot::MemoryClass;

    #[test]
    fn every_event_is_one_line_with_the_fields_of_the_contract() {
        let (pipe, bytes, _) = piped(Looks::default());
        let mut lines = JsonLines::new(pipe);
        let info = Info {
            id: 7,
            name: "work".into(),
            resumed: true,
            model: "m.gguf".into(),
            class: MemoryClass::Hybrid,
            context: 9310,
            open_message: None,
            unfinished: false,
            runs_tools: true,
            folder: "/work".into(),
        };
        lines.event(Event::Session {
            info: info.clone(),
            sandbox: Some("network (seccomp)".into()),
        });
        lines.event(Event::Session {
            info: Info {
                resumed: false,
                ..info
            },
            sandbox: None,
        });
        lines.event(Event::Queued { place: 1 });
        lines.event(Event::Restoring { tokens: 5 });
        lines.event(Event::Prefill {
            done: 128,
            total: 300,
        });
        lines.event(Event::Reasoning {
            text: "hm\n".into(),
        });
        lines.event(Event::Text {
            text: "\"é\"".into(),
        });
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
            seconds: None,
            exit: None,
            refused: None,
            change: None,
        });
        lines.event(Event::Calling {
            name: "terminal".into(),
            target: Some("make".into()),
            tokens: 12,
            seconds: 0.5,
        });
        lines.event(Event::Running {
            id: "c2".into(),
            name: "terminal".into(),
            seconds: 1.5,
            bytes: 5,
            tail: "made".into(),
        });
        lines.event(Event::ToolResult {
            id: "c2".into(),
            name: "terminal".into(),
            ok: false,
            text: "Not run.".into(),
            seconds: Some(1.5),
            exit: Some(1),
            refused: Some("not run: you said no".into()),
            change: Some(crate::tools::FileDiff {
                file: "a".into(),
                made: true,
                unread: None,
                added: 1,
                removed: 0,
                diff: "+a\n".into(),
            }),
        });
        lines.event(Event::Steered {
            text: "not there".into(),
        });
        lines.event(Event::Receipt(Box::new(samples::receipt())));
        lines.event(Event::Receipt(Box::new(samples::missed())));
        lines.event(Event::Turn(samples::turn()));
        let want = r#"{"type":"session","id":7,"name":"work","resumed":true,"model":"m.gguf","class":"hybrid","context":9310,"open_message":null,"unfinished":false,"runs_tools":true,"folder":"/work","sandbox":"network (seccomp)"}
{"type":"session","id":7,"name":"work","resumed":false,"model":"m.gguf","class":"hybrid","context":9310,"open_message":null,"unfinished":false,"runs_tools":true,"folder":"/work","sandbox":null}
{"type":"queued","place":1}
{"type":"prefill","done":128,"total":300}
{"type":"reasoning","text":"hm\n"}
{"type":"text","text":"\"é\""}
{"type":"tool_call","id":"c1","name":"read","arguments":{"path":"b","all":true}}
{"type":"tool_result","id":"c1","name":"read","ok":false,"text":"no\n"}
{"type":"calling","name":"terminal","target":"make","tokens":12,"seconds":0.5}
{"type":"running","id":"c2","name":"terminal","seconds":1.5,"bytes":5,"tail":"made"}
{"type":"tool_result","id":"c2","name":"terminal","ok":false,"text":"Not run.","seconds":1.5,"exit":1,"refused":"not run: you said no","change":{"file":"a","made":true,"added":1,"removed":0,"diff":"+a\n"}}
{"type":"steered","text":"not there"}
{"type":"receipt","kind":"turn","call":3,"context":9345,"kept":9310,"restored":0,"evaluated":21,"appended":21,"generated":15,"pending":1,"finish":"stop","miss":null,"restored_bytes":0,"saved_bytes":0,"snapshot_bytes":0,"ms":{"restore":0,"prefill":38,"first_token":41,"decode":120,"save":2}}
{"type":"receipt","kind":"turn","call":3,"context":9345,"kept":62,"restored":0,"evaluated":9269,"appended":21,"generated":15,"pending":1,"finish":"stop","miss":{"at":62,"message":1,"reason":"system prompt differs: \"a\" became \"b\""},"restored_bytes":0,"saved_bytes":0,"snapshot_bytes":0,"ms":{"restore":0,"prefill":38,"first_token":41,"decode":120,"save":2}}
{"type":"turn","calls":1,"context":9345,"kept":9310,"restored":0,"evaluated":21,"appended":21,"generated":15,"finish":"stop","seconds":0.2}
"#;
        assert_eq!(bytes.text(), want);
        // Whoever recorded it has the events again.
        for line in want.lines() {
            let event: Event = serde_json::from_str(line).expect(line);
            let written = serde_json::to_value(&event).unwrap();
            assert_eq!(written, serde_json::from_str::<Value>(line).unwrap());
        }
    }

    #[test]
    fn text_of_a_stranger_is_the_same_value_and_no_order_to_a_terminal() {
        let (pipe, bytes, _) = piped(Looks::default());
        let mut lines = JsonLines::new(pipe);
        lines.event(Event::Text {
            text: "\u{1b}]0;a\u{7}\u{9b}2J\u{7f}\u{202e}".into(),
        });
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
        let mut lines = JsonLines::new(pipe);
        lines.event(Event::Text { text: "a".into() });
        assert!(cancel.load(std::sync::atomic::Ordering::SeqCst));
        assert!(lines.out.failed.is_some());
    }
}
