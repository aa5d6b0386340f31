//! What differs between sessions (memory, the project's own file, folder, day) stands in the first user
//! message before the user's words. So a session in another folder and on another day reads only that and
//! its message: system prompt and tools are restored, whichever of both the template writes first.

use std::path::Path;
use std::sync::Arc;

use npast::agent::{
    AgentPrompt, AgentSetup, Conversation, Engine, Input, NewSession, PromptSurroundings, Receipt,
    WhichSession,
};
use npast::chat::ReplyScript;
use npast::ledger::Token;
use npast::tools::{Effect, Registry, Secrets, Tool, ToolAnswer};

use crate::agent::{Bench, says, tool};
use crate::model::{self, Class};
use crate::talk::{self, Stored};

fn tools() -> Vec<Box<dyn Tool>> {
    vec![tool("echo", Effect::Reads, |_, _| ToolAnswer::good("e"))]
}

/// The template of the other tests, with the tools before the system text.
fn tools_first() -> String {
    let text = "    {%- if messages[0].role == 'system' %}\n        {{- messages[0].content + '\\n\\n' }}\n    {%- endif %}\n";
    assert_eq!(model::THINKER.matches(text).count(), 1);
    let behind = "</tool_call><|im_end|>\\n' }}\n";
    assert_eq!(model::THINKER.matches(behind).count(), 1);
    let system = "</tool_call>\\n' }}\n    {%- if messages[0].role == 'system' %}\n        {{- messages[0].content }}\n    {%- endif %}\n    {{- '<|im_end|>\\n' }}\n";
    model::THINKER.replace(text, "").replace(behind, system)
}

/// What a session that starts in this folder on this day gets.
fn built(bench: &Bench, folder: &Path, day: &str) -> AgentSetup {
    let prompt = AgentPrompt::build(&PromptSurroundings {
        home: &bench.desk.home,
        secret: &Secrets::default(),
        project: folder,
        day,
        tools: &["echo".to_owned()],
        system: Some("Speak plainly."),
    });
    AgentSetup {
        system: prompt.text(),
        preface: prompt.preface(),
        tools: Registry::new(tools()).expect("tools").specs_json(),
        notices: prompt.notices,
    }
}

/// A project with a file of its own.
fn project(words: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let rules: String = (0..20).map(|i| format!("{words} {i}.\n")).collect();
    std::fs::write(folder.path().join("AGENTS.md"), rules).expect("a file");
    folder
}

fn open(
    engine: &Engine,
    bench: &Bench,
    folder: &Path,
    day: &str,
    open: WhichSession,
) -> Conversation {
    let new = NewSession {
        folder: folder.to_string_lossy().into_owned(),
        setup: Some(built(bench, folder, day)),
        ..bench.desk.new_session()
    };
    engine.conversation(open, new).expect("a session")
}

fn named(name: &str) -> WhichSession {
    WhichSession::Named(name.to_owned())
}

fn say(talk: &mut Conversation, words: &str) -> Receipt {
    let mut script = ReplyScript::read(says("Yes, so it is.").as_bytes()).expect("a script");
    let input = Input::Text(words.to_owned());
    let said = talk::turn(talk, input, &talk::greedy(60), Some(&mut script), &|_| {
        false
    });
    said.expect("a turn").receipt().clone()
}

fn text(engine: &Engine, tokens: &[Token]) -> String {
    String::from_utf8_lossy(&engine.vocab().bytes(tokens, true)).into_owned()
}

/// The preface stands once in what the model reads, and in no message that people see.
fn once(what: &str, engine: &Engine, stored: &Stored) {
    let preface = stored.session.preface.as_deref().expect("a preface");
    let all = text(engine, &stored.ledger);
    assert_eq!(all.matches(preface).count(), 1, "{what}: {all}");
    assert_eq!(all.matches("Date at the start").count(), 1, "{what}: {all}");
    for message in stored.canonical() {
        assert!(
            !message.text.contains("Notes of npast"),
            "{what}: {}",
            message.text
        );
    }
}

#[test]
fn a_session_elsewhere_on_another_day_reads_its_own_lines_and_its_message_on_every_class() {
    for (order, template) in [
        ("tools last", model::THINKER.to_owned()),
        ("tools first", tools_first()),
    ] {
        for class in Class::ALL {
            let what = format!("{class:?}, {order}");
            let bench = Bench::new(class, &template);
            let (here, there) = (project("Use make for"), project("Use ninja for"));
            let engine = bench.desk.engine().expect("an engine");
            let mut talk = open(&engine, &bench, here.path(), "2026-11-23", named("one"));
            let r = say(&mut talk, "What is there?");
            assert_eq!(r.evaluated, r.prompt(), "{what}: {r:?}");
            talk.close().expect("a close");
            drop(engine);

            let engine = bench.desk.engine().expect("an engine");
            let mut talk = open(&engine, &bench, there.path(), "2026-11-24", named("two"));
            let words = "And what is here?";
            let r = say(&mut talk, words);
            talk.close().expect("a close");
            let stored = bench.desk.stored("two");
            let common = stored.session.common.expect("a common part");
            let shared = text(&engine, &stored.ledger[..common]);
            for part in ["You are npast", "Speak plainly.", "A tool of the tests."] {
                assert!(shared.contains(part), "{what}: {shared}");
            }
            assert!(!shared.contains("Environment"), "{what}: {shared}");
            let preface = stored.session.preface.as_deref().expect("a preface");
            assert!(
                preface.contains("ninja") && preface.contains("2026-11-24"),
                "{preface}"
            );
            assert!(
                !stored
                    .session
                    .system
                    .as_deref()
                    .expect("a prompt")
                    .contains("ninja")
            );
            let own = format!("{preface}\n\n{words}<|im_end|>\n<|im_start|>assistant\n<think>\n");
            let own = engine.vocab().tokenize(&own, true).expect("tokens").len();
            assert!(r.evaluated <= own + 2, "{what}: {own} of its own, {r:?}");
            assert!(r.kept + r.restored >= common, "{what}: {common}, {r:?}");
            assert_eq!(r.miss, None, "{what}");
            once(&what, &engine, &stored);
            drop(engine);

            // In the same folder on the same day all of the head is there.
            let engine = bench.desk.engine().expect("an engine");
            let mut talk = open(&engine, &bench, there.path(), "2026-11-24", named("three"));
            let r = say(&mut talk, "Hello?");
            talk.close().expect("a close");
            let head = bench.desk.stored("three").session.head;
            assert!(r.kept + r.restored >= head, "{what}: {head}, {r:?}");
            let asked = engine
                .vocab()
                .tokenize("Hello?<|im_end|>\n<|im_start|>assistant\n<think>\n", true);
            assert!(r.evaluated <= asked.expect("tokens").len(), "{what}: {r:?}");
        }
    }
}

#[test]
fn resume_fork_undo_of_the_first_message_and_compression_keep_it_exactly_once_on_every_class() {
    for class in Class::ALL {
        let what = format!("{class:?}");
        let bench = Bench::thinker(class);
        let folder = project("Use make for");
        let engine = bench.desk.engine().expect("an engine");
        let mut talk = open(&engine, &bench, folder.path(), "2026-11-23", named("work"));
        say(&mut talk, "One?");
        talk.close().expect("a close");
        let first = bench.desk.stored("work");
        let head = first.ledger[..first.session.head].to_vec();
        drop(engine);

        // Another day, another file of the project, another process.
        std::fs::write(folder.path().join("AGENTS.md"), "Use ninja.\n").expect("a file");
        let engine = bench.desk.engine().expect("an engine");
        let mut talk = open(
            &engine,
            &bench,
            folder.path(),
            "2026-11-24",
            WhichSession::Last,
        );
        let r = say(&mut talk, "Two?");
        assert_eq!((r.evaluated, &r.miss), (r.appended, &None), "{what}: {r:?}");
        let child = talk.fork(Some("aside"), Some(1)).expect("a fork");
        assert_eq!(
            (&child.preface, child.common, child.head),
            (&first.session.preface, first.session.common, head.len()),
            "{what}"
        );
        talk.close().expect("a close");
        once(&what, &engine, &bench.desk.stored("work"));
        let mut talk = open(&engine, &bench, folder.path(), "2026-11-24", named("aside"));
        // What its message has in common with the other session's is there too.
        let r = say(&mut talk, "Three?");
        assert!(r.evaluated <= r.appended, "{what}: {r:?}");
        assert_eq!(r.miss, None, "{what}");

        // Another first message stands behind the same head.
        talk.undo(2).expect("an undo");
        assert_eq!(talk.mirror().messages.len(), 0, "{what}");
        let r = say(&mut talk, "Another beginning.");
        assert!(r.kept + r.restored >= head.len(), "{what}: {r:?}");
        talk.close().expect("a close");
        let stored = bench.desk.stored("aside");
        assert!(stored.ledger.starts_with(&head), "{what}");
        once(&what, &engine, &stored);

        let mut talk = open(&engine, &bench, folder.path(), "2026-11-24", named("work"));
        for i in 0..12 {
            say(&mut talk, &format!("Fact {i} is {}.", "long ".repeat(40)));
        }
        let line = serde_json::json!({"job": "compress", "content": "Goal: facts."}).to_string();
        let mut script = ReplyScript::read(line.as_bytes()).expect("a script");
        let options = npast::agent::TurnOptions {
            compress: Some(npast::agent::CompressOptions {
                tail: Some(200),
                ..Default::default()
            }),
            ..Default::default()
        };
        let made = talk.compress(
            None,
            &options,
            Some(&mut script),
            &Arc::default(),
            &mut |_| {},
        );
        made.expect("no error").expect("a compression");
        let name = talk.info().name;
        talk.close().expect("a close");
        let stored = bench.desk.stored(&name);
        assert!(name != "work" && stored.ledger.starts_with(&head), "{what}");
        assert_eq!(stored.session.preface, first.session.preface, "{what}");
        once(&what, &engine, &stored);
        drop(engine);

        let engine = bench.desk.engine().expect("an engine");
        let mut talk = open(&engine, &bench, folder.path(), "2026-11-25", named("work"));
        let r = say(&mut talk, "And now?");
        assert!(r.evaluated <= r.appended, "{what}: {r:?}");
        assert_eq!(r.miss, None, "{what}");
        assert_eq!(talk.info().name, name, "{what}");
        talk.close().expect("a close");
        once(&what, &engine, &bench.desk.stored(&name));
    }
}

#[test]
fn idle_time_makes_the_next_beginning_with_its_preface_on_every_class() {
    for class in Class::ALL {
        let what = format!("{class:?}");
        let bench = Bench::thinker(class);
        let folder = project("Use make for");
        let engine = bench.desk.engine().expect("an engine");
        let mut talk = open(&engine, &bench, folder.path(), "2026-11-23", named("work"));
        say(&mut talk, "One?");
        std::fs::write(folder.path().join("AGENTS.md"), "Use ninja.\n").expect("a file");
        let next = built(&bench, folder.path(), "2026-11-24");
        talk.prepare_next(&next, &Arc::default(), &mut |_| {})
            .expect("no error");
        talk.close().expect("a close");
        drop(engine);

        let engine = bench.desk.engine().expect("an engine");
        let mut talk = open(&engine, &bench, folder.path(), "2026-11-24", named("next"));
        let r = say(&mut talk, "Two?");
        talk.close().expect("a close");
        let stored = bench.desk.stored("next");
        assert!(
            stored
                .session
                .preface
                .as_deref()
                .is_some_and(|p| p.contains("ninja"))
        );
        assert_eq!(r.kept + r.restored, stored.session.head, "{what}: {r:?}");
        assert_eq!(r.miss, None, "{what}");
    }
}
