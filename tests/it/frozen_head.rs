//! Law 7: the head becomes tokens once and stays. No clock, time zone or folder of the moment is in
//! it, and sessions with the same head share its KV.

use std::path::Path;
use std::process::Command;

use npast::agent::Input;
use npast::chat::Message;
use npast::chat::template::TemplateFrame;
use npast::chat::tokenize::Tokenizer;
use npast::ledger::{Digest, Token, common_prefix};
use npast::session::{Db, Session, SessionRecord};

use crate::gallery::{self, Sample};
use crate::model::Class;
use crate::talk::{Desk, Said, greedy};
use crate::templates::tools;

/// Noon on the tenth of March 2021, UTC.
const LONG_AGO: i64 = 1_615_377_600_000;

fn say(desk: &Desk, session: &str, words: &str) -> Said {
    let reply = r#"{"content": "Yes."}"#;
    let input = Input::Text(words.to_owned());
    desk.turn(session, input, &greedy(50), Some(reply))
        .unwrap_or_else(|e| panic!("{session}: {e}"))
}

fn desk(sample: &Sample, class: Class) -> Desk {
    let mut desk = Desk::with_model(&sample.model(class));
    desk.system = Some("You are brief, and you know what day it is.".to_owned());
    desk.tools = Some(tools());
    desk
}

fn head(desk: &Desk, session: &str) -> Vec<Token> {
    let stored = desk.stored(session);
    stored.ledger[..stored.session.head].to_vec()
}

/// The head as it is rendered on a day.
fn head_at(sample: &Sample, like: &Session, started_ms: i64) -> Vec<Token> {
    let (template, vocab) = sample.examined();
    let frame = TemplateFrame {
        system: like.system.clone(),
        tools: like.tools.clone(),
        thinking: true,
        started_ms,
        ..TemplateFrame::default()
    };
    let opening = |words: &str| {
        let opening = template.opening(&frame, &[Message::user(words)]);
        let pieces = opening.expect("an opening").pieces;
        gallery::tokens(sample, pieces)
    };
    let (one, other) = (opening("One."), opening("Another one?"));
    let common = &one[..common_prefix(&one, &other)];
    let tokenizer = Tokenizer::new(vocab, &sample.source).expect("a tokenizer");
    let end = tokenizer.last_control(common);
    common[..end.map_or(0, |i| i + 1)].to_vec()
}

/// A session that was started long ago and not used since.
fn start_long_ago(desk: &Desk, sample: &Sample, like: &Session, name: &str) -> Vec<Token> {
    let head = head_at(sample, like, LONG_AGO);
    let db = Db::open(&desk.home.join("npast.db")).expect("npast.db");
    db.create(&SessionRecord {
        name,
        folder: &like.folder,
        model: &like.model,
        class: &like.class,
        vocab: like.vocab,
        template: like.template,
        fingerprint: Digest(like.fingerprint.0),
        system: like.system.as_deref(),
        tools: like.tools.as_ref(),
        preface: None,
        head: &head,
        common: None,
        started_ms: LONG_AGO,
        seed: 7,
        policy: &like.policy,
        parent: None,
        runs_tools: false,
        thinking: true,
        shift: false,
    })
    .expect("a session");
    head
}

#[test]
fn sessions_of_one_head_share_its_kv_on_every_class() {
    for class in Class::ALL {
        let desk = desk(&gallery::own()[0], class);
        say(&desk, "one", "Hello there.");
        let said = say(&desk, "two", "Quite another question!");
        let shared = head(&desk, "one");
        assert!(shared.len() > 100, "{class:?}: {}", shared.len());
        assert_eq!(head(&desk, "two"), shared, "{class:?}");
        let r = said.receipt();
        assert!(r.restored >= shared.len(), "{class:?}: {r:?}");
        assert_eq!(r.appended, r.prompt(), "{class:?}");
        assert_eq!(r.miss, None, "{class:?}");
    }
}

#[test]
fn a_template_that_reads_the_clock_gets_the_start_of_its_session_on_every_class() {
    for (name, date) in [
        ("meta-llama-Llama-3.2-3B-Instruct", "10 Mar 2021"),
        ("openai-gpt-oss-120b", "2021-03-10"),
    ] {
        let Some(sample) = gallery::shared(name) else {
            continue;
        };
        for class in Class::ALL {
            let what = format!("{name} {class:?}");
            let (_, vocab) = sample.examined();
            let desk = desk(&sample, class);
            say(&desk, "today", "Hello there.");
            let like = desk.stored("today").session;
            assert_eq!(
                head_at(&sample, &like, like.started_ms),
                head(&desk, "today")
            );

            let old = start_long_ago(&desk, &sample, &like, "old");
            let text = String::from_utf8_lossy(&vocab.bytes(&old, true)).into_owned();
            assert!(text.contains(date), "{what}: {text}");
            assert_ne!(old, head(&desk, "today"), "{what}");
            // Its first turn, and a turn of a later process, keep it.
            say(&desk, "old", "Hello there.");
            let before = desk.stored("old").ledger;
            let said = say(&desk, "old", "And now?");
            let after = desk.stored("old").ledger;
            assert!(after.starts_with(&old), "{what}");
            assert!(after.starts_with(&before[..before.len() - 1]), "{what}");
            let r = said.receipt();
            assert_eq!((r.evaluated, &r.miss), (r.appended, &None), "{what}");

            // Another session of that day finds the head stored.
            start_long_ago(&desk, &sample, &like, "older");
            let said = say(&desk, "older", "Something else entirely.");
            let r = said.receipt();
            assert!(r.restored >= old.len(), "{what}: {r:?}");
            assert_eq!(r.miss, None, "{what}");
        }
    }
}

#[test]
fn neither_the_time_zone_nor_the_folder_of_a_process_is_in_the_head() {
    let samples = gallery::own().into_iter();
    let clocks = ["meta-llama-Llama-3.2-3B-Instruct", "openai-gpt-oss-120b"];
    for sample in samples.chain(clocks.iter().filter_map(|n| gallery::shared(n))) {
        let desk = desk(&sample, Class::Dense);
        say(&desk, "here", "Hello there.");
        let like = desk.stored("here").session;
        // Whatever the hour, the dates of these two zones differ.
        for (i, zone) in ["EAST-14", "WEST+11"].iter().enumerate() {
            let name = format!("there-{i}");
            elsewhere(&desk, zone, &name);
            let started = desk.stored(&name).session.started_ms;
            let expected = head_at(&sample, &like, started);
            assert_eq!(head(&desk, &name), expected, "{} in {zone}", sample.name);
            // Here its head is the same still: the next turn goes on with it.
            let r = say(&desk, &name, "And now?").receipt().clone();
            // Less is evaluated where the other session said the same.
            assert!(r.evaluated <= r.appended, "{}: {r:?}", sample.name);
            assert_eq!(r.miss, None, "{}", sample.name);
        }
    }
}

/// One turn in another process, in another time zone and folder.
fn elsewhere(desk: &Desk, zone: &str, session: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let status = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "frozen_head::a_turn_elsewhere", "--nocapture"])
        .current_dir(folder.path())
        .env("TZ", zone)
        .env("NPAST_TEST_HOME", &desk.home)
        .env("NPAST_TEST_MODEL", &desk.model)
        .env("NPAST_TEST_SESSION", session)
        .output()
        .expect("a process");
    assert!(status.status.success(), "{zone}: {status:?}");
}

/// What [`elsewhere`] runs; nothing without its variables.
#[test]
fn a_turn_elsewhere() {
    let var = |name: &str| std::env::var(name).ok();
    let (Some(home), Some(model), Some(session)) = (
        var("NPAST_TEST_HOME"),
        var("NPAST_TEST_MODEL"),
        var("NPAST_TEST_SESSION"),
    ) else {
        return;
    };
    let mut desk = Desk::with_model(Path::new(&model));
    desk.home = home.into();
    desk.system = Some("You are brief, and you know what day it is.".to_owned());
    desk.tools = Some(tools());
    say(&desk, &session, "Hello there.");
}
