//! Prefix breaks that are made on purpose are named: a history policy, a template that can only be
//! rendered whole, another vocabulary or template, other weights.

use npast::agent::{Input, Policy};
use npast::chat::Message;
use npast::chat::battery::RenderMode;
use npast::chat::template::TemplateFrame;
use npast::ledger::{Token, common_prefix};

use crate::gallery::{self, Sample};
use crate::model::{self, Class};
use crate::talk::{Desk, Said, Stored, greedy};
use crate::templates::{tools, written_call};

fn say(desk: &Desk, words: &str, reply: &str) -> Said {
    let input = Input::Text(words.to_owned());
    desk.turn("work", input, &greedy(200), Some(reply))
        .unwrap_or_else(|e| panic!("{words}: {e}"))
}

/// What the template makes of all messages but the last reply, generation prompt included.
fn rendered(sample: &Sample, stored: &Stored) -> Vec<Token> {
    let (template, _) = sample.examined();
    let frame = TemplateFrame {
        system: stored.session.system.clone(),
        tools: stored.session.tools.clone(),
        thinking: true,
        started_ms: stored.session.started_ms,
        ..TemplateFrame::default()
    };
    let mut messages = stored.canonical();
    messages.pop();
    let pieces = template.full(&frame, &messages).expect("a rendering");
    gallery::tokens(sample, pieces)
}

fn reply_start(stored: &Stored) -> usize {
    let last = stored.messages.last().and_then(|m| m.span);
    last.expect("a reply").start
}

const THOUGHT: &str = r#"{"reasoning": "I think about it for a while.", "content": "Yes."}"#;

#[test]
fn the_template_policy_rewrites_history_as_the_template_does_and_says_so_on_every_class() {
    let sample = &gallery::own()[1];
    for class in Class::ALL {
        let mut desk = Desk::with_model(&sample.model(class));
        desk.policy = Policy::Template;
        desk.system = Some("You are brief.".to_owned());
        let first = say(&desk, "One?", THOUGHT);
        assert_eq!(first.receipt().miss, None);
        for words in ["Two?", "Three?"] {
            let before = desk.stored("work");
            let r = say(&desk, words, THOUGHT).receipt().clone();
            let after = desk.stored("work");
            let prompt = &after.ledger[..reply_start(&after)];
            assert_eq!(prompt, rendered(sample, &after), "{class:?} {words}");

            let miss = r.miss.as_ref().expect("a miss");
            assert!(
                miss.reason.contains("history policy template"),
                "{class:?}: {}",
                miss.reason
            );
            // The first token that differs lies in the last reply: its thinking is gone.
            let same = common_prefix(&before.ledger, &after.ledger);
            assert_eq!(
                same,
                reply_start(&before) - thinking_opened(sample),
                "{class:?}"
            );
            assert!(miss.at <= same, "{class:?}: {miss:?}");
            assert_eq!(r.prompt(), prompt.len(), "{class:?}");
            assert_eq!(r.appended, prompt.len() - same, "{class:?} {words}");
            assert!(r.evaluated >= r.appended, "{class:?}");
        }
    }
}

/// Tokens of the generation prompt that history does not have.
fn thinking_opened(sample: &Sample) -> usize {
    let (_, vocab) = sample.examined();
    vocab.tokenize("<think>\n", true).expect("tokens").len()
}

#[test]
fn under_the_exact_policy_the_same_thinking_stays() {
    let sample = &gallery::own()[1];
    let desk = Desk::with_model(&sample.model(Class::Dense));
    say(&desk, "One?", THOUGHT);
    let before = desk.stored("work");
    let said = say(&desk, "Two?", THOUGHT);
    assert_eq!(said.receipt().miss, None);
    assert!(desk.stored("work").ledger.starts_with(&before.ledger));
}

fn numbered() -> Sample {
    Sample::of(
        "own: numbered",
        include_str!("../support/model/numbered.jinja"),
    )
}

#[test]
fn a_template_that_can_only_be_rendered_whole_names_its_breaks_on_every_class() {
    let sample = numbered();
    let (template, _) = sample.examined();
    assert!(
        matches!(template.battery().mode, RenderMode::Fallback { .. }),
        "{:?}",
        template.battery()
    );
    for class in Class::ALL {
        let mut desk = Desk::with_model(&sample.model(class));
        desk.system = Some("You are brief.".to_owned());
        assert_eq!(say(&desk, "One?", THOUGHT).receipt().miss, None);
        for words in ["Two?", "Three?\n\n", "Four?"] {
            let r = say(&desk, words, THOUGHT).receipt().clone();
            let stored = desk.stored("work");
            let prompt = &stored.ledger[..reply_start(&stored)];
            assert_eq!(prompt, rendered(&sample, &stored), "{class:?} {words}");
            let miss = r.miss.as_ref().expect("a miss");
            assert!(
                miss.reason.contains("can only be rendered whole"),
                "{class:?}: {}",
                miss.reason
            );
        }
        // Without thinking nothing differs, and nothing is read twice.
        say(
            &desk,
            "Five?",
            r#"{"text": "</think>\n\nSix", "finish": "length"}"#,
        );
    }
}

#[test]
fn another_vocabulary_or_template_makes_a_child_that_goes_on() {
    let chatml = &gallery::own()[0];
    let other = model::tiny_model(
        Class::Dense,
        &model::Options {
            control: &["<|other|>"],
            ..model::Options::default()
        },
    );
    let mut cases = vec![
        (
            other,
            Sample::of("chatml", model::CHATML),
            "another vocabulary",
        ),
        (
            model::tiny_model(
                Class::Dense,
                &model::Options {
                    chat_template: Some(gallery::THINKER),
                    ..model::Options::default()
                },
            ),
            Sample::of("thinker", gallery::THINKER),
            "another chat template",
        ),
    ];
    for name in ["openai-gpt-oss-120b", "google-gemma-4-31B-it", "Qwen3.5-4B"] {
        if let Some(sample) = gallery::shared(name) {
            cases.push((sample.model(Class::Dense), sample, "another vocabulary"));
        }
    }
    for (path, sample, what) in cases {
        let mut desk = Desk::new(Class::Dense, None);
        desk.system = Some("You are brief.".to_owned());
        desk.tools = Some(tools());
        let old = desk.model.clone();
        let call = serde_json::json!({"text": written_call(chatml).expect("a call")});
        say(&desk, "One?", r#"{"content": "Yes, one."}"#);
        say(&desk, "Look!", &call.to_string());
        let result = Input::Messages(vec![Message::tool_result("", "look", "Found.")]);
        let reply = r#"{"content": "Yes, found."}"#;
        desk.turn("work", result, &greedy(50), Some(reply))
            .expect("a turn");
        let parent = desk.stored("work");

        desk.model = path;
        let said = say(&desk, "Three?", r#"{"content": "Yes, three."}"#);
        let what = &format!("{} {what}", sample.name);
        let kind = what.strip_prefix(&sample.name).unwrap_or_default().trim();
        let notice = said.notices.iter().find(|n| n.contains(kind));
        assert!(
            notice.is_some_and(|n| n.contains("work-2")),
            "{what}: {:?}",
            said.notices
        );
        assert_eq!(said.info.as_ref().map(|i| i.name.as_str()), Some("work-2"));
        let r = said.receipt();
        assert_eq!((r.appended, &r.miss), (r.prompt(), &None), "{what}");
        // Another template may begin as the old one did; that much is found stored.
        let found = match what.ends_with("template") {
            true => r.restored,
            false => 0,
        };
        assert_eq!(r.evaluated + found, r.prompt(), "{what}");

        let child = desk.stored("work-2");
        assert_eq!(child.session.parent, Some(parent.session.id), "{what}");
        let texts =
            |s: &Stored| -> Vec<String> { s.canonical().into_iter().map(|m| m.text).collect() };
        assert!(texts(&child).starts_with(&texts(&parent)), "{what}");
        assert_eq!(child.messages.len(), 8, "{what}");
        let prompt = &child.ledger[..reply_start(&child)];
        assert_eq!(prompt, rendered(&sample, &child), "{what}");

        // Under the old name the child goes on, not another copy, and the old model finds its own.
        let said = say(&desk, "Four?", r#"{"content": "Yes, four."}"#);
        let r = said.receipt();
        assert_eq!((r.evaluated, &r.miss), (r.appended, &None), "{what}");
        assert!(r.restored > 0, "{what}: {r:?}");
        assert_eq!(desk.stored("work-2").messages.len(), 10, "{what}");
        assert_eq!(desk.stored("work").ledger, parent.ledger, "{what}");
        desk.model = old;
        let said = say(&desk, "Three again?", r#"{"content": "Three."}"#);
        assert_eq!(said.info.as_ref().map(|i| i.name.as_str()), Some("work"));
        assert_eq!(said.receipt().miss, None, "{what}");
    }
}

#[test]
fn other_weights_keep_the_tokens_and_evaluate_them_again_with_a_reason_on_every_class() {
    for class in Class::ALL {
        let mut desk = Desk::new(class, None);
        say(&desk, "One?", r#"{"content": "Yes, one."}"#);
        say(&desk, "Two?", r#"{"content": "Yes, two."}"#);
        let before = desk.stored("work");
        let old = desk.model.clone();
        desk.model = model::tiny_model(
            class,
            &model::Options {
                seed: 2,
                ..model::Options::default()
            },
        );
        let said = say(&desk, "Three?", r#"{"content": "Yes, three."}"#);
        let after = desk.stored("work");
        assert!(after.ledger.starts_with(&before.ledger), "{class:?}");
        assert_eq!(after.session.id, before.session.id, "{class:?}");
        let r = said.receipt();
        assert_eq!((r.kept, r.restored), (0, 0), "{class:?}");
        assert_eq!(r.evaluated, r.prompt(), "{class:?}");
        let miss = r.miss.as_ref().expect("a reason");
        assert!(
            miss.reason.contains("tensors"),
            "{class:?}: {}",
            miss.reason
        );
        // The first model finds its own KV again.
        desk.model = old;
        let said = say(&desk, "Four?", r#"{"content": "Yes, four."}"#);
        assert!(
            said.receipt().restored > 0,
            "{class:?}: {:?}",
            said.receipt()
        );
    }
}

/// Once KV of a file with a hole was put back after the file was repaired, without a word: samples of
/// a tensor see a hole only where they look.
#[test]
fn kv_of_a_file_that_had_a_hole_is_not_used_after_its_repair_on_every_class() {
    use std::os::unix::fs::FileExt;
    for class in Class::ALL {
        let options = model::Options {
            chat_template: Some(model::CHATML),
            ..model::Options::default()
        };
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.gguf");
        std::fs::copy(model::tiny_model(class, &options), &path).expect("a copy");
        let good = std::fs::read(&path).expect("a model");
        // Between the samples at the start, the middle and the end of the largest tensor.
        let facts = npast::llama::gguf::facts(&path).expect("facts");
        let largest = facts.data.iter().max_by_key(|(_, _, bytes)| *bytes);
        let (_, offset, bytes) = *largest.expect("a tensor");
        let hole = vec![0; (bytes / 2 - 3 * 4096) as usize];
        let file = std::fs::File::options()
            .write(true)
            .open(&path)
            .expect("the file");
        file.write_all_at(&hole, offset + 2 * 4096).expect("a hole");
        drop(file);
        let broken = npast::llama::gguf::facts(&path).expect("facts");
        assert_eq!(
            broken.tensors, facts.tensors,
            "{class:?}: no sample sees it"
        );

        let desk = Desk::with_model(&path);
        let say = |words: &str| {
            let input = npast::agent::Input::Text(words.to_owned());
            desk.turn("work", input, &greedy(8), None).expect("a turn")
        };
        say("Hello there.");
        let again = say("And then?");
        assert!(again.receipt().restored > 0, "{class:?}: the same file");
        assert_eq!(again.receipt().miss, None, "{class:?}");
        std::fs::write(&path, &good).expect("the repair");
        let repaired = say("Who are you?");
        let receipt = repaired.receipt();
        assert_eq!(receipt.restored, 0, "{class:?}: {receipt:?}");
        let miss = receipt.miss.as_ref().expect("the reason is said");
        assert!(
            miss.reason.contains("other weights"),
            "{class:?}: {}",
            miss.reason
        );
        let next = say("And now?");
        assert!(next.receipt().restored > 0, "{class:?}");
        assert_eq!(next.receipt().miss, None, "{class:?}");
    }
}
