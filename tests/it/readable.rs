//! What a person reads on a terminal: replies in rows of words with styles, and the last exchange of a
//! session that is opened again.

use std::os::unix::process::CommandExt;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::chats::{project, says};
use crate::model::{self, Class};
use crate::program::Program;
use crate::screen::Screen;
use crate::talk::Desk;

/// A reply with all that Markdown has.
const REPLY: &str = "## Sorting\n\nUse **sorted** for a new list and `list.sort` to sort the same list in \
    its place, as below.\n\n- an item that is longer than forty columns are wide\n\n```python\ndef f(xs):\n    \
    return sorted(xs)\n```\n\n| call | cost |\n|---|---:|\n| sort | 10 |\n\n日本語のとても長い一行の文章は二十文字で折り返す。\n";

/// A chat with these replies on a window of this size.
fn chat_of(
    program: &Program,
    columns: u16,
    rows: u16,
    flags: &[&str],
    replies: &[Value],
) -> Screen {
    on(program, columns, rows, flags, replies, Some("xterm"))
}

fn on(
    program: &Program,
    columns: u16,
    rows: u16,
    flags: &[&str],
    replies: &[Value],
    term: Option<&str>,
) -> Screen {
    let lines: Vec<String> = replies.iter().map(Value::to_string).collect();
    let script = program.folder.path().join("script.jsonl");
    std::fs::write(&script, lines.join("\n")).expect("a script");
    let mut command = program.command(flags);
    command
        .args(&program.flags)
        .arg("-m")
        .arg(&program.desk.model);
    command.arg("--script").arg(script);
    // Ctrl-Z stops a group of processes, and that is not to be the test's own.
    command.current_dir(project(program)).process_group(0);
    Screen::with_term(command, term, columns, rows)
}

fn quits(mut screen: Screen) {
    screen.keys("/quit\r");
    let (code, last) = screen.end();
    assert_eq!(code, Some(0), "{last}");
}

/// The rows from the first that has one of these words to the first behind it that has the other.
fn between(rows: &[String], first: &str, last: &str) -> Vec<String> {
    let from = rows.iter().position(|row| row.contains(first));
    let from = from.unwrap_or_else(|| panic!("{first:?} in {rows:#?}"));
    let to = rows[from..].iter().position(|row| row.contains(last));
    let to = to.unwrap_or_else(|| panic!("{last:?} in {rows:#?}"));
    rows[from..from + to].to_vec()
}

#[test]
fn a_reply_is_wrapped_and_styled_at_40_and_at_100_columns() {
    let table = [
        (
            40,
            vec![
                "Sorting",
                "",
                "Use sorted for a new list and list.sort",
                "to sort the same list in its place, as",
                "below.",
                "",
                "• an item that is longer than forty",
                "  columns are wide",
                "",
                "```python",
                "def f(xs):",
                "    return sorted(xs)",
                "```",
                "",
                "call │ cost",
                "─────┼─────",
                "sort │   10",
                "",
                "日本語のとても長い一行の文章は二十文字",
                "で折り返す。",
            ],
        ),
        (
            100,
            vec![
                "Sorting",
                "",
                "Use sorted for a new list and list.sort to sort the same list in its place, as below.",
                "",
                "• an item that is longer than forty columns are wide",
                "",
                "```python",
                "def f(xs):",
                "    return sorted(xs)",
                "```",
                "",
                "call │ cost",
                "─────┼─────",
                "sort │   10",
                "",
                "日本語のとても長い一行の文章は二十文字で折り返す。",
            ],
        ),
    ];
    for (columns, want) in table {
        let program = Program::new(Class::Dense);
        let mut screen = chat_of(
            &program,
            columns,
            60,
            &["--session", "work"],
            &[says(REPLY)],
        );
        screen.until("> ");
        screen.keys("How do I sort?\r");
        screen.until(" written");
        assert_eq!(
            between(&screen.rows(), "Sorting", " kept"),
            want,
            "{columns}"
        );
        let raw = screen.raw();
        for styled in [
            "\u{1b}[1mSorting\u{1b}[0m",
            "\u{1b}[1msorted\u{1b}[0m",
            "\u{1b}[36mlist.sort\u{1b}[0m",
            "\u{1b}[1;36m> \u{1b}[0m",
        ] {
            assert!(raw.contains(styled), "{styled:?} at {columns}: {raw:?}");
        }
        quits(screen);
    }
}

#[test]
fn without_colours_or_with_raw_a_reply_stays_as_it_was_written() {
    let reply = "some **bold** words and a `code`\n- item\n";
    let colours = |raw: &str| raw.contains("\u{1b}[1m") || raw.contains("\u{1b}[36m");
    let mut program = Program::new(Class::Dense);
    program.env = vec![("NO_COLOR".into(), "1".into())];
    let mut screen = chat_of(&program, 20, 40, &["--session", "work"], &[says(reply)]);
    screen.until("> ");
    screen.keys("Hello\r");
    screen.until(" written");
    let want = ["some **bold** words", "and a `code`", "- item"];
    assert_eq!(between(&screen.rows(), "some **", " kept")[..3], want);
    assert!(!colours(&screen.raw()), "{:?}", screen.raw());
    quits(screen);

    let program = Program::new(Class::Dense);
    let flags = ["--session", "work", "--raw"];
    let mut screen = chat_of(&program, 20, 40, &flags, &[says(reply)]);
    screen.until("> ");
    screen.keys("Hello\r");
    screen.until(" written");
    let rows = between(&screen.rows(), "some **", " kept");
    // The terminal broke the line by itself, so it is still one.
    assert_eq!(rows[0], "some **bold** words and a `code`");
    quits(screen);

    for term in [Some("dumb"), None] {
        let program = Program::new(Class::Dense);
        let mut screen = on(
            &program,
            40,
            40,
            &["--session", "work"],
            &[says(reply)],
            term,
        );
        screen.until("> ");
        screen.keys("Hello\r");
        screen.until("some **bold** words and a `code`\n- item\n");
        screen.until(" written");
        assert!(!screen.raw().contains('\u{1b}'), "{:?}", screen.raw());
        quits(screen);
    }
}

#[test]
fn a_pipe_gets_the_bytes_of_the_reply() {
    let program = Program::new(Class::Dense);
    let script = program.folder.path().join("script.jsonl");
    let reply = format!("{REPLY}\u{1b}[2J\r\n");
    std::fs::write(&script, says(&reply).to_string()).expect("a script");
    let mut command = program.command(&["--session", "work"]);
    command
        .args(&program.flags)
        .arg("-m")
        .arg(&program.desk.model);
    let output = command.arg("--script").arg(script).arg("Hello").output();
    let output = output.expect("a run");
    assert_eq!(String::from_utf8_lossy(&output.stdout), reply);
}

#[test]
fn a_window_that_changes_or_is_left_during_a_reply_keeps_every_word() {
    let words: Vec<String> = (0..600).map(|n| format!("word{n}")).collect();
    let program = Program::new(Class::Dense);
    let reply = says(&words.join(" "));
    let mut screen = chat_of(&program, 40, 30, &["--session", "work"], &[reply]);
    screen.until("> ");
    screen.keys("Speak\r");
    for (columns, word) in [
        (10, "word40"),
        (100, "word80"),
        (1, "word120"),
        (60, "word160"),
    ] {
        screen.until(word);
        screen.resize(columns, 30);
    }
    // Ctrl-Z stops the program as soon as it is read; the shell has it go on.
    screen.until("word200");
    screen.bytes(b"\x1a");
    screen.stops();
    screen.signal(Signal::CONT);
    screen.until("word599");
    screen.until(" written");
    let raw = screen.raw();
    let shown = raw.split("Speak").last().expect("a reply");
    // A sequence of the terminal may stand before a word.
    let shown: Vec<&str> = shown
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter_map(|word| Some(&word[word.find("word")?..]))
        .collect();
    assert_eq!(shown, words);
    quits(screen);
}

#[test]
fn a_narrow_window_and_bad_markdown_lose_nothing() {
    let wide = format!(
        "|{}\n|{}\n|{}\n",
        " n |".repeat(60),
        "-|".repeat(60),
        " cell |".repeat(60)
    );
    let deep: String = (0..40)
        .map(|n| format!("{}- d{n}\n", "  ".repeat(n)))
        .collect();
    let reply =
        format!("{wide}\n{deep}\n[l\u{1b}[2Jink](http://a\u{7}b)\n\n```rust\nlet unclosed = 1;");
    for columns in [10, 40] {
        let program = Program::new(Class::Dense);
        let mut screen = chat_of(
            &program,
            columns,
            50,
            &["--session", "work"],
            &[says(&reply)],
        );
        screen.until("> ");
        screen.keys("Hello\r");
        screen.until("d39");
        screen.until("unclosed = 1;");
        screen.until("written");
        let raw = screen.raw();
        assert!(
            !raw.contains("\u{1b}[2J") && !raw.contains('\u{7}'),
            "{raw:?}"
        );
        assert_eq!(raw.matches("cell").count(), 60);
        quits(screen);
    }
}

#[test]
fn who_comes_back_sees_the_last_exchange_and_where_it_stands() {
    let program = Program::new(Class::Dense);
    let replies = [says("Good **day**."), says("Fine."), says("Sure.")];
    let mut screen = chat_of(&program, 100, 40, &["--session", "work"], &replies);
    screen.until("work · ");
    let rest = screen.until("/help").replace('\n', " ");
    for words in [
        "project",
        "asks before it changes something",
        "of 16k tokens",
    ] {
        assert!(rest.contains(words), "{rest}");
    }
    screen.until("sandbox: ");
    screen.until("> ");
    screen.keys("Hello there\r");
    screen.until(" written");
    screen.keys("How are you?\r");
    screen.until("Fine.");
    screen.until(" written");
    screen.keys("/undo\r");
    screen.until("Taken back: 2 messages");
    screen.until("The last exchange:");
    screen.until("> Hello there");
    screen.until("Good day.");
    screen.until("1 turn, ");
    screen.keys("/redo\r");
    screen.until("The last exchange:");
    screen.until("> How are you?");
    screen.until("Fine.");
    screen.until("2 turns, ");
    screen.keys("/fork other\r");
    screen.until("other · ");
    screen.until("> How are you?");
    screen.until("2 turns, ");
    screen.keys("/undo 2\r");
    screen.until("Nothing was said yet.");
    screen.keys("/open work\r");
    screen.until("work · ");
    screen.until("> How are you?");
    screen.until("2 turns, ");
    screen.keys("Again?\r");
    screen.until("Sure.");
    screen.until(" written");
    quits(screen);

    for (columns, flags) in [(40, &["--session", "work"][..]), (100, &["-c"][..])] {
        let mut screen = chat_of(&program, columns, 40, flags, &[]);
        screen.until("work · ");
        screen.until("The last exchange:");
        screen.until("> Again?");
        screen.until("Sure.");
        screen.until("3 turns, ");
        let raw = screen.raw();
        assert!(
            raw.contains("\u{1b}[2mSure.\u{1b}[0m"),
            "it is dimmed: {raw:?}"
        );
        quits(screen);
    }
}

#[test]
fn a_reply_that_was_cut_is_named_when_its_session_is_opened_again() {
    let program = Program::new(Class::Dense);
    let long: String = (0..400).map(|i| format!("{i}, ")).collect();
    let mut screen = chat_of(&program, 100, 40, &["--session", "work"], &[says(&long)]);
    screen.until("> ");
    screen.keys("Count\r");
    screen.until("0, 1, ");
    screen.keys("\u{3}");
    screen.until("interrupted");
    quits(screen);
    let mut screen = chat_of(&program, 100, 40, &["--session", "work"], &[]);
    screen.until("> Count");
    screen.until("The last reply was interrupted; /continue goes on with it.");
    quits(screen);
}

#[test]
fn the_end_of_the_context_is_announced_with_what_helps() {
    let mut program = Program::new(Class::Dense);
    program.flags = ["--ctx", "1024", "--ubatch", "64", "--threads", "1"]
        .map(str::to_owned)
        .to_vec();
    let flags = ["--session", "work", "--no-tools", "--compress", "off"];
    let long = "one two three ".repeat(400);
    let near = json!({"content": "a ".repeat(800), "finish": "length"});
    for columns in [40, 100] {
        let mut screen = chat_of(
            &program,
            columns,
            40,
            &flags,
            &[near.clone(), says("Short."), says(&long)],
        );
        screen.until("> ");
        screen.keys("Speak\r");
        screen.until("The conversation has ");
        let said = screen.until("empty.");
        for way in ["/compress", "/undo", "new session"] {
            let said = said.replace('\n', " ");
            assert!(said.contains(way) && !said.contains("--ctx"), "{said}");
        }
        screen.keys("Again\r");
        screen.until("Short.");
        screen.until(" written");
        screen.keys("More\r");
        let rest = screen.until("The reply ends here");
        assert!(
            !rest.contains("The conversation has"),
            "it is said once: {rest}"
        );
        screen.until("empty.");
        screen.keys("/undo 3\r");
        screen.until("Taken back");
        quits(screen);
    }
}

#[test]
fn a_context_longer_than_the_model_was_trained_for_is_warned_of_and_never_advised() {
    let options = model::Options {
        n_ctx_train: 512,
        ..model::Options::default()
    };
    let program = Program {
        desk: Desk::with_model(&model::tiny_model(Class::Dense, &options)),
        ..Program::new(Class::Dense)
    };
    let run = |ctx: &str| {
        let mut command = program.command(&["--ctx", ctx, "--threads", "1", "--max-tokens", "2"]);
        command.arg("-m").arg(&program.desk.model);
        let output = command.arg("word ".repeat(2000)).output().expect("a run");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let errors = run("1024");
    assert!(
        errors.contains("--ctx 1024 is more than the 512 tokens that the model was trained for"),
        "{errors}"
    );
    assert!(errors.contains("nothing was stored"), "{errors}");
    let errors = run("512");
    assert!(errors.contains("nothing was stored"), "{errors}");
    assert!(!errors.contains("--ctx"), "{errors}");
    let errors = run("256");
    assert!(
        errors.contains("or give a larger --ctx: the model was trained for 512"),
        "{errors}"
    );
}
