//! Law 6: KV is a cache. Deleting every KV file changes what a turn costs, and not one stored
//! message or token.

use npast::agent::Input;

use crate::model::Class;
use crate::talk::{Desk, Said, greedy};

const INPUTS: [&str; 4] = ["Hello there.", "And then?\n\n", "Third", "Fourth one"];

const REPLIES: [&str; 4] = [
    r#"{"content": "Good day to you, whoever you are!"}"#,
    r#"{"content": "Then nothing happened for a while."}"#,
    r#"{"content": "The third is cut in the mid", "finish": "length"}"#,
    r#"{"content": "And that was all."}"#,
];

/// Four turns in four processes; `before` runs before each.
fn talk(class: Class, before: impl Fn(usize, &Desk)) -> (Desk, Vec<Said>) {
    let mut desk = Desk::new(class, None);
    desk.system = Some("You are brief.".to_owned());
    let mut said = Vec::new();
    for (i, (words, reply)) in INPUTS.iter().zip(REPLIES).enumerate() {
        before(i, &desk);
        let input = Input::Text((*words).to_owned());
        said.push(
            desk.turn("work", input, &greedy(100), Some(reply))
                .expect("a turn"),
        );
    }
    (desk, said)
}

#[test]
fn without_its_kv_files_a_conversation_costs_more_and_says_the_same_on_every_class() {
    for class in Class::ALL {
        let (plain, whole) = talk(class, |_, _| {});
        let (desk, said) = talk(class, |i, desk| {
            if i == 2 {
                std::fs::remove_dir_all(desk.home.join("kv")).expect("the folder is there");
            }
        });

        let (expected, stored) = (plain.stored("work"), desk.stored("work"));
        assert_eq!(stored.ledger, expected.ledger, "{class:?}");
        assert_eq!(stored.canonical(), expected.canonical(), "{class:?}");
        for (i, (with, without)) in whole.iter().zip(&said).enumerate() {
            let (with, without) = (with.receipt(), without.receipt());
            assert_eq!(without.appended, with.appended, "{class:?} turn {i}");
            assert_eq!(without.prompt(), with.prompt(), "{class:?} turn {i}");
            assert_eq!(with.miss, None, "{class:?} turn {i}");
            if i != 2 {
                // Also the turn after it: what was evaluated again is stored again.
                assert_eq!(without.evaluated, with.evaluated, "{class:?} turn {i}");
                assert_eq!(without.miss, None, "{class:?} turn {i}");
                continue;
            }
            assert_eq!((without.kept, without.restored), (0, 0), "{class:?}");
            assert_eq!(without.evaluated, without.prompt(), "{class:?}");
            let miss = without.miss.as_ref().expect("the reason is said");
            assert_eq!(miss.at, 0, "{class:?}");
            assert!(
                miss.reason.contains("deleted"),
                "{class:?}: {}",
                miss.reason
            );
        }
    }
}

#[test]
fn what_is_sampled_after_kv_was_deleted_follows_the_same_tokens_on_every_class() {
    for class in Class::ALL {
        let desk = Desk::new(class, None);
        let turn = |words: &str| {
            desk.turn("work", Input::Text(words.to_owned()), &greedy(30), None)
                .expect("a turn")
        };
        turn("One.");
        turn("Two.");
        let before = desk.stored("work");
        std::fs::remove_dir_all(desk.home.join("kv")).expect("the folder is there");
        let said = turn("Three.");
        let after = desk.stored("work");
        assert!(after.ledger.starts_with(&before.ledger), "{class:?}");
        let bodies = |m: &[npast::session::StoredMessage]| -> Vec<_> {
            m.iter()
                .map(|m| (m.seq, m.body.clone(), m.finish, m.span))
                .collect()
        };
        assert_eq!(
            bodies(&after.messages[..before.messages.len()]),
            bodies(&before.messages),
            "{class:?}"
        );
        let receipt = said.receipt();
        assert_eq!(receipt.evaluated, receipt.prompt(), "{class:?}");
        assert!(receipt.miss.is_some(), "{class:?}");
        assert_eq!(turn("Four.").receipt().miss, None, "{class:?}");
    }
}

/// A run with another cache type stores KV of its own beside the rest. Who comes back to the first
/// type hears of the second one, and not that something was deleted.
#[test]
fn tokens_that_were_stored_under_another_cache_type_are_missed_by_its_name() {
    use serde_json::json;

    for class in [Class::Dense, Class::Hybrid, Class::Swa] {
        let mut program = crate::program::Program::new(class);
        let flags = program.flags.clone();
        let mut say = |cache: &str, words: &str| {
            program.flags = flags.clone();
            program
                .flags
                .extend(["--cache-type", cache].map(str::to_owned));
            let words = format!("{words} {}", crate::kills::long(1, 200));
            let ran = program.say("work", &words, Some(&json!({"content": "Fine."})));
            let miss = ran.receipt()["miss"]["reason"].clone();
            miss.as_str().unwrap_or_default().to_owned()
        };
        assert_eq!(say("f16", "One."), "");
        let second = say("q8_0", "Two.");
        assert!(
            second.contains("made with cache type f16, this run has q8_0"),
            "{class:?}: {second}"
        );
        let third = say("f16", "Three.");
        assert!(
            third.contains("made with cache type q8_0, this run has f16"),
            "{class:?}: {third}"
        );
        assert_eq!(say("f16", "Four."), "", "{class:?}");
    }
}
