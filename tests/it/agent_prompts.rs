//! Law 7 for an agent: its prompt is built once. A day, a memory, a project file, a locale later
//! its tokens are the same in every process; the next session has what is new.

use npast::agent::{AgentPrompt, AgentSetup, Notes, PromptSurroundings, WhichSession};
use npast::ledger::Token;
use npast::tools::{Effect, MemoryEdit, MemoryFile, Registry, Secrets, Tool, ToolAnswer};

use crate::agent::{Bench, says, tool};
use crate::model::Class;

fn tools() -> Vec<Box<dyn Tool>> {
    vec![tool("echo", Effect::Reads, |_, _| ToolAnswer::good("e"))]
}

/// What a session that starts on `day` would get.
fn built(bench: &Bench, day: &str) -> AgentSetup {
    let prompt = AgentPrompt::build(&PromptSurroundings {
        home: &bench.desk.home,
        secret: &Secrets::default(),
        project: &bench.folder(),
        day,
        tools: &["echo".to_owned()],
        system: None,
    });
    AgentSetup {
        system: prompt.text(),
        preface: prompt.preface(),
        tools: Registry::new(tools()).expect("tools").specs_json(),
        notices: prompt.notices,
    }
}

fn remember(bench: &Bench, text: &str) {
    let edit = MemoryEdit::Add {
        file: MemoryFile::Memory,
        text: text.to_owned(),
    };
    Notes::of(&bench.desk.home, &Secrets::default())
        .edit(&[edit])
        .expect("a memory");
}

fn head(bench: &Bench, session: &str) -> Vec<Token> {
    let stored = bench.desk.stored(session);
    stored.ledger[..stored.session.head].to_vec()
}

/// A turn of a process that starts on `day`.
fn on(bench: &Bench, day: &str, session: &str) -> (Vec<Token>, Vec<String>) {
    let engine = bench.desk.engine().expect("an engine");
    let new = bench.new_session(built(bench, day));
    let mut talk = engine
        .conversation(WhichSession::Named(session.to_owned()), new)
        .expect("a session");
    let mut script = npast::chat::ReplyScript::read(says("ok").as_bytes()).expect("a script");
    let options = npast::agent::TurnOptions::default();
    let said = crate::talk::turn(
        &mut talk,
        npast::agent::Input::Text("Hello.".into()),
        &options,
        Some(&mut script),
        &|_| false,
    )
    .expect("a turn");
    let r = said.receipt();
    // A new session finds what its prompt has in common with another one stored.
    assert!(
        r.evaluated == r.appended || r.call == 1 && r.evaluated < r.appended,
        "{r:?}"
    );
    assert_eq!(r.miss, None);
    talk.close().expect("a close");
    (head(bench, session), said.notices)
}

#[test]
fn a_minute_a_day_and_a_memory_later_the_prompt_has_the_same_tokens_and_a_new_session_the_new_ones()
{
    for class in Class::ALL {
        let bench = Bench::thinker(class);
        std::fs::create_dir_all(&bench.desk.home).expect("a data folder");
        std::fs::write(bench.project.path().join("AGENTS.md"), "Run `make`.\n").expect("a file");
        remember(&bench, "The port is 8080.");
        let (first, _) = on(&bench, "2026-11-23", "work");
        // A minute later nothing of what it is built from has changed; a day later all of it.
        assert_eq!(on(&bench, "2026-11-23", "work").0, first, "{class:?}");
        remember(&bench, "The port is 9090.");
        std::fs::write(bench.project.path().join("AGENTS.md"), "Run `ninja`.\n").expect("a file");
        assert_eq!(on(&bench, "2026-11-24", "work").0, first, "{class:?}");
        let system = bench
            .desk
            .stored("work")
            .session
            .preface
            .expect("a preface");
        assert!(
            system.contains("8080") && !system.contains("9090"),
            "{system}"
        );
        assert!(
            system.contains("Date at the start: 2026-11-23") && system.contains("make"),
            "{system}"
        );

        let (next, _) = on(&bench, "2026-11-24", "next");
        assert_ne!(next, first);
        let system = bench
            .desk
            .stored("next")
            .session
            .preface
            .expect("a preface");
        assert!(
            system.contains("9090") && system.contains("2026-11-24") && system.contains("ninja"),
            "{system}"
        );
    }
}

#[test]
fn what_is_wrong_with_memory_and_project_is_said_when_a_session_starts_and_it_is_usable() {
    let bench = Bench::thinker(Class::Dense);
    std::fs::create_dir_all(&bench.desk.home).expect("a data folder");
    std::fs::write(bench.desk.home.join("MEMORY.md"), b"- bro\xffken").expect("a file");
    std::fs::write(
        bench.project.path().join("AGENTS.md"),
        "line\n".repeat(200_000),
    )
    .expect("a file");
    let (_, notices) = on(&bench, "2026-11-23", "work");
    assert!(
        notices.iter().any(|n| n.contains("MEMORY.md is not UTF-8")),
        "{notices:?}"
    );
    assert!(
        notices
            .iter()
            .any(|n| n.contains("AGENTS.md has 1000000 bytes")),
        "{notices:?}"
    );
    let (_, notices) = on(&bench, "2026-11-23", "work");
    assert_eq!(notices, Vec::<String>::new(), "said once, at the start");
    // The project's folder vanishes: the session says so and goes on.
    std::fs::remove_dir_all(bench.project.path()).expect("gone");
    let engine = bench.desk.engine().expect("an engine");
    let new = npast::agent::NewSession {
        setup: None,
        ..bench.desk.new_session()
    };
    let mut talk = engine
        .conversation(WhichSession::Named("work".into()), new)
        .expect("a session");
    let mut script = npast::chat::ReplyScript::read(says("ok").as_bytes()).expect("a script");
    let options = npast::agent::TurnOptions::default();
    let said = crate::talk::turn(
        &mut talk,
        npast::agent::Input::Text("On.".into()),
        &options,
        Some(&mut script),
        &|_| false,
    );
    let notices = said.expect("a turn").notices;
    assert!(
        notices
            .iter()
            .any(|n| n.contains("the project folder") && n.contains("is gone")),
        "{notices:?}"
    );
}
