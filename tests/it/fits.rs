//! A session is not bound to the context that it was started with: its states are found whatever the
//! next start chooses, or is told.

use serde_json::{Value, json};

use crate::model::Class;
use crate::program::{Program, n};

/// A turn with these flags: restored, evaluated and appended tokens, and what was said beside.
fn turn(program: &mut Program, flags: &[&str]) -> (usize, usize, usize, String) {
    let always = ["--ubatch", "64", "--threads", "1"];
    program.flags = always
        .iter()
        .chain(flags)
        .map(|f| (*f).to_owned())
        .collect();
    let reply = json!({"content": "Good day."});
    let ran = program.say("work", "Hello there", Some(&reply));
    let receipt: &Value = ran.receipt();
    (
        n(receipt, "restored"),
        n(receipt, "evaluated"),
        n(receipt, "appended"),
        ran.errors.clone(),
    )
}

#[test]
fn a_session_goes_on_under_whatever_context_its_next_start_has() {
    for class in Class::ALL {
        let mut program = Program::new(class);
        let (_, first, _, _) = turn(&mut program, &["--ctx", "4096"]);
        let mut context = first;
        for flags in [&[][..], &["--ctx", "16384"], &[], &["--ctx", "2048"]] {
            let (restored, evaluated, appended, said) = turn(&mut program, flags);
            let what = format!("{class:?} {flags:?}: {said}");
            assert!(restored >= context, "{what}: {restored} of {context}");
            assert_eq!(evaluated, appended, "{what}");
            // Everything fits, so there is nothing to say.
            assert!(!said.contains("context"), "{what}");
            context = restored + evaluated;
        }
    }
}

/// `npast models info` says what such a start takes.
#[test]
fn what_a_start_without_flags_takes_is_said_before_it() {
    let program = Program::new(Class::Swa);
    let model = program.desk.model.to_string_lossy().into_owned();
    let output = program
        .command(&["models", "info", &model])
        .output()
        .expect("a run");
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = page.lines().last().unwrap_or_default();
    assert!(
        line.starts_with("without flags: context 131,072 tokens, KV ")
            && line.ends_with(" in f16: all that the model was trained for"),
        "{page}"
    );
    let output = program
        .command(&["models", "recommend"])
        .output()
        .expect("a run");
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && page.contains("this machine: host "),
        "{page}"
    );
    assert!(
        page.contains("qwen3-8b     36 × 8 × (128 + 128) × 2        147,456"),
        "{page}"
    );
}
