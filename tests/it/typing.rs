//! What a person types at a chat: all of it is taken, at any time, and the terminal shows it apart from
//! what is said.

use npast::session::Db;
use serde_json::json;

use rustix::process::Signal;

use crate::chats::{chat, project, says};
use crate::model::Class;
use crate::program::Program;
use crate::screen::Screen;

/// A reply that takes a while.
fn long() -> String {
    (0..400).map(|i| format!("{i}, ")).collect()
}

/// What the user said in the session, in order.
fn said(program: &Program) -> Vec<String> {
    let db = Db::open(&program.desk.home.join("npast.db")).expect("npast.db");
    let session = db.find("work").expect("a query").expect("a session");
    let messages = db.messages(session.id).expect("messages");
    let users = messages.iter().filter(|m| m.role == "user");
    users
        .map(|m| m.body["content"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn quits(mut screen: Screen) {
    screen.keys("/quit\r");
    let (code, last) = screen.end();
    assert_eq!(code, Some(0), "{last}");
}

#[test]
fn lines_that_come_in_one_piece_are_all_said() {
    let program = Program::new(Class::Dense);
    let replies = [
        says("Answer one."),
        says("Answer two."),
        says("Answer three."),
    ];
    let mut screen = chat(&program, "work", &replies);
    screen.until("> ");
    screen.keys("line one\rline two\rline three\r");
    screen.until("Answer three.");
    screen.until(" written");
    quits(screen);
    assert_eq!(said(&program), ["line one", "line two", "line three"]);
}

#[test]
fn what_is_typed_while_the_model_loads_waits_for_the_prompt() {
    let program = Program::new(Class::Dense);
    let mut screen = chat(&program, "work", &[says("Good day.")]);
    screen.keys("Hello\r");
    screen.until("Good day.");
    screen.until(" written");
    screen.keys("\u{4}");
    assert_eq!(screen.end().0, Some(0));
    assert_eq!(said(&program), ["Hello"]);

    let mut screen = chat(&program, "work", &[]);
    screen.keys("\u{4}");
    assert_eq!(
        screen.end().0,
        Some(0),
        "the end of the input is no less typed"
    );
}

#[test]
fn a_byte_that_is_no_text_ends_no_chat() {
    let program = Program::new(Class::Dense);
    let mut screen = chat(&program, "work", &[says("Good day.")]);
    screen.until("> ");
    screen.bytes(b"dr\xfcck\xff\r");
    screen.until("Good day.");
    screen.until(" written");
    quits(screen);
    assert_eq!(said(&program), ["dr\u{fffd}ck\u{fffd}"]);
}

#[test]
fn a_long_paste_is_one_message_that_is_folded_opened_changed_taken_back_and_sent_again() {
    let program = Program::new(Class::Dense);
    let mut screen = chat(&program, "work", &[says("Read."), says("Read.")]);
    screen.until("> ");
    let lines: Vec<String> = (0..220)
        .map(|n| match n % 4 {
            0 => format!("{n}\tif x:"),
            1 => String::new(),
            2 => format!("{n} 日本語"),
            _ => format!("{n} 👩‍👩‍👧"),
        })
        .collect();
    screen.keys(&format!("\u{1b}[200~{}\u{1b}[201~", lines.join("\r")));
    screen.until("[pasted 220 lines]");
    // Opened, it begins at its first line; three lines down something is written into it.
    screen.keys("\t\u{1b}[B\u{1b}[B\u{1b}[Bhere ");
    screen.until("here ");
    let last = screen.rows();
    assert!(last.len() <= 24, "{last:?}");
    let mut want = lines;
    want[3].insert_str(0, "here ");
    let want = want.join("\n");
    // Ctrl-C comes behind Enter, so it is the turn's.
    screen.keys("\r\u{3}");
    screen.until("Taken back; what was read is kept.");
    screen.until("[pasted 220 lines]");
    screen.keys("\r");
    screen.until("Read.");
    screen.until(" written");
    quits(screen);
    assert_eq!(said(&program), [want]);
}

#[test]
fn several_lines_are_typed_as_one_message() {
    let program = Program::new(Class::Dense);
    let mut screen = chat(&program, "work", &[says("Good day.")]);
    screen.until("> ");
    screen.keys("one\\\rtwo\u{1b}\rthree\nfour\r");
    screen.until("Good day.");
    screen.until(" written");
    quits(screen);
    assert_eq!(said(&program), ["one\ntwo\nthree\nfour"]);
}

#[test]
fn what_waits_for_a_reply_is_listed_and_comes_back_at_ctrl_c() {
    for columns in [40, 100] {
        let program = Program::new(Class::Dense);
        let replies = [says(&long()), says("Second."), says("Third.")];
        let lines: Vec<String> = replies.iter().map(ToString::to_string).collect();
        let script = program.folder.path().join("script.jsonl");
        std::fs::write(&script, lines.join("\n")).expect("a script");
        let mut command = program.command(&["--session", "work"]);
        command
            .args(&program.flags)
            .arg("-m")
            .arg(&program.desk.model);
        command.arg("--script").arg(script);
        command.current_dir(project(&program));
        let mut screen = Screen::sized(command, columns, 30);
        screen.until("> ");
        screen.keys("first\r");
        screen.until("0, 1, ");
        screen.keys("second\rthird\rhalf");
        screen.until("queued: third");
        screen.until("> half");
        let rows = screen.rows();
        let at = |text: &str| rows.iter().rposition(|row| row.starts_with(text));
        let (second, third) = (at("queued: second").unwrap(), at("queued: third").unwrap());
        let half = at("> half").unwrap();
        assert_eq!((third, half), (second + 1, second + 2), "{rows:?}");
        screen.keys("\u{3}");
        screen.until("interrupted");
        // All of it is one text now, to be changed; nothing of it was said.
        screen.until("  half");
        assert_eq!(said(&program), ["first"]);
        screen.keys("\r");
        screen.until("Second.");
        screen.until(" written");
        quits(screen);
        assert_eq!(said(&program), ["first", "second\nthird\nhalf"]);
    }
}

#[test]
fn a_second_ctrl_c_leaves_when_the_turn_has_stopped() {
    let program = Program::new(Class::Dense);
    let mut screen = chat(&program, "work", &[says(&long())]);
    screen.until("> ");
    screen.keys("first\r");
    screen.until("0, 1, ");
    screen.keys("\u{3}\u{3}");
    screen.until("npast ends when the turn has stopped");
    assert_eq!(screen.end().0, Some(130));
    // What was written is kept, and nothing has to be mended.
    let mut screen = chat(&program, "work", &[says("Good day.")]);
    screen.until("work · ");
    screen.until("> ");
    screen.keys("Again\r");
    screen.until("Good day.");
    screen.until(" written");
    quits(screen);
}

#[test]
fn a_terminal_is_as_it_was_however_a_chat_ends() {
    let program = Program::new(Class::Dense);
    let replies = [says(&long()), says(&long()), says("Good day.")];
    type Way<'a> = (&'a str, &'a dyn Fn(&mut Screen));
    let ways: [Way; 5] = [
        ("at the prompt by a word", &|screen| screen.keys("/quit\r")),
        ("at the prompt by its end", &|screen| screen.keys("\u{4}")),
        ("at the prompt by a signal", &|screen| {
            screen.signal(Signal::TERM)
        }),
        ("in a reply by a signal", &|screen| {
            screen.keys("first\r");
            screen.until("0, 1, ");
            screen.signal(Signal::TERM);
        }),
        ("in a reply by two Ctrl-C", &|screen| {
            screen.keys("first\r");
            screen.until("0, 1, ");
            screen.keys("\u{3}\u{3}");
        }),
    ];
    for (name, end) in ways {
        let mut screen = chat(&program, name, &replies);
        screen.until("> ");
        assert!(!screen.is_as_it_was(), "{name}: keys are read one by one");
        end(&mut screen);
        let (_, last) = screen.leave();
        assert!(screen.is_as_it_was(), "{name}: {last}");
    }
}

#[test]
fn ctrl_d_at_a_question_refuses_that_one_and_the_next_one_is_asked() {
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
    screen.keys("\u{4}");
    screen.until("The chat ends after this turn.");
    screen.until("Make note.txt? (+1)");
    screen.until("[N]o ");
    assert!(!note.exists());
    screen.keys("y\r");
    screen.until("Written.");
    screen.until(" written");
    assert_eq!(screen.end().0, Some(0));
    assert!(note.exists());
}

#[test]
fn what_was_typed_before_a_question_does_not_answer_it() {
    let program = Program::new(Class::Dense);
    let call = json!({"content": "", "tool_calls":
        [{"name": "write_file", "arguments": {"path": "note.txt", "content": "from a model\n"}}]});
    let mut screen = chat(
        &program,
        "work",
        &[call, says("Not written."), says("Yes?")],
    );
    screen.until("> ");
    // "y" comes with the line that is worked on.
    screen.keys("Write a note.\ry\r");
    screen.until("Make note.txt? (+1)");
    screen.until("[N]o ");
    assert!(!project(&program).join("note.txt").exists());
    screen.keys("n\r");
    // It comes above the line that waits, a piece at a time.
    screen.shows("Not written.");
    screen.until("Yes?");
    screen.until(" written");
    quits(screen);
    assert_eq!(said(&program), ["Write a note.", "y"]);
}

#[test]
fn a_window_of_any_size_and_one_that_changes_keep_what_is_typed_whole() {
    let program = Program::new(Class::Dense);
    let mut screen = chat(&program, "work", &[says("Good day.")]);
    screen.until("> ");
    screen.keys("some words that are longer than a small window is wide");
    screen.until("wide");
    for columns in [20, 10, 100] {
        screen.resize(columns, 24);
        screen.keys("!");
        screen.until("!");
    }
    screen.keys("\r");
    screen.until("Good day.");
    screen.until(" written");
    quits(screen);
    assert_eq!(said(&program).len(), 1);
}

#[test]
fn tab_completes_and_an_editor_writes_a_message() {
    let mut program = Program::new(Class::Dense);
    let editor = program.folder.path().join("editor");
    std::fs::write(&editor, "printf 'from an\\neditor\\n' > \"$1\"").expect("an editor");
    program.env = vec![("EDITOR".into(), format!("/bin/sh {}", editor.display()))];
    std::fs::write(project(&program).join("calc.py"), "").expect("a file");
    let mut screen = chat(&program, "work", &[says("Good day."), says("Fine.")]);
    screen.until("> ");
    screen.keys("/hlep\r");
    screen.until("did you mean /help?");
    screen.keys("/editor\r");
    screen.until("  editor");
    screen.keys("\r");
    screen.until("Good day.");
    screen.keys("see @ca\t please\r");
    screen.until("Fine.");
    screen.until(" written");
    quits(screen);
    assert_eq!(said(&program), ["from an\neditor", "see @calc.py please"]);
}

/// A program that is started on a terminal has nothing of the test's own.
#[cfg(target_os = "linux")]
#[test]
fn a_program_on_a_terminal_has_no_file_but_its_three_streams() {
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", "ls -l /proc/$$/fd | grep -c ptmx"]);
    let mut screen = Screen::start(command);
    screen.until("0");
    assert_eq!(screen.end().0, Some(1));
}
