//! Models that write calls in a form of their own, in the plain tool format: what can be read is run, what
//! cannot is told to the model with the form that it should have, and nobody sees the JSON of a call.

use serde_json::{Value, json};

use crate::chats::project;
use crate::model::Class;
use crate::program::{Program, Ran};
use crate::screen::Screen;
use crate::talk::Desk;

/// A template that knows no tools.
const TOOLLESS: &str = "{%- for m in messages -%}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}\
    {%- endfor -%}{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}";

fn program() -> Program {
    let mut program = Program::new(Class::Dense);
    program.desk = Desk::new(Class::Dense, Some(TOOLLESS));
    std::fs::write(project(&program).join("a.txt"), "the text of a\n").expect("a file");
    program
}

fn turn(program: &Program, replies: &[Value]) -> Ran {
    let lines: Vec<String> = replies.iter().map(Value::to_string).collect();
    let script = program.folder.path().join("script.jsonl");
    std::fs::write(&script, lines.join("\n")).expect("a script");
    let mut command = program.command(&["--json", "--agent", "--approve", "auto"]);
    command
        .args(&program.flags)
        .arg("-m")
        .arg(&program.desk.model);
    command.arg("--script").arg(script).arg("Look.");
    command.current_dir(project(program));
    let ran = Ran::of(&command.output().expect("a run"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran
}

fn text(ran: &Ran) -> String {
    let parts = ran.all("text").into_iter();
    parts.filter_map(|e| e["text"].as_str()).collect()
}

fn raw(text: &str) -> Value {
    json!({ "text": text })
}

#[test]
fn calls_beside_text_in_a_fence_without_a_wrapper_and_in_twos_are_run() {
    let program = program();
    let bare = r#"{"name": "read_file", "arguments": {"path": "a.txt"}}"#;
    let whole = format!(r#"{{"tool_call": {bare}}}"#);
    for (reply, calls, shown) in [
        (whole.clone(), 1, ""),
        (format!("Let me look.\n\n{whole}"), 1, "Let me look."),
        (format!("{whole}\nThen I answer."), 1, "Then I answer."),
        (format!("Fine:\n```json\n{bare}\n```\n"), 1, "Fine:"),
        (bare.to_owned(), 1, ""),
        (format!("{whole}\n{bare}"), 2, ""),
        (whole[..whole.len() - 1].to_owned(), 1, ""),
    ] {
        let ran = turn(&program, &[raw(&reply), json!({"content": "Done."})]);
        let results = ran.all("tool_result");
        assert_eq!(results.len(), calls, "{reply}: {ran:?}");
        for result in results {
            assert_eq!(result["ok"], true, "{reply}: {result}");
            assert!(
                result["text"]
                    .as_str()
                    .expect("text")
                    .contains("the text of a")
            );
        }
        assert_eq!(
            text(&ran).replace('\n', ""),
            format!("{shown}Done."),
            "{reply}"
        );
    }
}

#[test]
fn a_call_that_cannot_be_read_is_told_to_the_model_with_its_form() {
    let program = program();
    for reply in [
        r#"{"tool_call": {'name': 'read_file', 'arguments': {'path': 'a.txt'}}}"#,
        r#"So: {"tool_call": {"name": "read_file", "arguments": {"path": "a"b"}}}"#,
        r#"{"tool_call": {"name": "read_file", "arguments": {"path": "a.t"#,
        r#"{"name": "read_file", "arguments": {"path": a.txt}}"#,
    ] {
        let good = r#"{"tool_call": {"name": "read_file", "arguments": {"path": "a.txt"}}}"#;
        let ran = turn(
            &program,
            &[raw(reply), raw(good), json!({"content": "Done."})],
        );
        let results = ran.all("tool_result");
        assert_eq!(results.len(), 2, "{reply}: {ran:?}");
        let told = results[0]["text"].as_str().expect("text");
        let form = r#"{"tool_call": {"name": "<tool>", "arguments": {<arguments>}}}"#;
        assert!(told.contains(form) && told.contains("not run"), "{told}");
        assert_eq!(results[1]["ok"], true);
        assert!(!text(&ran).contains('{'), "{reply}: {}", text(&ran));
    }
    // Three in a row end the turn, and JSON that is an answer is an answer.
    let bad = raw(r#"{"tool_call": read}"#);
    let ran = turn(&program, &[bad.clone(), bad.clone(), bad]);
    assert_eq!(ran.all("tool_result").len(), 3);
    assert_eq!(
        ran.said("three calls in a row could not be run"),
        1,
        "{ran:?}"
    );
    let answer = r#"{"name": "Alice", "arguments": {"age": 3}}"#;
    let ran = turn(&program, &[raw(answer)]);
    assert_eq!(
        (text(&ran).as_str(), ran.all("tool_call").len()),
        (answer, 0)
    );
}

#[test]
fn no_json_of_a_call_is_seen_on_a_terminal() {
    for columns in [40, 100] {
        let program = program();
        let lines = [
            raw(
                "I look.\n\n```json\n{\"tool_call\": {\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}}\n```",
            ),
            raw("{\"tool_call\": {'name': 1}}"),
            json!({"content": "It says: the text of a."}),
        ];
        let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
        let script = program.folder.path().join("script.jsonl");
        std::fs::write(&script, lines.join("\n")).expect("a script");
        let mut command = program.command(&["--session", "work"]);
        command
            .args(&program.flags)
            .arg("-m")
            .arg(&program.desk.model);
        command
            .arg("--script")
            .arg(script)
            .current_dir(project(&program));
        let mut screen = Screen::sized(command, columns, 40);
        screen.until("> ");
        screen.keys("Look.\r");
        screen.until("I look.");
        screen.until("It says: the text of a.");
        screen.until(" written");
        let rows = screen.rows().join("\n");
        println!("{rows}");
        assert!(!rows.contains("'name'") && !rows.contains("```"), "{rows}");
        screen.until("> ");
        screen.keys("/quit\r");
        assert_eq!(screen.end().0, Some(0));
    }
}
