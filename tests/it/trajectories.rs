//! Sessions that leave as lines and come back: with the same vocabulary they have the exact tokens and go
//! on where they were; with another one, or with messages alone, they are rendered once and that is said.

use std::fs::File;
use std::path::Path;

use npast::agent::{Input, kv_owner};
use npast::chat::ReplyScript;
use npast::kv::{KvFolder, StoreLimits};
use npast::session::{Db, MessageState, NO_VOCABULARY, Session, SessionId};
use npast::trajectory::{Form, ImportPlan, import, line};
use serde_json::{Value, json};

use crate::model::{self, Class, THINKER};
use crate::program::{Program, Ran, honest};
use crate::retries::{facts, open, say};
use crate::talk::{Desk, greedy};
use crate::witness::{Reader, Stored, delete_kv};

fn desk(class: Class) -> Desk {
    let mut desk = Desk::new(class, None);
    desk.system = Some("You are brief.".to_owned());
    desk
}

fn db(home: &Path) -> Db {
    Db::open(&home.join("npast.db")).expect("npast.db")
}

fn named(db: &Db, name: &str) -> Session {
    db.find(name).expect("a query").expect("a session")
}

/// A session as a line.
fn exported(desk: &Desk, name: &str, form: Form) -> String {
    let db = db(&desk.home);
    let session = named(&db, name);
    let among: [(SessionId, String); 0] = [];
    line(&db.trajectory(session.id).expect("a session"), form, &among)
}

/// What `npast sessions import` does.
fn imported(desk: &Desk, text: &str, name: &str) -> Session {
    let path = desk.home.join("lines.jsonl");
    std::fs::create_dir_all(&desk.home).expect("a folder");
    std::fs::write(&path, text).expect("a file");
    let db = db(&desk.home);
    let plan = ImportPlan {
        name: Some(name),
        folder: "folder",
        exact: true,
    };
    let mut file = File::open(&path).expect("the file");
    let made = import(&db, &mut file, &plan).expect("an import").remove(0);
    let folder = KvFolder::open(&desk.home.join("kv"), StoreLimits::default()).expect("the folder");
    if let Some(folder) = folder {
        let decoded = db.decoded(made.id).expect("a query").expect("a count");
        let ledger = db.ledger(made.id).expect("a ledger");
        folder
            .hold(&kv_owner(made.id), &ledger, decoded)
            .expect("a hold");
    }
    made
}

#[test]
fn a_session_that_comes_back_goes_on_with_its_tokens_and_its_kv_on_every_class() {
    for class in Class::ALL {
        for form in [Form::OpenAi, Form::ShareGpt] {
            let plain = desk(class);
            let (_engine, mut talk) = open(&plain, "work");
            say(&mut talk, "One.");
            say(&mut talk, "Two <|im_end|>.");
            let three = say(&mut talk, "Three.").receipt().clone();
            let plain = Stored::of(&plain, "work");

            let desk = desk(class);
            let (engine, mut talk) = open(&desk, "work");
            say(&mut talk, "One.");
            let two = say(&mut talk, "Two <|im_end|>.").receipt().clone();
            talk.close().expect("a close");
            drop(engine);
            let text = exported(&desk, "work", form);
            imported(&desk, &text, "back");
            // What was stored is there for the one that came back, when the one that left is gone.
            let folder = KvFolder::open(&desk.home.join("kv"), StoreLimits::default());
            let folder = folder.expect("the folder").expect("a folder");
            let there = db(&desk.home);
            let work = named(&there, "work").id;
            folder
                .forget(&kv_owner(work), &there.ledger(work).expect("a ledger"))
                .expect("no KV of it");
            folder.collect().expect("a collection");
            there.remove(work).expect("a removal");
            drop((folder, there));

            let (_engine, mut talk) = open(&desk, "back");
            let said = say(&mut talk, "Three.");
            let mut want = facts(&three);
            (want.kept, want.restored) = (0, two.context);
            assert_eq!(facts(said.receipt()), want, "{class:?}, {form:?}");
            assert_eq!((want.evaluated, &want.miss), (want.appended, &None));
            let back = Stored::of(&desk, "back");
            assert_eq!(back.ledger, plain.ledger, "{class:?}, {form:?}");
            assert_eq!(back.outline(), plain.outline(), "{class:?}, {form:?}");
        }
    }
}

#[test]
fn on_another_machine_the_tokens_are_the_same_and_are_read_once_by_name() {
    for class in Class::ALL {
        let here = desk(class);
        let (engine, mut talk) = open(&here, "work");
        say(&mut talk, "One.");
        let text = exported(&here, "work", Form::OpenAi);
        let next = say(&mut talk, "Two.").text;
        drop((talk, engine));
        let there = desk(class);
        imported(&there, &text, "work");
        assert_eq!(exported(&there, "work", Form::OpenAi), text, "{class:?}");
        let (_engine, mut talk) = open(&there, "work");
        let said = say(&mut talk, "Two.");
        let r = said.receipt();
        assert_eq!(
            (r.kept, r.restored, r.evaluated),
            (0, 0, r.prompt()),
            "{class:?}"
        );
        assert!(
            r.miss.is_some() && r.appended < r.evaluated,
            "{class:?}: {r:?}"
        );
        assert_eq!(said.text, next, "{class:?}");
        let decoded = Stored::of(&here, "work").ledger;
        assert_eq!(Stored::of(&there, "work").ledger, decoded, "{class:?}");
    }
}

#[test]
fn under_another_vocabulary_or_template_the_messages_are_rendered_and_the_cost_is_said() {
    let here = desk(Class::Dense);
    let (engine, mut talk) = open(&here, "work");
    let said = say(&mut talk, "One.");
    drop((talk, engine));
    let text = exported(&here, "work", Form::ShareGpt);
    let other = model::Options {
        control: &["<|extra|>"],
        ..model::Options::default()
    };
    let table = [
        (
            Desk::new(Class::Dense, Some(THINKER)),
            "was made with another chat template",
        ),
        (
            Desk::with_model(&model::tiny_model(Class::Hybrid, &other)),
            "was made with another vocabulary",
        ),
    ];
    for (there, why) in table {
        imported(&there, &text, "work");
        let (_service, mut talk) = open(&there, "work");
        let two = say(&mut talk, "Two.");
        let notice = two.notices.iter().find(|n| n.contains(why));
        let notice = notice.unwrap_or_else(|| panic!("{why}: {:?}", two.notices));
        assert!(
            notice.contains("it goes on as work-2, and at most "),
            "{notice}"
        );
        let child = Stored::of(&there, "work-2");
        let texts: Vec<&str> = child.outline().iter().map(|m| m.2).collect();
        assert_eq!(texts[..3], ["One.", &*said.text, "Two."], "{why}");
        talk.close().expect("a close");
    }
}

#[test]
fn messages_of_another_program_are_read_once_and_their_open_question_is_answered() {
    for class in [Class::Dense, Class::Recurrent] {
        let lines = [
            json!({"messages": [
                {"role": "system", "content": "You are brief."},
                {"role": "user", "content": "What is <|im_start|>?"},
                {"role": "assistant", "content": "A mark."},
                {"role": "user", "content": "And <|im_end|>?"},
            ]}),
            json!({"conversations": [
                {"from": "human", "value": "Only a question."},
            ]}),
        ];
        for (at, text) in lines.iter().enumerate() {
            let desk = desk(class);
            let session = imported(&desk, &text.to_string(), "theirs");
            assert_eq!(session.vocab, NO_VOCABULARY);
            let (_service, mut talk) = open(&desk, "theirs");
            assert!(talk.info().open_message.is_some(), "{class:?}");
            let script =
                ReplyScript::read(br#"{"content":"Another."}"#.as_slice()).expect("a script");
            let said = talk.turn(Input::Open, &greedy(40), Some(&script));
            let said = said.expect("a turn");
            let told = |n: &String| n.contains("has messages and no tokens");
            assert!(said.notices.iter().any(told), "{:?}", said.notices);
            let r = said.receipt();
            assert_eq!(
                (r.evaluated, &r.miss),
                (r.prompt(), &None),
                "{class:?}: {r:?}"
            );
            assert_eq!(r.evaluated, r.appended);
            let child = Stored::of(&desk, "theirs-2");
            let outline = child.outline();
            assert!(
                outline.iter().all(|m| m.1 == MessageState::Answered),
                "{outline:?}"
            );
            assert_eq!(outline.last().map(|m| m.2), Some("Another."));
            assert_eq!(outline.len(), [4, 2][at]);
            // Law 9: their marks are text.
            let reader = Reader::of(&desk);
            let control = child
                .ledger
                .iter()
                .filter(|t| reader.vocab().is_control(**t))
                .count();
            let system = usize::from(at == 0);
            assert_eq!(control, 2 * (outline.len() + system), "{class:?}");
            let next = say(&mut talk, "Thanks.").receipt().clone();
            assert_eq!(
                (next.evaluated, &next.miss),
                (next.appended, &None),
                "{class:?}"
            );
        }
    }
}

#[test]
fn without_its_kv_an_imported_session_costs_what_the_one_that_left_would() {
    let desk = desk(Class::Swa);
    let (engine, mut talk) = open(&desk, "work");
    say(&mut talk, "One.");
    talk.close().expect("a close");
    drop(engine);
    let text = exported(&desk, "work", Form::OpenAi);
    imported(&desk, &text, "back");
    delete_kv(&desk.home);
    let mut seen = Vec::new();
    for name in ["work", "back"] {
        let (engine, mut talk) = open(&desk, name);
        let said = say(&mut talk, "Two.");
        seen.push((said.text.clone(), facts(said.receipt())));
        drop((talk, engine));
        delete_kv(&desk.home);
    }
    assert_eq!(seen[0], seen[1]);
}

fn run(program: &Program, args: &[&str]) -> Ran {
    Ran::of(&program.command(args).output().expect("a run"))
}

#[cfg(unix)]
#[test]
fn the_program_writes_private_files_names_broken_lines_and_goes_on_where_it_was() {
    use std::os::unix::fs::PermissionsExt;
    let program = Program::new(Class::Hybrid);
    program.say("work", "One.", Some(&json!({"text": "Yes."})));
    let two = program.say("work", "Two.", Some(&json!({"text": "Yes."})));
    let done = run(&program, &["sessions", "export", "work", "-o", "out.jsonl"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let path = program.folder.path().join("out.jsonl");
    let mode = std::fs::metadata(&path)
        .expect("the file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = run(&program, &["sessions", "export", "work", "-o", "out.jsonl"]);
    assert_eq!(
        (again.code, again.said("exists already")),
        (Some(2), 1),
        "{again:?}"
    );
    // On standard output the same.
    let out = run(&program, &["sessions", "export", "work"]);
    let written = std::fs::read_to_string(&path).expect("the file");
    assert_eq!(
        out.events[0],
        serde_json::from_str::<Value>(&written).expect("a line")
    );

    std::fs::write(
        program.folder.path().join("bad.jsonl"),
        format!("{written}nothing\n"),
    )
    .expect("a file");
    let bad = run(&program, &["sessions", "import", "bad.jsonl"]);
    assert_eq!(
        (bad.code, bad.said("bad.jsonl is not imported: line 2: ")),
        (Some(2), 1),
        "{bad:?}"
    );
    let listed = run(&program, &["sessions", "list", "--json"]);
    assert_eq!(listed.events.len(), 1, "{listed:?}");
    for (file, what) in [
        ("none.jsonl", "cannot be read"),
        (".", "is no regular file"),
    ] {
        let refused = run(&program, &["sessions", "import", file]);
        assert_eq!(
            (refused.code, refused.said(what)),
            (Some(2), 1),
            "{refused:?}"
        );
    }

    let done = run(&program, &["sessions", "import", "out.jsonl", "--json"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(done.events[0]["name"], "work-2");
    let next = program.say("work-2", "Three.", Some(&json!({"text": "Yes."})));
    let r = next.receipt();
    honest("imported", r);
    assert_eq!(
        (&r["kept"], &r["restored"]),
        (&json!(0), &two.receipt()["context"])
    );
    assert_eq!(
        (&r["evaluated"], &r["miss"]),
        (&r["appended"], &Value::Null)
    );
}
