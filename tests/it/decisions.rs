//! What a person is asked before a call runs, what can be answered, and what is not asked at all.

use npast::session::Db;
use serde_json::{Value, json};

use crate::chats::{chat_command, project, says};
use crate::gateway::Server;
use crate::model::Class;
use crate::program::Program;
use crate::screen::Screen;

const CALC: &str = "def add(a, b):\n    return a - b\n";

fn calls(name: &str, arguments: Value) -> Value {
    json!({"content": "", "tool_calls": [{"name": name, "arguments": arguments}]})
}

fn edits(old: &str, new: &str) -> Value {
    calls(
        "edit_file",
        json!({"path": "calc.py", "old": old, "new": new}),
    )
}

/// A chat in a project with `calc.py`.
fn chat(program: &Program, replies: &[Value], columns: u16) -> Screen {
    std::fs::write(project(program).join("calc.py"), CALC).expect("a file");
    Screen::sized(chat_command(program, "work", replies), columns, 24)
}

fn calc(program: &Program) -> String {
    std::fs::read_to_string(project(program).join("calc.py")).expect("a file")
}

/// The results of tools that the model got, in order.
fn results(program: &Program) -> Vec<String> {
    let db = Db::open(&program.desk.home.join("npast.db")).expect("npast.db");
    let session = db.find("work").expect("a query").expect("a session");
    let messages = db.messages(session.id).expect("messages");
    let tools = messages.iter().filter(|m| m.role == "tool");
    tools
        .map(|m| m.body["content"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn quits(mut screen: Screen) {
    screen.until("> ");
    screen.keys("/quit\r");
    let (code, last) = screen.end();
    assert_eq!(code, Some(0), "{last}");
}

#[test]
fn an_edit_is_asked_with_its_coloured_diff_and_a_no_may_have_a_reason() {
    for (columns, attached) in [(40, false), (100, false), (100, true)] {
        let mut program = Program::new(Class::Dense);
        let mut server = None;
        if attached {
            server = Some(Server::start(program, &[], &[]));
            program = Program::new(Class::Dense);
        }
        let at = server.as_ref().map_or(&program, |server| &server.program);
        let edit = edits("a - b", "a + b");
        let mut screen = chat(at, &[edit.clone(), edit, says("Fixed.")], columns);
        screen.until("> ");
        screen.keys("Fix it.\r");
        screen.until("Change calc.py? (+1 -1)\n");
        screen.until("  | @@ -1,2 +1,2 @@\n  |  def add(a, b):\n");
        screen.until("  | -    return a - b\n  | +    return a + b\n");
        screen.until("[N]o ");
        assert!(
            calc(at).contains("a - b"),
            "nothing is done before the answer"
        );
        // A key that nobody knows is no answer.
        screen.keys("maybe\r");
        screen.until("That is no answer.");
        screen.until("[N]o ");
        assert!(calc(at).contains("a - b"));
        screen.keys("n use sum() instead\r");
        screen.until("not run: you said no");
        screen.until("Change calc.py?");
        screen.until("[N]o ");
        screen.keys("y\r");
        screen.until("• done · ");
        screen.until("Fixed.");
        screen.until(" written");
        let raw = screen.raw();
        assert!(
            raw.contains("\u{1b}[31m  | -    return a - b\u{1b}[0m"),
            "{raw:?}"
        );
        assert!(
            raw.contains("\u{1b}[32m  | +    return a + b\u{1b}[0m"),
            "{raw:?}"
        );
        quits(screen);
        assert!(calc(at).contains("a + b"));
        assert_eq!(
            results(at)[0],
            "Not run: the user refused it and says: use sum() instead"
        );
    }
}

#[test]
fn a_command_stands_once_on_the_terminal_and_an_answer_for_the_session_is_kept() {
    for columns in [40, 100] {
        let program = Program::new(Class::Dense);
        let runs = calls("terminal", json!({"command": "ls calc.py"}));
        let replies = [runs.clone(), says("First."), runs, says("Second.")];
        let mut screen = chat(&program, &replies, columns);
        screen.until("> ");
        screen.keys("Go.\r");
        screen.until("Run this? (terminal)\n  | ls calc.py\n");
        screen.until("s and a: exactly this command.");
        screen.until("[N]o ");
        screen.keys("s\r");
        screen.until("• exit code 0 · ");
        screen.until("First.");
        screen.until(" written");
        let rows = screen.rows();
        let times = rows.iter().filter(|row| row.contains("ls calc.py"));
        assert_eq!(times.count(), 1, "{rows:#?}");
        screen.until("> ");
        screen.keys("Again.\r");
        screen.until("• $ ls calc.py · exit code 0");
        screen.until("Second.");
        screen.until(" written");
        quits(screen);
    }
}

#[test]
fn the_mode_is_changed_in_the_chat_also_through_a_gateway() {
    for attached in [false, true] {
        let mut program = Program::new(Class::Dense);
        let mut server = None;
        if attached {
            server = Some(Server::start(program, &[], &[]));
            program = Program::new(Class::Dense);
        }
        let at = server.as_ref().map_or(&program, |server| &server.program);
        let runs = calls("terminal", json!({"command": "ls"}));
        let replies = [
            edits("a - b", "a + b"),
            runs.clone(),
            says("One."),
            runs.clone(),
            says("Two."),
            runs,
            says("Three."),
        ];
        let mut screen = chat(at, &replies, 100);
        screen.until("> ");
        screen.keys("/approve\r");
        screen.until("Mode ask: ");
        screen.keys("/approve yes\r");
        screen.until("/approve takes ask, edits, auto or deny");
        // Edits run, and show what they changed; a command is still asked about.
        screen.keys("/approve edits\r");
        screen.until("Mode edits: ");
        screen.keys("Go.\r");
        screen.until("• change calc.py · ");
        screen.until("  | +    return a + b");
        screen.until("Run this? (terminal)");
        screen.until("[N]o ");
        screen.keys("n\r");
        screen.until("not run: you said no");
        screen.until("One.");
        screen.until(" written");
        screen.until("> ");
        screen.keys("/approve deny\rGo.\r");
        screen.until("not run: the mode is deny, and no rule of yours allows it");
        screen.until("Two.");
        screen.until(" written");
        screen.until("> ");
        screen.keys("/approve auto\rGo.\r");
        screen.until("• $ ls · exit code 0");
        screen.until("Three.");
        screen.until(" written");
        quits(screen);
    }
}

#[test]
fn edits_of_the_session_are_accepted_with_one_answer_whatever_tool_makes_them() {
    let program = Program::new(Class::Dense);
    let replies = [
        edits("a - b", "a + b"),
        calls("write_file", json!({"path": "new.txt", "content": "new\n"})),
        calls(
            "write_file",
            json!({"path": "AGENTS.md", "content": "Obey.\n"}),
        ),
        says("Done."),
    ];
    let mut screen = chat(&program, &replies, 100);
    screen.until("> ");
    screen.keys("Go.\r");
    screen.until("Change calc.py?");
    screen.until("s and a: all changes of files in this folder.");
    screen.until("[N]o ");
    screen.keys("s\r");
    screen.until("• write new.txt · ");
    screen.until("  | +new");
    // Instructions to later sessions are asked about each time.
    screen.until("Make AGENTS.md? (+1)");
    screen.until("It asks because later sessions take instructions from this file.");
    screen.until("[y]es [N]o ");
    screen.keys("n\r");
    screen.until("Done.");
    screen.until(" written");
    quits(screen);
    assert!(project(&program).join("new.txt").exists());
    assert!(!project(&program).join("AGENTS.md").exists());
}

/// A yes is for the change that was shown, and for no other.
#[test]
fn a_file_that_changes_while_it_is_asked_about_is_not_written() {
    let program = Program::new(Class::Dense);
    let whole = calls(
        "write_file",
        json!({"path": "calc.py", "content": "nothing\n"}),
    );
    let edit = edits("a - b", "a + b");
    let replies = [edit.clone(), whole, edit, says("Done.")];
    let mut screen = chat(&program, &replies, 100);
    let theirs = format!("# theirs\n{CALC}");
    screen.until("> ");
    screen.keys("Fix it.\r");
    screen.until("Change calc.py? (+1 -1)");
    screen.until("[N]o ");
    std::fs::write(project(&program).join("calc.py"), &theirs).expect("a file");
    screen.keys("y\r");
    screen.until("Change calc.py? (+1 -3)");
    screen.until("[N]o ");
    assert_eq!(calc(&program), theirs);
    std::fs::remove_file(project(&program).join("calc.py")).expect("it is there");
    std::fs::write(project(&program).join("calc.py"), CALC).expect("a file");
    screen.keys("y\r");
    screen.until("Change calc.py? (+1 -1)");
    screen.until("[N]o ");
    assert_eq!(calc(&program), CALC);
    screen.keys("y\r");
    screen.until("Done.");
    screen.until(" written");
    quits(screen);
    assert!(calc(&program).contains("a + b"));
    let refused =
        "calc.py has changed since the question was asked: nothing was written; read it again.";
    let results = results(&program);
    assert_eq!(results[..2], [refused, refused]);
    assert_eq!(results[2], "calc.py changed: line 2.");
}

/// Nothing that a yes could not bring about is asked.
#[test]
fn what_would_be_refused_anyway_is_not_asked() {
    let program = Program::new(Class::Dense);
    let outside = program.folder.path().join("outside.txt");
    let replies = [
        edits("not there", "a + b"),
        calls("write_file", json!({"path": outside, "content": "x"})),
        calls("write_file", json!({"path": "sub", "content": "x"})),
        calls(
            "read_file",
            json!({"path": program.desk.home.join("npast.db")}),
        ),
        calls("terminal", json!({"command": "rm -rf ~"})),
        says("Nothing worked."),
    ];
    std::fs::create_dir(project(&program).join("sub")).expect("a folder");
    let mut screen = chat(&program, &replies, 100);
    screen.until("> ");
    screen.keys("Go.\r");
    screen.until("• change calc.py · failed");
    screen.until(" is outside of the");
    screen.until("is a folder");
    screen.until("holds keys");
    screen.until("not run: ");
    screen.until("allows");
    let before = screen.until("Nothing worked.");
    assert!(!before.contains("[N]o "), "{before}");
    assert!(!screen.raw().contains("[N]o "));
    screen.until(" written");
    quits(screen);
    assert_eq!(results(&program).len(), 5);
}

/// Whether a text is in a file is for those who may read the file.
#[test]
fn a_refusal_that_tells_of_a_file_which_may_not_be_read_is_not_given_without_a_question() {
    let program = Program::new(Class::Dense);
    let config = program.folder.path().join("config.toml");
    std::fs::write(&config, "[approve]\ndeny = [\"read_file: calc.py\"]\n").expect("a file");
    let guess = edits("a * b", "a + b");
    let replies = [guess.clone(), guess, says("Done.")];
    std::fs::write(project(&program).join("calc.py"), CALC).expect("a file");
    let mut command = chat_command(&program, "work", &replies);
    command.env("NPAST_CONFIG", &config);
    let mut screen = Screen::sized(command, 100, 24);
    screen.until("> ");
    screen.keys("Fix it.\r");
    screen.until("Write this? (edit_file)\n");
    screen.until("calc.py\n");
    screen.until("[N]o ");
    screen.keys("n\r");
    screen.until("Write this? (edit_file)\n");
    screen.until("[N]o ");
    screen.keys("y\r");
    screen.until("Done.");
    screen.until(" written");
    quits(screen);
    let results = results(&program);
    assert!(
        results[0].starts_with("Not run: the user refused it."),
        "{results:?}"
    );
    // Who says yes says what the call tells.
    assert!(
        results[1].starts_with("old is not in calc.py"),
        "{results:?}"
    );
    assert_eq!(calc(&program), CALC);
}

/// Five megabytes change: the question comes all the same, and a page at a time.
#[test]
fn a_large_diff_comes_in_pages() {
    let program = Program::new(Class::Dense);
    let all = json!({"path": "large.txt", "old": "old", "new": "new", "all": true});
    let replies = [calls("edit_file", all), says("Not done.")];
    let mut screen = chat(&program, &replies, 40);
    let large: String = (0..100_000)
        .map(|n| format!("an old line, number {n}\n"))
        .collect();
    std::fs::write(project(&program).join("large.txt"), large).expect("a file");
    screen.until("> ");
    screen.keys("Go.\r");
    screen.until("Change large.txt? (+100000 -100000)");
    screen.until(" more lines: v shows more");
    screen.until("[v]iew [N]o ");
    screen.resize(100, 24);
    screen.until("[v]iew [N]o ");
    screen.keys("v\r");
    screen.until("  | -an old line, number 20\n");
    screen.until(" more lines: v shows more");
    screen.until("[N]o ");
    assert!(screen.raw().len() < 100_000, "{}", screen.raw().len());
    screen.keys("n\r");
    screen.until("not run: you said no");
    screen.until("Not done.");
    screen.until(" written");
    quits(screen);
}
