//! Replies as small models write them.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::chat::message::plain;

fn tools() -> Vec<String> {
    vec!["look".to_owned(), "write".to_owned()]
}

fn call(name: &str, arguments: Value) -> ToolCall {
    ToolCall {
        id: String::new(),
        name: name.to_owned(),
        arguments,
    }
}

fn found(text: &str) -> Option<FoundCalls> {
    read(text, &tools(), true)
}

#[test]
fn a_call_written_is_the_call_read() {
    let call = call("anything", json!({"z": 1, "a": "x\n\"y\""}));
    let text = plain::call_text(&call);
    for text in [text.clone(), format!("```json\n{text}\n```")] {
        let found = found(&text).expect("a call");
        assert_eq!((found.text.as_str(), found.unread), ("", false));
        assert_eq!(found.calls, std::slice::from_ref(&call));
    }
}

#[test]
fn a_call_is_found_beside_text_in_a_fence_without_its_wrapper_and_as_a_second_one() {
    let a = r#"{"tool_call": {"name": "look", "arguments": {"z": 1}}}"#;
    let bare = r#"{"name": "look", "arguments": {"z": 1}}"#;
    let table = [
        (format!("I look first.\n{a}"), "I look first.", 1),
        (format!("{a}\nNow I wait."), "Now I wait.", 1),
        (format!("So: {a} Done."), "So:\n\nDone.", 1),
        (format!("Look:\n\n```json\n{a}\n```\n"), "Look:", 1),
        (format!("```tool_call\n{a}\n```"), "", 1),
        (bare.to_owned(), "", 1),
        (format!("Fine.\n```\n{bare}\n```\nDone."), "Fine.\n\nDone.", 1),
        (format!("{a}\n{a}"), "", 2),
        (format!("{a}{bare}"), "", 2),
        (format!("First\n{a}\nthen\n{bare}"), "First\n\nthen", 2),
        (format!("[{bare}, {bare}]"), "", 2),
        (format!("Both:\n[\n  {bare},\n  {a}\n]"), "Both:", 2),
        (format!("<tool_call>\n{bare}\n</tool_call>"), "", 1),
        (r#"{"tool_calls": [{"name": "look", "arguments": {"z": 1}}, {"tool_call": {"name": "look", "parameters": {"z": 1}}}]}"#.to_owned(), "", 2),
        (r#"{"type": "function", "function": {"name": "look", "arguments": "{\"z\": 1}"}}"#.to_owned(), "", 1),
        (r#"{"thought": "hm", "tool_call": {"name": "look", "arguments": {"z": 1}}}"#.to_owned(), "", 1),
        // Brackets that the model forgot at the end.
        (r#"{"tool_call": {"name": "look", "arguments": {"z": 1}}"#.to_owned(), "", 1),
        (r#"So {"name": "look", "arguments": {"z": 1"#.to_owned(), "So", 1),
        // One too many.
        (format!("{a}}}"), "", 1),
        // A fence behind it that is not its own.
        (format!("{a}\n```rust\nlet x = 1;\n```"), "```rust\nlet x = 1;\n```", 1),
    ];
    for (text, rest, count) in table {
        let found = found(&text).unwrap_or_else(|| panic!("no call in {text}"));
        assert_eq!((found.text.as_str(), found.unread), (rest, false), "{text}");
        assert_eq!(
            found.calls,
            vec![call("look", json!({"z": 1})); count],
            "{text}"
        );
    }
}

/// However many other braces a reply has.
#[test]
fn a_call_behind_a_long_list_is_found() {
    let line = "{\"id\": 1}\n";
    let wrong = "{'id': 1}\n";
    let call = r#"{"tool_call": {"name": "look", "arguments": {"z": 1}}}"#;
    for before in [line.repeat(200), wrong.repeat(200)] {
        let text = format!("{before}{call}");
        let found = found(&text).expect("a call");
        assert_eq!((found.text.as_str(), found.calls.len()), (before.trim(), 1));
        assert!(shown(&text, &tools(), true) <= before.len());
    }
}

#[test]
fn json_that_names_no_tool_is_text() {
    for text in [
        "",
        "hello",
        "{}",
        "{",
        "{\"name\": \"Alice\", \"arguments\": {\"age\": 3}}",
        "{\"name\": \"look\"}",
        "```json\n{\"name\": \"Alice\", \"parameters\": {}}\n```",
        "fn main() { println!(\"{}\", look); }",
        "Use `look` with {\"z\": 1}.",
        "{\"a\": {\"name\": \"look\", \"arguments\": {}}}",
        // A tool's definition, as a model was given it or writes it in a list of tools.
        r#"{"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}}"#,
        r#"{"name": "look", "parameters": {"type": "object", "properties": {"z": {}}}}"#,
        r#"{"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {}}}"#,
        // In the middle of a line it is spoken of.
        r#"I would write {"tool_call": {"name": "a"}}"#,
    ] {
        assert_eq!(found(text), None, "{text}");
        // A fence, or a brace, at the end may open a call.
        let least = text.trim_end_matches(['`', '{']).len();
        assert!(shown(text, &tools(), true) >= least, "{text}");
    }
    // The sentence goes on behind it: what was held back is text in the end.
    let spoken = r#"As {"tool_call": {'name': 'look'}} cannot be read, I write no call."#;
    assert_eq!(found(spoken), None);
    let meant = r#"So: {"tool_call": {"name": "look", "arguments": {"z": "a"b"}}}"#;
    assert!(found(meant).expect("an attempt").unread);
    assert_eq!(shown(meant, &tools(), true), 4);
    // With the wrapper it is meant as a call: the model learns that there is no such tool.
    for text in [
        "I write\n{\"tool_call\": {\"name\": \"a\"}}",
        "{\"tool_call\": {\"name\": \"a\"}} and more",
        "{\"tool_call\": {\"name\": \"a\"}, \"x\": 1}",
    ] {
        assert_eq!(found(text).expect(text).calls, [call("a", json!({}))]);
        assert_eq!(read(text, &tools(), false), None, "{text}");
        assert_eq!(shown(text, &tools(), false), text.len(), "{text}");
    }
}

#[test]
fn a_call_that_cannot_be_read_is_an_attempt_and_its_json_is_not_shown() {
    let table = [
        (
            "Let me see.\n{\"tool_call\": {\"name\": \"look\", \"arguments\": {'z': 1}}}",
            "Let me see.",
            "look",
        ),
        (
            "{\"tool_call\": {\"name\": \"look\", \"arguments\": [1]}}",
            "",
            "look",
        ),
        ("{\"tool_call\": look}", "", "unknown"),
        (
            "{'tool_call': {'name': 'look', 'arguments': {}}}",
            "",
            "unknown",
        ),
        ("{\"tool_call\": {\"name\": \"\"}}", "", "unknown"),
        (
            "{\"name\": \"write\", \"arguments\": {\"text\": \"a\"b\"}}",
            "",
            "write",
        ),
        // The end of a value is missing: what it would have been nobody knows.
        (
            "{\"tool_call\": {\"name\": \"write\", \"arguments\": {\"text\": \"half",
            "",
            "write",
        ),
    ];
    for (text, rest, name) in table {
        let read_it = found(text).unwrap_or_else(|| panic!("no attempt in {text}"));
        assert_eq!(
            (read_it.text.as_str(), read_it.unread),
            (rest, true),
            "{text}"
        );
        assert_eq!(read_it.calls, [call(name, json!({}))], "{text}");
        assert!(
            text[..shown(text, &tools(), true)].trim_end() == rest,
            "{text}"
        );
        // Where nobody would answer it, it is text.
        assert_eq!(read(text, &tools(), false), None, "{text}");
    }
}

#[test]
fn what_may_become_a_call_waits_and_other_braces_do_not() {
    let all = "Look:\n```json\n{ \"tool_call\": {\"name\": \"look\", \"arguments\": {}}}\n```";
    for end in "Look:\n".len()..=all.len() {
        let shown = &all[..shown(&all[..end], &tools(), true)];
        assert_eq!(shown, "Look:\n", "{:?}", &all[..end]);
    }
    let code = "fn main() {\n    let x = S { name: 1 };\n}\n```rust\nstruct A {}\n";
    for end in 0..=code.len() {
        let held = end - shown(&code[..end], &tools(), true);
        assert!(held <= 12, "{held} bytes of {:?} wait", &code[..end]);
    }
}

proptest! {
    /// Nothing that was shown while a reply came is part of a call's JSON.
    #[test]
    fn what_is_shown_is_a_part_of_the_text_and_no_byte_of_it_is_lost(
        before in "[a-z \n]{0,12}", after in "[a-z \n]{0,12}", wrap in 0usize..4, cut in any::<prop::sample::Index>(),
    ) {
        let json = r#"{"tool_call": {"name": "look", "arguments": {"z": "{"}}}"#;
        let json = match wrap {
            0 => json.to_owned(),
            1 => format!("```json\n{json}\n```"),
            2 => r#"{"name": "look", "arguments": {"z": "{"}}"#.to_owned(),
            _ => format!("<tool_call>{json}</tool_call>"),
        };
        let text = format!("{before}\n{json}\n{after}");
        let found = found(&text).expect("a call");
        prop_assert_eq!(found.calls.len(), 1);
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        prop_assert_eq!(words(&found.text), words(&format!("{before} {after}")));
        let end = cut.index(text.len() + 1);
        let seen = &text[..shown(&text[..end], &tools(), true)];
        prop_assert!(before.trim_end().starts_with(seen.trim_end()), "{seen:?}");
    }

    #[test]
    fn any_text_is_read_without_harm(text in "[{}\\[\\]\"a-z:, `\n<>/_é]{0,80}") {
        let _ = found(&text);
        let end = shown(&text, &tools(), true);
        prop_assert!(text.is_char_boundary(end));
    }
}
