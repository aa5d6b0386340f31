//! The command line as people type it by habit: short forms, flags of other programs, several names at
//! once, narrow windows, odd surroundings.

use std::process::{Command, Output, Stdio};

use npast::session::Db;
use rustix::process::Signal;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use crate::gateway::Server;
use crate::model::Class;
use crate::program::{Program, Ran};
use crate::screen::Screen;

fn run(program: &Program, args: &[&str]) -> Output {
    program.command(args).output().expect("a run")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Sessions of these names, without a model.
fn stored(program: &Program, names: &[&str]) {
    for name in names {
        let line = json!({"messages": [
            {"role": "user", "content": "What is this?"},
            {"role": "assistant", "content": "A test."},
        ]});
        let file = program.folder.path().join("line.jsonl");
        std::fs::write(&file, line.to_string()).expect("a file");
        let done = run(
            program,
            &["sessions", "import", "line.jsonl", "--name", name],
        );
        assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
    }
}

fn names(program: &Program) -> Vec<String> {
    let db = Db::open(&program.desk.home.join("npast.db")).expect("npast.db");
    let all = db.list().expect("a list");
    let mut names: Vec<String> = all.into_iter().map(|one| one.session.name).collect();
    names.sort();
    names
}

/// A one-shot with a prepared reply.
fn once(program: &Program, args: &[&str]) -> Command {
    let script = program.folder.path().join("script.jsonl");
    std::fs::write(&script, json!({"content": "Good day."}).to_string()).expect("a script");
    let mut command = program.command(&[]);
    command
        .args(&program.flags)
        .arg("-m")
        .arg(&program.desk.model)
        .arg("--script")
        .arg(script)
        .args(args);
    command
}

/// A terminal that runs a line of a shell, which finds the program as `npast`.
fn shell(program: &Program, line: &str, columns: u16) -> Screen {
    let like = program.command(&[]);
    let bin = program.folder.path().join("bin");
    std::fs::create_dir_all(&bin).expect("a folder");
    let _ = std::os::unix::fs::symlink(like.get_program(), bin.join("npast"));
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg(line)
        .env_clear()
        .envs(like.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .current_dir(program.folder.path());
    Screen::sized(command, columns, 24)
}

#[test]
fn sessions_are_listed_kv_is_status_and_help_is_help() {
    let program = Program::new(Class::Dense);
    stored(&program, &["a", "b", "c"]);
    assert_eq!(
        out(&run(&program, &["sessions"])),
        out(&run(&program, &["sessions", "list"]))
    );
    let two = run(&program, &["sessions", "-n", "2"]);
    assert_eq!(out(&two).lines().count(), 3, "{}", out(&two));
    assert!(errors(&two).contains("… 1 more"), "{}", errors(&two));
    let lines = Ran::of(&run(&program, &["sessions", "-n", "1", "--json"]));
    assert_eq!((lines.events.len(), lines.errors.as_str()), (1, ""));
    let mut elsewhere = program.command(&["sessions", "--here", "--json"]);
    let elsewhere = elsewhere.current_dir("/").output().expect("a run");
    assert_eq!(
        (out(&elsewhere).as_str(), elsewhere.status.code()),
        ("", Some(0))
    );
    for (args, part) in [
        (&["kv"][..], "kv"),
        (&["cron"], "no jobs"),
        (&["help"], "Examples:"),
        (&["help", "sessions", "rm"], "--older-than"),
        (&["version"], "llama.cpp"),
    ] {
        let done = run(&program, args);
        assert_eq!(done.status.code(), Some(0), "{args:?}: {}", errors(&done));
        let all = out(&done) + &errors(&done);
        assert!(all.contains(part), "{args:?}: {all}");
    }
}

#[test]
fn several_sessions_go_at_once_by_name_by_pattern_and_by_age() {
    let program = Program::new(Class::Dense);
    stored(
        &program,
        &["work", "two words", "test-1", "test-2", "é", "last"],
    );
    let rm = |args: &[&str]| {
        let done = run(&program, &[&["sessions", "rm"], args].concat());
        (done.status.code(), errors(&done))
    };
    // Nothing goes where one of them is not there, or nobody was asked.
    for (args, part) in [
        (
            &["work", "gone", "-y"][..],
            "\"gone\" is not in the session database",
        ),
        (
            &["work", "gone-*", "-y"],
            "no session has a name like gone-*",
        ),
        (&["test-*"], "removing 2 sessions has no way back"),
        (&["work"], "removing \"work\" has no way back"),
        (&["-y"], "required"),
        (&["work", "--older-than", "never"], "30d"),
    ] {
        let (code, said) = rm(args);
        assert!(code != Some(0) && said.contains(part), "{args:?}: {said}");
    }
    assert_eq!(names(&program).len(), 6);
    let (code, said) = rm(&["--older-than", "1d", "-y"]);
    assert_eq!((code, said.contains("used more recently")), (Some(0), true));
    assert_eq!(rm(&["test-*", "two*", "work", "-y"]).0, Some(0));
    assert_eq!(names(&program), ["last", "é"]);
    // On a terminal the question names them.
    stored(&program, &["test-1", "test-2"]);
    let mut screen = shell(&program, "npast sessions rm 'test-*'", 40);
    screen.until("test-1");
    screen.until("test-2");
    screen.until("[y/N]");
    screen.keys("n\r");
    assert_eq!(screen.leave().0, Some(1));
    assert_eq!(names(&program).len(), 4);
    let mut screen = shell(&program, "npast sessions rm 'test-*' last", 40);
    screen.until("Remove these 3 sessions");
    screen.until("[y/N]");
    screen.keys("y\r");
    screen.until("3 sessions are removed.");
    assert_eq!(screen.leave().0, Some(0));
    assert_eq!(names(&program), ["é"]);
    // A session that goes on as another one is as old as that one.
    stored(&program, &["went on", "past"]);
    let file = program.desk.home.join("npast.db");
    let db = rusqlite::Connection::open(file).expect("npast.db");
    db.execute_batch(
        "UPDATE sessions SET used_ms = 0 WHERE name IN ('went on', 'past');
         UPDATE sessions SET successor = (SELECT id FROM sessions WHERE name = 'é')
             WHERE name = 'went on';",
    )
    .expect("an old conversation");
    drop(db);
    assert_eq!(rm(&["--older-than", "1d", "-y"]).0, Some(0));
    assert_eq!(names(&program), ["went on", "é"]);
}

#[test]
fn a_word_near_a_subcommand_is_asked_about_and_not_said_to_the_model() {
    let program = Program::new(Class::Dense);
    for (word, near) in [
        ("list", "`npast sessions` or `npast models`"),
        ("pull", "`npast models pull`"),
        ("sesions", "`npast sessions`"),
    ] {
        let done = run(&program, &[word]);
        let said = errors(&done);
        assert_eq!(done.status.code(), Some(2), "{said}");
        assert!(
            said.contains(&format!("there is no subcommand {word}")),
            "{said}"
        );
        assert!(said.contains(near), "{said}");
    }
    for columns in [40, 100] {
        let mut screen = shell(&program, "npast list", columns);
        screen.until("There is no subcommand list");
        screen.until("[y/N]");
        screen.keys("\r");
        screen.until("npast -p list");
        assert_eq!(screen.leave().0, Some(2));
    }
    // It is a message where that is beyond doubt.
    let done = once(&program, &["--session", "a", "-p", "list"])
        .output()
        .expect("a run");
    assert_eq!(
        (done.status.code(), out(&done).trim()),
        (Some(0), "Good day.")
    );
}

#[test]
fn a_list_fits_the_width_of_its_terminal() {
    let program = Program::new(Class::Dense);
    let long = "a-very-long-name-that-nobody-types-twice-and-that-is-a-hundred-bytes-long";
    stored(&program, &[long, "work", "日本語の長い名前のセッション"]);
    for columns in [20, 40, 60, 100] {
        let mut screen = shell(&program, "npast sessions", columns);
        screen.leave();
        let rows = screen.rows();
        let shown: Vec<&String> = rows.iter().filter(|row| !row.trim().is_empty()).collect();
        assert_eq!(shown.len(), 4, "{columns}: {rows:#?}");
        assert!(shown[0].contains("name"), "{columns}: {rows:#?}");
        assert!(shown.iter().any(|row| row.starts_with("work")), "{rows:#?}");
        let widest = shown.iter().map(|row| row.trim_end().width()).max();
        assert!(widest <= Some(usize::from(columns)), "{columns}: {rows:#?}");
        println!(
            "{columns}\n{}",
            shown.iter().map(|r| format!("{r}\n")).collect::<String>()
        );
    }
    // A program gets all of it.
    assert!(out(&run(&program, &["sessions"])).contains(long));
}

#[test]
fn nothing_is_kept_of_a_one_shot_without_a_session() {
    let program = Program::new(Class::Dense);
    stored(&program, &["work"]);
    let done = once(&program, &["--no-session", "-p", "Hello there"])
        .output()
        .expect("a run");
    assert_eq!(
        (done.status.code(), out(&done).trim()),
        (Some(0), "Good day."),
        "{}",
        errors(&done)
    );
    assert_eq!(names(&program), ["work"]);
    let refused = once(&program, &["--no-session", "--session", "a", "x"])
        .output()
        .expect("a run");
    assert_eq!(refused.status.code(), Some(2));
    // Through the gateway too.
    let server = Server::start(program, &[], &[]);
    let done = once(&server.program, &["--no-session", "Hello there"])
        .output()
        .expect("a run");
    assert_eq!(
        (done.status.code(), out(&done).trim()),
        (Some(0), "Good day."),
        "{}",
        errors(&done)
    );
    assert_eq!(names(&server.program), ["work"]);
}

#[test]
fn flags_of_llama_cpp_are_understood() {
    let program = Program::new(Class::Dense);
    let script = program.folder.path().join("script.jsonl");
    std::fs::write(&script, json!({"content": "Good day."}).to_string()).expect("a script");
    let line = "--json -ngl 0 -t 1 --ctx-size 4096 -ctk f16 -ctv f16 -fa on -s 7 --predict 9 --script \
                script.jsonl --session work -p Hello";
    let mut command = program.command(&line.split(' ').collect::<Vec<_>>());
    let ran = Ran::of(
        &command
            .arg("-m")
            .arg(&program.desk.model)
            .output()
            .expect("a run"),
    );
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let db = Db::open(&program.desk.home.join("npast.db")).expect("npast.db");
    assert_eq!(db.find("work").expect("a query").expect("work").seed, 7);
    let refused = run(&program, &["-c", "4096", "Hello"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        errors(&refused).contains("--ctx 4096"),
        "{}",
        errors(&refused)
    );
}

#[test]
fn the_configuration_is_printed_with_every_key_explained() {
    let program = Program::new(Class::Dense);
    let file = program.folder.path().join(".config/npast/config.toml");
    let none = run(&program, &["config"]);
    assert!(out(&none).contains("(there is none yet)"), "{}", out(&none));
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    // What is printed can be the file.
    std::fs::write(&file, out(&none)).expect("a file");
    assert_eq!(run(&program, &["config"]).status.code(), Some(0));
    std::fs::write(&file, "top-k = 7\nchat-template = \"~/t.jinja\"\n").expect("a file");
    let text = out(&run(&program, &["config"]));
    assert!(
        text.contains("\ntop-k = 7\n") && text.contains("# temp = 0.8\n"),
        "{text}"
    );
    let event: Value =
        serde_json::from_str(&out(&run(&program, &["config", "--json"]))).expect("JSON");
    assert_eq!(
        (&event["file"]["top-k"], &event["exists"]),
        (&json!(7), &json!(true))
    );
    // The ~ is the home folder.
    let refused = once(&program, &["Hello"]).output().expect("a run");
    let template = program.folder.path().join("t.jinja").display().to_string();
    assert!(errors(&refused).contains(&template), "{}", errors(&refused));
    std::fs::write(&file, "top_k = 7\n").expect("a file");
    let wrong = run(&program, &["config"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        errors(&wrong).contains("did you mean \"top-k\"?"),
        "{}",
        errors(&wrong)
    );
}

#[test]
fn a_piped_one_shot_says_that_it_has_no_tools() {
    let program = Program::new(Class::Dense);
    let line = |more: &str| {
        let command = once(&program, &[]);
        let args = command
            .get_args()
            .map(|arg| format!("'{}'", arg.to_string_lossy()));
        format!(
            "echo text | npast {} {more} Hello",
            args.collect::<Vec<_>>().join(" ")
        )
    };
    for columns in [40, 100] {
        let mut screen = shell(&program, &line(""), columns);
        screen.until("has no tools");
        screen.until("Good day.");
        assert_eq!(screen.leave().0, Some(0));
    }
    for flags in ["--agent", "--no-tools", "--system brief", "-q"] {
        let mut screen = shell(&program, &line(flags), 100);
        let all = screen.all();
        assert!(
            all.contains("Good day.") && !all.contains("has no tools"),
            "{flags}: {all}"
        );
    }
}

#[test]
fn odd_surroundings_change_nothing() {
    let program = Program::new(Class::Dense);
    stored(&program, &["é 日本", "work"]);
    for (key, value) in [
        ("LC_ALL", "en_US.ISO-8859-1"),
        ("TERM", ""),
        ("TERM", "dumb"),
        ("COLUMNS", "3"),
    ] {
        let mut command = program.command(&["sessions"]);
        let done = command.env(key, value).output().expect("a run");
        assert_eq!(done.status.code(), Some(0));
        assert!(out(&done).contains("é 日本"), "{key}={value}");
    }
    // A reader that goes away.
    for line in [
        "npast sessions | head -n 1",
        "npast config | head -n 1",
        "npast help | head -n 1",
    ] {
        let mut screen = shell(&program, &format!("{line}; echo done"), 100);
        let all = screen.all();
        assert!(
            all.contains("done") && !all.contains("standard output"),
            "{line}: {all}"
        );
    }
    // Ctrl-C at a question.
    // Whoever started the tests may ignore the signal, and a program inherits that.
    let line = "exec env --default-signal=INT npast sessions rm work";
    let mut screen = shell(&program, line, 100);
    screen.until("[y/N]");
    screen.signal(Signal::INT);
    assert_ne!(screen.leave().0, Some(0));
    assert_eq!(names(&program).len(), 2);
    // Standard input that is open and silent is no answer.
    let mut command = program.command(&["sessions", "rm", "work"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("a run");
    let code = child.wait().expect("an end").code();
    assert_eq!((code, names(&program).len()), (Some(2), 2));
}
