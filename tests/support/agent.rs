//! A session with tools on a tiny model: tools made of closures, a gate that a test decides for,
//! and turns whose events are kept.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use npast::agent::{
    AgentError, AgentSetup, CallGate, Conversation, Engine, Event, GatedCall, Input, NewSession,
    Receipt, Steering, Toolset, TurnEnd, TurnOptions, TurnSum, WhichSession,
};
use npast::approve::CallDenial;
use npast::chat::ReplyScript;
use npast::tools::{CallContext, Effect, Registry, Secrets, Spec, Subject, Tool, ToolAnswer};
use serde_json::{Value, json};

use crate::model::{self, Class};
use crate::talk::Desk;

type Run = dyn Fn(&Value, &CallContext<'_>) -> ToolAnswer + Send + Sync;

/// A tool whose only parameter, `x`, is a string.
pub struct Made {
    spec: Spec,
    effect: Effect,
    run: Box<Run>,
}

pub fn tool(
    name: &str,
    effect: Effect,
    run: impl Fn(&Value, &CallContext<'_>) -> ToolAnswer + Send + Sync + 'static,
) -> Box<dyn Tool> {
    let parameters = json!({"type": "object", "properties": {"x": {"type": "string"}},
        "required": ["x"], "additionalProperties": false});
    Box::new(Made {
        spec: Spec::new(name, "A tool of the tests.", parameters),
        effect,
        run: Box::new(run),
    })
}

impl Tool for Made {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn effect(&self, _: &Value) -> Effect {
        self.effect
    }

    fn subject(&self, arguments: &Value, _: &std::path::Path) -> Subject {
        Subject::Call(arguments.to_string())
    }

    fn run(&self, arguments: &Value, room: &CallContext<'_>) -> ToolAnswer {
        (self.run)(arguments, room)
    }
}

/// Says no to calls whose tool is named here, and remembers what it was asked.
#[derive(Clone, Default)]
pub struct Door {
    pub closed_to: Vec<String>,
    pub asked: Rc<RefCell<Vec<String>>>,
}

impl CallGate for Door {
    fn pass(&mut self, call: &GatedCall<'_>) -> Result<Subject, CallDenial> {
        let name = &call.tool.spec().name;
        let subject = call.tool.subject(call.arguments, std::path::Path::new("/"));
        self.asked.borrow_mut().push(format!("{name} {subject}"));
        match self.closed_to.contains(name) {
            true => Err(format!("Denied: {name}.").into()),
            false => Ok(subject),
        }
    }
}

/// What a session starts with, for these tools.
pub fn setup(tools: Vec<Box<dyn Tool>>) -> AgentSetup {
    AgentSetup {
        system: "You are brief.".to_owned(),
        preface: None,
        tools: Registry::new(tools).expect("tools").specs_json(),
        notices: Vec::new(),
    }
}

/// A desk with a project folder.
pub struct Bench {
    pub desk: Desk,
    pub project: tempfile::TempDir,
}

impl Bench {
    pub fn new(class: Class, template: &str) -> Bench {
        let mut desk = Desk::new(class, Some(template));
        desk.limit = 16_384;
        Bench {
            desk,
            project: tempfile::tempdir().expect("a folder"),
        }
    }

    pub fn thinker(class: Class) -> Bench {
        Bench::new(class, model::THINKER)
    }

    pub fn folder(&self) -> PathBuf {
        self.project.path().canonicalize().expect("the project")
    }

    pub fn new_session(&self, setup: AgentSetup) -> NewSession {
        NewSession {
            folder: self.folder().to_string_lossy().into_owned(),
            setup: Some(setup),
            ..self.desk.new_session()
        }
    }

    /// Opens the session "work" in a process of its own.
    pub fn open(&self, tools: &dyn Fn() -> Vec<Box<dyn Tool>>) -> At {
        let engine = self.desk.engine().expect("an engine");
        let at = self.enter(&engine, "work", tools).expect("a session");
        At {
            _engine: Some(engine),
            ..at
        }
    }

    /// Opens a session in a process that is there.
    pub fn enter(
        &self,
        engine: &Engine,
        name: &str,
        tools: &dyn Fn() -> Vec<Box<dyn Tool>>,
    ) -> Result<At, AgentError> {
        let new = self.new_session(setup(tools()));
        let talk = engine.conversation(WhichSession::Named(name.to_owned()), new)?;
        let door = Door::default();
        let tools = talk.toolset(tools(), Box::new(door.clone()), Secrets::default())?;
        Ok(At {
            _engine: None,
            talk,
            tools: tools.expect("a session with tools"),
            door,
        })
    }
}

/// A process at work.
pub struct At {
    pub talk: Conversation,
    pub tools: Toolset<'static>,
    pub door: Door,
    /// Its own, if it has one. Last: nobody holds its thread any more, so its end is waited for.
    _engine: Option<Engine>,
}

/// What a turn with tools said, as one list, and what it cost.
#[derive(Default, Debug)]
pub struct Worked {
    /// `call NAME ARGUMENTS`, `ok TEXT` or `bad TEXT`, `text TEXT`, `said TEXT`.
    pub story: Vec<String>,
    pub receipts: Vec<Receipt>,
    pub sums: Vec<TurnSum>,
    pub notices: Vec<String>,
    pub end: Option<TurnEnd>,
}

impl Worked {
    /// Law 2 on every call.
    pub fn honest(&self) -> &Worked {
        for r in &self.receipts {
            assert_eq!((r.evaluated, &r.miss), (r.appended, &None), "{r:?}");
            assert_eq!(r.context, r.prompt() + r.generated - r.pending, "{r:?}");
        }
        self
    }
}

/// A line of a script: calls of tools with `x`.
pub fn calls(list: &[(&str, &str)]) -> String {
    let calls: Vec<Value> = list
        .iter()
        .map(|(name, x)| json!({"name": name, "arguments": {"x": x}}))
        .collect();
    json!({"reasoning": "hm", "content": "", "tool_calls": calls}).to_string()
}

/// ChatML that knows no tools: calls are written in the plain format, one a reply.
pub const TOOLLESS: &str = "{%- for m in messages -%}{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' -}}{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}";

/// A line of a script: an answer.
pub fn says(text: &str) -> String {
    json!({"reasoning": "hm", "content": text}).to_string()
}

/// Something that samples replies in a process.
pub type Asking<'a> = &'a mut dyn FnMut(
    &mut At,
    Option<&mut ReplyScript>,
    &Arc<AtomicBool>,
    &mut dyn FnMut(Event),
) -> Result<TurnEnd, AgentError>;

impl At {
    pub fn work(&mut self, input: Input, lines: &[String]) -> Result<Worked, AgentError> {
        self.work_until(input, lines, &|_| false)
    }

    pub fn say(&mut self, words: &str, lines: &[String]) -> Worked {
        let worked = self.work(Input::Text(words.to_owned()), lines);
        worked.expect("a turn")
    }

    /// `cancel_on` sees each event and says when to press Ctrl-C.
    pub fn work_until(
        &mut self,
        input: Input,
        lines: &[String],
        cancel_on: &dyn Fn(&Event) -> bool,
    ) -> Result<Worked, AgentError> {
        let (worked, end) = self.attempt(input, lines, cancel_on);
        end.map(|end| Worked {
            end: Some(end),
            ..worked
        })
    }

    /// A turn, which may fail; also what was shown until then.
    pub fn attempt(
        &mut self,
        input: Input,
        lines: &[String],
        cancel_on: &dyn Fn(&Event) -> bool,
    ) -> (Worked, Result<TurnEnd, AgentError>) {
        self.tell(lines, cancel_on, &mut |at, script, cancel, on| {
            let tools = Some(&mut at.tools);
            let input = input.clone();
            at.talk
                .work(input, &TurnOptions::default(), tools, script, cancel, on)
        })
    }

    /// Another reply in the place of the last one.
    pub fn retry(&mut self, lines: &[String]) -> Worked {
        self.retry_until(lines, &|_| false)
    }

    pub fn retry_until(&mut self, lines: &[String], cancel_on: &dyn Fn(&Event) -> bool) -> Worked {
        let (worked, end) = self.tried(lines, cancel_on);
        Worked {
            end: Some(end.expect("another reply")),
            ..worked
        }
    }

    /// Another reply, which may fail; also what was shown until then.
    pub fn tried(
        &mut self,
        lines: &[String],
        cancel_on: &dyn Fn(&Event) -> bool,
    ) -> (Worked, Result<TurnEnd, AgentError>) {
        self.tell(lines, cancel_on, &mut |at, script, cancel, on| {
            let tools = Some(&mut at.tools);
            at.talk
                .retry(&TurnOptions::default(), tools, script, cancel, on)
        })
    }

    /// Something that samples replies: what was shown, and how it ended.
    pub fn tell(
        &mut self,
        lines: &[String],
        cancel_on: &dyn Fn(&Event) -> bool,
        ask: Asking<'_>,
    ) -> (Worked, Result<TurnEnd, AgentError>) {
        let cancel = Arc::new(AtomicBool::new(false));
        let mut script = ReplyScript::read(lines.join("\n").as_bytes()).expect("a script");
        let mut worked = Worked::default();
        let flag = cancel.clone();
        let end = ask(self, Some(&mut script), &cancel, &mut |event| {
            if cancel_on(&event) {
                flag.store(true, Ordering::Relaxed);
            }
            match event {
                Event::ToolCall {
                    name, arguments, ..
                } => {
                    worked.story.push(format!("call {name} {arguments}"));
                }
                Event::ToolResult { ok, text, .. } => {
                    let word = if ok { "ok" } else { "bad" };
                    worked.story.push(format!("{word} {text}"));
                }
                Event::Text { text } => match worked.story.last_mut() {
                    Some(last) if last.starts_with("text ") => last.push_str(&text),
                    _ => worked.story.push(format!("text {text}")),
                },
                Event::Steered { text } => worked.story.push(format!("said {text}")),
                Event::Receipt(receipt) => worked.receipts.push(*receipt),
                Event::Turn(sum) => worked.sums.push(sum),
                Event::Notice { text, .. } => worked.notices.push(text),
                _ => {}
            }
        });
        (worked, end)
    }

    pub fn steering(&self) -> Steering {
        self.tools.steering.clone()
    }

    pub fn close(self) {
        self.talk.close().expect("a close");
    }
}
