//! The chat as a person has it: the program on a real terminal, with lines and keys that are typed.

use serde_json::{Value, json};

use crate::model::Class;
use crate::program::Program;
use crate::screen::Screen;

/// A chat whose replies are prepared.
pub fn chat(program: &Program, session: &str, replies: &[Value]) -> Screen {
    Screen::start(chat_command(program, session, replies))
}

/// How a chat with prepared replies is started.
pub fn chat_command(program: &Program, session: &str, replies: &[Value]) -> std::process::Command {
    let lines: Vec<String> = replies.iter().map(Value::to_string).collect();
    let script = program.folder.path().join("script.jsonl");
    std::fs::write(&script, lines.join("\n")).expect("a script");
    let mut command = program.command(&["--session", session]);
    command
        .args(&program.flags)
        .arg("-m")
        .arg(&program.desk.model);
    command.arg("--script").arg(script);
    command.current_dir(project(program));
    command
}

pub fn project(program: &Program) -> std::path::PathBuf {
    let project = program.folder.path().join("project");
    std::fs::create_dir_all(&project).expect("a project");
    project
}

pub fn says(text: &str) -> Value {
    json!({ "content": text })
}

#[test]
fn a_person_chats_asks_again_goes_back_and_is_at_the_same_place_a_day_later() {
    for class in [Class::Dense, Class::Hybrid] {
        let program = Program::new(class);
        let mut screen = chat(
            &program,
            "work",
            &[says("Good day."), says("Good morning."), says("Fine.")],
        );
        screen.until("work · ");
        screen.until("sandbox: ");
        screen.until("> ");
        screen.keys("Hello there\r");
        screen.until("Good day.");
        screen.until(" read · ");
        screen.until("> ");
        screen.keys("/retry\r");
        screen.until("Good morning.");
        let cost = screen.until(" written");
        assert!(cost.ends_with(|c: char| c.is_ascii_digit()), "{cost}");
        assert!(cost.contains(" kept · 0 read · "), "{class:?}: {cost}");
        screen.until("> ");
        screen.keys("How are you?\r");
        screen.until("Fine.");
        screen.until(" written");
        screen.until("> ");
        screen.keys("/undo\r");
        screen.until("Taken back: 2 messages");
        screen.until("> ");
        screen.keys("/nope\r");
        screen.until("/nope is no command");
        // Typed, and thought better of.
        screen.until("> ");
        screen.keys("never said\u{3}");
        screen.until("Ctrl-D ends the chat.");
        screen.keys("\u{4}");
        assert_eq!(screen.end().0, Some(0));

        let mut screen = chat(&program, "work", &[says("Still fine.")]);
        screen.until("work · ");
        screen.until("> ");
        screen.keys("And now?\r");
        screen.until("Still fine.");
        let cost = screen.until(" written");
        assert!(cost.contains(" restored · "), "{class:?}: {cost}");
        screen.until("> ");
        screen.keys("/quit\r");
        assert_eq!(screen.end().0, Some(0));
    }
}

#[test]
fn a_call_that_changes_something_is_asked_about_and_only_a_yes_lets_it_run() {
    let program = Program::new(Class::Dense);
    let call = json!({"content": "", "tool_calls":
        [{"name": "write_file", "arguments": {"path": "note.txt", "content": "from a model\n"}}]});
    let replies = [call.clone(), call, says("Written.")];
    let mut screen = chat(&program, "work", &replies);
    let note = project(&program).join("note.txt");
    screen.until("> ");
    screen.keys("Write a note.\r");
    screen.until("Make note.txt? (+1)");
    screen.until("[N]o ");
    screen.keys("\r");
    screen.until("not run: you said no");
    screen.until("Make note.txt? (+1)");
    screen.until("[N]o ");
    assert!(!note.exists());
    screen.keys("y\r");
    screen.until("Written.");
    screen.until(" written");
    assert_eq!(
        std::fs::read_to_string(&note).expect("a note"),
        "from a model\n"
    );
    screen.keys("/quit\r");
    assert_eq!(screen.end().0, Some(0));
}

#[test]
fn a_call_in_another_reply_is_asked_about_and_run_and_the_turn_goes_on_to_its_answer() {
    let program = Program::new(Class::Dense);
    let call = json!({"content": "", "tool_calls":
        [{"name": "write_file", "arguments": {"path": "note.txt", "content": "from a model\n"}}]});
    let replies = [says("I do not know."), call, says("Written.")];
    let mut screen = chat(&program, "work", &replies);
    let note = project(&program).join("note.txt");
    screen.until("> ");
    screen.keys("Write a note.\r");
    screen.until("I do not know.");
    screen.until(" written");
    screen.keys("/retry\r");
    screen.until("Make note.txt? (+1)");
    screen.until("[N]o ");
    screen.keys("y\r");
    screen.until("Written.");
    screen.until(" written");
    assert_eq!(
        std::fs::read_to_string(&note).expect("a note"),
        "from a model\n"
    );
    screen.keys("/quit\r");
    assert_eq!(screen.end().0, Some(0));
}
