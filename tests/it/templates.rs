//! Laws 1 and 2 with real chat templates: whatever a template would make of thinking, white space
//! and arguments, each turn in a process of its own evaluates what is new and nothing else.

use npast::agent::{Input, WhichSession};
use npast::chat::battery::RenderMode;
use npast::chat::message::Role;
use npast::chat::template::TemplateFrame;
use npast::chat::{Message, ReplyScript};
use npast::ledger::{Finish, Token, common_prefix};
use npast::llama::Vocab;
use serde_json::{Value, json};

use crate::gallery::{self, Sample};
use crate::model::Class;
use crate::talk::{self, Desk, Said, Stored, greedy};

/// One tool with arguments of several types.
pub fn tools() -> Value {
    json!([{"type": "function", "function": {
        "name": "look",
        "description": "Looks something up.",
        "parameters": {"type": "object", "properties": {
            "z": {"type": "string"},
            "a": {"type": "integer"},
            "nested": {"type": "object", "properties": {"k": {"type": "string"}}},
            "deep": {"type": "boolean"},
        }, "required": ["z"]},
    }}])
}

/// Arguments in an order that no sorting gives.
fn arguments() -> Value {
    json!({"z": "last first", "a": 7, "nested": {"y": "1", "b": [true, "x"]}, "deep": true})
}

/// A call as a model might write it: arguments unsorted, spaces of its own.
pub fn written_call(sample: &Sample) -> Option<String> {
    let json = r#"{"z":"last first",  "a": 7, "nested": {"y":"1","b":[true, "x"]}, "deep":true}"#;
    Some(match sample.name.as_str() {
        "Qwen3.5-4B" => "Now I look.\n</think>\n\n<tool_call>\n<function=look>\n<parameter=z>\nlast first\n</parameter>\n<parameter=a>\n7\n</parameter>\n<parameter=nested>\n{\"y\":\"1\",\"b\":[true, \"x\"]}\n</parameter>\n<parameter=deep>\ntrue\n</parameter>\n</function>\n</tool_call>".to_owned(),
        "google-gemma-4-31B-it" => "<|channel>thought\nNow I look.\n<channel|><|tool_call>call:look{z:<|\"|>last first<|\"|>,a:7,nested:{y:<|\"|>1<|\"|>,b:[true,<|\"|>x<|\"|>]},deep:true}<tool_call|>".to_owned(),
        "openai-gpt-oss-120b" => format!("<|channel|>analysis<|message|>Now I look.<|end|><|start|>assistant<|channel|>commentary to=functions.look <|constrain|>json<|message|>{json}<|call|>"),
        "ByteDance-Seed-OSS" => "<seed:tool_call>\n<function=look>\n<parameter=z>last first</parameter>\n<parameter=a>7</parameter>\n<parameter=nested>{\"y\":\"1\",\"b\":[true, \"x\"]}</parameter>\n<parameter=deep>true</parameter>\n</function>\n</seed:tool_call>".to_owned(),
        "ibm-granite-granite-3.3-2B-Instruct" => format!("<|tool_call|>[{{\"name\": \"look\",  \"arguments\": {json}}}]"),
        "own: chatml" => format!("<tool_call>\n{{\"name\": \"look\",  \"arguments\": {json}}}\n</tool_call>"),
        "own: thinker" => format!("Now I look.\n</think>\n\n<tool_call>\n{{\"name\": \"look\",  \"arguments\": {json}}}\n</tool_call>"),
        "Qwen-Qwen3-0.6B" => format!("<think>\nNow I look.\n</think>\n\n<tool_call>\n{{\"name\": \"look\",  \"arguments\": {json}}}\n</tool_call>"),
        "LFM2-8B-A1B" | "LFM2.5-Instruct" => "<|tool_call_start|>[look(z=\"last first\", a=7, nested={\"y\":\"1\",\"b\":[True, \"x\"]}, deep=True)]<|tool_call_end|>".to_owned(),
        _ => return None,
    })
}

/// The conversation's inputs and the model's prepared replies.
fn turns(sample: &Sample) -> Vec<(Input, Value)> {
    let call = match written_call(sample) {
        Some(text) => json!({ "text": text }),
        None => json!({"content": "", "tool_calls": [{"name": "look", "arguments": arguments()}]}),
    };
    vec![
        (
            Input::Text("Hello there.".to_owned()),
            json!({"reasoning": "A greeting.", "content": "Good day!"}),
        ),
        (Input::Text("Look it up, please.\n\n\n".to_owned()), call),
        (
            Input::Messages(vec![Message::tool_result(
                "",
                "look",
                "{\"found\": [1, 2]}\n",
            )]),
            json!({"reasoning": "Two of them.", "content": "There are two."}),
        ),
        (
            Input::Text("  Tell me more".to_owned()),
            json!({"content": "It all began with a", "finish": "length"}),
        ),
        (
            Input::Text("Go on.".to_owned()),
            json!({"reasoning": "More.", "content": "The end.\n"}),
        ),
    ]
}

/// Everything of a receipt but its times and the bytes: kept + restored, evaluated, appended,
/// generated, context, pending, finish, miss.
type Row = (
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    Finish,
    Option<String>,
);

fn row(said: &Said) -> Row {
    let r = said.receipt();
    (
        r.kept + r.restored,
        r.evaluated,
        r.appended,
        r.generated,
        r.context,
        r.pending,
        r.finish,
        r.miss.as_ref().map(|m| m.reason.clone()),
    )
}

/// Law 1: what was decoded stays. Only a pending end of turn may take another form.
pub fn assert_extends(before: &[Token], after: &[Token], vocab: &Vocab, what: &str) {
    let same = common_prefix(before, after);
    let exchanged = same + 1 == before.len() && vocab.is_end(before[same]);
    assert!(
        same == before.len() || exchanged,
        "{what}: token {same} of {} was {:?} and is {:?}",
        before.len(),
        vocab.text(before[same]),
        after.get(same).map(|t| vocab.text(*t)),
    );
}

/// The whole conversation, a process for each turn; gives what is stored at the end.
fn tell(sample: &Sample, class: Class) -> (Desk, Stored) {
    let (template, vocab) = sample.examined();
    let mut desk = Desk::with_model(&sample.model(class));
    desk.system = Some("You are brief.".to_owned());
    desk.tools = Some(tools());
    let what = format!("{} {class:?}", sample.name);
    assert_eq!(template.battery().mode, RenderMode::Local, "{what}");

    let (mut rows, mut expected) = (Vec::<Row>::new(), Vec::<Row>::new());
    let (mut context, mut ledger) = (0, Vec::new());
    let finishes = [
        Finish::Stop,
        Finish::ToolCalls,
        Finish::Stop,
        Finish::Length,
        Finish::Stop,
    ];
    for ((input, reply), finish) in turns(sample).into_iter().zip(finishes) {
        let said = desk
            .turn("work", input, &greedy(500), Some(&reply.to_string()))
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        let stored = desk.stored("work");
        assert_extends(&ledger, &stored.ledger, &vocab, &what);
        rows.push(row(&said));
        // All of the prompt that had not been decoded before is new, and the reply is what the
        // ledger has after it.
        let reply = stored
            .messages
            .last()
            .and_then(|m| m.span)
            .expect("a reply");
        let (prompt, generated) = (reply.start, reply.end - reply.start);
        let new = prompt - context;
        let held = prompt + generated - 1;
        expected.push((context, new, new, generated, held, 1, finish, None));
        context = held;
        ledger = stored.ledger;
    }
    assert_eq!(rows, expected, "{what}");
    let stored = desk.stored("work");
    (desk, stored)
}

/// Every history the conversation had after a reply is one that the template renders, with each
/// user's text in it.
fn assert_renders(sample: &Sample, stored: &Stored) {
    let (template, _) = sample.examined();
    let frame = TemplateFrame {
        system: stored.session.system.clone(),
        tools: stored.session.tools.clone(),
        thinking: true,
        started_ms: stored.session.started_ms,
        ..TemplateFrame::default()
    };
    let messages = stored.canonical();
    for end in 1..=messages.len() {
        let pieces = template
            .full(&frame, &messages[..end])
            .unwrap_or_else(|e| panic!("{}: {end} messages: {e}", sample.name));
        let text: String = pieces.iter().map(|p| p.text()).collect();
        for message in messages[..end].iter().filter(|m| m.role == Role::User) {
            assert!(
                text.contains(message.text.trim()),
                "{}: {text}",
                sample.name
            );
        }
    }
}

/// Role, text, reasoning, and calls with arguments as they were written.
type Said4 = (&'static str, String, Option<String>, Vec<(String, String)>);

fn assert_messages(sample: &Sample, stored: &Stored, thinks: bool) {
    let seen: Vec<Said4> = stored
        .canonical()
        .into_iter()
        .map(|m| {
            let calls = m.calls.iter();
            let calls = calls.map(|c| (c.name.clone(), c.arguments.to_string()));
            let (text, reasoning) = match m.role {
                // White space around a reply's parts is the parser's to keep or drop.
                Role::Assistant => (
                    m.text.trim().to_owned(),
                    m.reasoning.map(|r| r.trim().to_owned()),
                ),
                _ => (m.text, m.reasoning),
            };
            (m.role.as_str(), text, reasoning, calls.collect())
        })
        .collect();
    let thought = |text: &str| thinks.then(|| text.to_owned());
    let plain = |role, text: &str| (role, text.to_owned(), None, Vec::new());
    let reply = |text: &str, reasoning: &str| {
        ("assistant", text.to_owned(), thought(reasoning), Vec::new())
    };
    let call = ("look".to_owned(), arguments().to_string());
    let expected = vec![
        plain("user", "Hello there."),
        reply("Good day!", "A greeting."),
        plain("user", "Look it up, please.\n\n\n"),
        (
            "assistant",
            String::new(),
            thought("Now I look."),
            vec![call],
        ),
        plain("tool", "{\"found\": [1, 2]}\n"),
        reply("There are two.", "Two of them."),
        plain("user", "  Tell me more"),
        plain("assistant", "It all began with a"),
        plain("user", "Go on."),
        reply("The end.", "More."),
    ];
    assert_eq!(seen, expected, "{}", sample.name);
}

fn story(sample: &Sample, thinks: bool) {
    for class in Class::ALL {
        let (_desk, stored) = tell(sample, class);
        assert_messages(sample, &stored, thinks);
        assert_renders(sample, &stored);
    }
}

#[test]
fn our_own_plain_template_reads_nothing_twice_on_every_class() {
    story(&gallery::own()[0], false);
}

#[test]
fn our_own_thinking_template_reads_nothing_twice_on_every_class() {
    story(&gallery::own()[1], true);
}

#[test]
fn qwen35_reads_nothing_twice_on_every_class() {
    if let Some(sample) = gallery::shared("Qwen3.5-4B") {
        story(&sample, true);
    }
}

#[test]
fn qwen3_reads_nothing_twice_on_every_class() {
    if let Some(sample) = gallery::shared("Qwen-Qwen3-0.6B") {
        story(&sample, true);
    }
}

#[test]
fn gemma4_reads_nothing_twice_on_every_class() {
    if let Some(sample) = gallery::shared("google-gemma-4-31B-it") {
        story(&sample, true);
    }
}

#[test]
fn gpt_oss_reads_nothing_twice_on_every_class() {
    if let Some(sample) = gallery::shared("openai-gpt-oss-120b") {
        story(&sample, true);
    }
}

/// Templates whose calls llama.cpp's parser does not read back as this template (or, where nothing
/// is rendered, its model) writes them. Their calls stay text.
const UNREAD_CALLS: &[&str] = &[
    // The reply's first token would be its end of turn.
    "GigaChat3-10B-A1.8B",
    // Histories begin a reply with an end of reasoning that was never opened.
    "MiniMax-M3",
    // No call is ever rendered, so no form of one is known.
    "ibm-granite-granite-3.3-2B-Instruct",
    // The plain form, after reasoning that the generation prompt opened.
    "llama-cpp-rwkv-world",
    // A line break stands before the call.
    "unsloth-Apriel-1.5",
];

/// Templates that write no text of a reply that has reasoning.
const SPEECHLESS: &[&str] = &["unsloth-mistral-Devstral-Small-2507"];

/// A conversation for any template, in one process: what it could not do, in sentences.
fn append_only(sample: &Sample) -> Vec<String> {
    let (template, vocab) = sample.examined();
    if let RenderMode::Fallback { reason } = &template.battery().mode {
        return vec![format!("fallback: {reason}")];
    }
    let mut desk = Desk::with_model(&sample.model(Class::Dense));
    desk.system = Some("You are brief.".to_owned());
    desk.tools = Some(tools());
    let engine = desk.engine().expect("an engine");
    let open = WhichSession::Named("work".to_owned());
    let mut talk = match engine.conversation(open, desk.new_session()) {
        Ok(talk) => talk,
        Err(error) => return vec![format!("start: {error}")],
    };
    let thinks = !template.battery().thinking.start.is_empty()
        && !SPEECHLESS.contains(&sample.name.as_str());
    let (mut ledger, mut context, mut called) = (Vec::new(), 0, false);
    for (i, (input, mut reply)) in turns(sample).into_iter().enumerate() {
        if matches!(input, Input::Messages(_)) && !called {
            continue;
        }
        if !thinks && let Some(reply) = reply.as_object_mut() {
            reply.remove("reasoning");
        }
        let mut script = ReplyScript::read(reply.to_string().as_bytes()).expect("a script");
        let said = talk::turn(&mut talk, input, &greedy(800), Some(&mut script), &|_| {
            false
        });
        let stored = desk.stored("work");
        let what = format!("{} turn {i}", sample.name);
        assert_extends(&ledger, &stored.ledger, &vocab, &what);
        ledger = stored.ledger;
        let said = match said {
            Ok(said) => said,
            Err(error) => return vec![format!("turn {i}: {error}")],
        };
        called = !said.calls.is_empty();
        if i == 1 {
            assert!(
                called || UNREAD_CALLS.contains(&sample.name.as_str()),
                "{what}"
            );
        }
        let r = said.receipt();
        assert_eq!((r.evaluated, &r.miss), (r.appended, &None), "{what}");
        assert_eq!(r.kept + r.restored, context, "{what}");
        context = r.context;
    }
    assert_renders(sample, &desk.stored("work"));
    Vec::new()
}

#[test]
fn every_template_of_the_gallery_appends_and_never_rewrites() {
    let mut refused = Vec::new();
    for sample in gallery::own().into_iter().chain(gallery::all_shared()) {
        for sentence in append_only(&sample) {
            refused.push(format!("{}: {sentence}", sample.name));
        }
    }
    assert_eq!(refused, Vec::<String>::new());
}
