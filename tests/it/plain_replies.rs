//! A model without a chat template gets `role: text` lines, and no token that it was trained on ends
//! its turn: where it goes on in another's name its reply is over.

use npast::ledger::Finish;
use serde_json::json;

use crate::model::{self, Class};
use crate::program::{Program, honest, n};
use crate::talk::Desk;
use crate::witness::Stored;

fn program(class: Class) -> Program {
    let options = model::Options {
        chat_template: None,
        ..model::Options::default()
    };
    let mut program = Program::new(class);
    program.desk = Desk::with_model(&model::tiny_model(class, &options));
    program
}

fn text(ran: &crate::program::Ran) -> String {
    let parts = ran.all("text").into_iter();
    parts.filter_map(|e| e["text"].as_str()).collect()
}

#[test]
fn a_reply_ends_before_a_line_that_begins_another_message() {
    for class in Class::ALL {
        let program = program(class);
        for (turn, (raw, reply)) in [
            ("Paris.\nuser: And of Italy?\nassistant: Rome.", "Paris."),
            ("Rome.\n\nassistant: Rome, again.", "Rome.\n"),
            (
                "A line\nuser friendly: no role.\n",
                "A line\nuser friendly: no role.\n",
            ),
            ("It is\nsystem: over", "It is"),
            ("\nuser: nothing was said", ""),
        ]
        .into_iter()
        .enumerate()
        {
            let ran = program.say(
                "work",
                &format!("Words {turn}."),
                Some(&json!({ "text": raw })),
            );
            assert_eq!(text(&ran), reply, "{class:?}");
            let receipt = ran.receipt();
            honest(raw, receipt);
            assert_eq!(
                n(receipt, "evaluated"),
                n(receipt, "appended"),
                "{class:?}: {receipt}"
            );
            let stored = Stored::of(&program.desk, "work");
            let (row, message) = stored.last();
            assert_eq!(
                (row.finish, message.text.as_str()),
                (Some(Finish::Stop), reply)
            );
        }
    }
}

#[test]
fn a_call_before_such_a_line_is_a_call() {
    let mut program = program(Class::Dense);
    let tools = json!([{"type": "function", "function": {"name": "look", "description": "Looks.",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}}]);
    let file = program.folder.path().join("tools.json");
    std::fs::write(&file, tools.to_string()).expect("tools");
    let flag = format!("@{}", file.display());
    program.flags.extend(["--tools".to_owned(), flag]);
    let raw = "{\"tool_call\": {\"name\": \"look\", \"arguments\": {\"at\": \"x\"}}}\nuser: and?";
    let ran = program.say("work", "Look.", Some(&json!({ "text": raw })));
    let calls = ran.all("tool_call");
    assert_eq!(calls.len(), 1, "{ran:?}");
    assert_eq!(calls[0]["arguments"], json!({"at": "x"}));
    assert_eq!(ran.receipt()["finish"], "tool_calls");
}

#[test]
fn a_stop_string_of_the_user_still_cuts_a_reply() {
    let mut program = program(Class::Dense);
    program.flags.extend(["--stop", "END"].map(str::to_owned));
    let raw = json!({"text": "One END two\nuser: three"});
    let ran = program.say("work", "Say.", Some(&raw));
    assert_eq!(text(&ran), "One ");
    assert_eq!(ran.receipt()["finish"], "stop_string");
}
