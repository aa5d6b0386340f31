//! Standard input beside a message: read where it is the user's, said where it is silent, left where it
//! is another program's.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use npast::session::Db;
use serde_json::json;

use crate::model::Class;
use crate::program::{Program, Ran};

fn said(program: &Program) -> Vec<String> {
    let db = Db::open(&program.desk.home.join("npast.db")).expect("npast.db");
    let session = db.find("work").expect("a query").expect("a session");
    let messages = db.messages(session.id).expect("messages");
    let users = messages.iter().filter(|m| m.role == "user");
    users
        .map(|m| m.body["content"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn a_pipe_that_is_open_and_silent_is_said_and_what_comes_late_is_read() {
    let program = Program::new(Class::Dense);
    let reply = json!({"content": "Read."});
    let mut command = program.turn("work", "Review this.", Some(&reply));
    let mut child = command.stdin(Stdio::piped()).spawn().expect("a run");
    let mut errors = BufReader::new(child.stderr.take().expect("standard error")).lines();
    let line = errors.next().expect("a line").expect("text");
    assert_eq!(
        line,
        "npast: npast waits for standard input, which is open and silent"
    );
    let hint = errors.next().expect("a line").expect("text");
    assert!(hint.contains("< /dev/null"), "{hint}");
    let mut input = child.stdin.take().expect("standard input");
    input.write_all(b"a late diff\n").expect("a pipe");
    drop(input);
    let ran = Ran::of(&child.wait_with_output().expect("an end"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(said(&program), ["Review this.\n\na late diff"]);
}

#[cfg(unix)]
#[test]
fn a_loop_that_reads_lines_keeps_them_and_a_file_of_ones_own_is_read() {
    let program = Program::new(Class::Dense);
    let list = program.folder.path().join("list");
    std::fs::write(&list, "one\ntwo\nthree\n").expect("a list");
    let reply = json!({"content": "Read."});
    let turn = program.turn("work", "LINE", Some(&reply));
    // The same command line, in a loop of a shell.
    let words: Vec<String> = std::iter::once(turn.get_program())
        .chain(turn.get_args())
        .map(|word| format!("'{}'", word.to_str().expect("text")))
        .collect();
    let each = words.join(" ").replace("'LINE'", "\"$line\"");
    let shell = |script: String| {
        let mut command = program.command(&[]);
        let mut shell = std::process::Command::new("/bin/sh");
        shell
            .arg("-c")
            .arg(script)
            .current_dir(program.folder.path());
        shell.env_clear().envs(
            command
                .env_remove("X")
                .get_envs()
                .filter_map(|(k, v)| Some((k, v?))),
        );
        let ran = shell.output().expect("a shell");
        assert!(ran.status.success(), "{ran:?}");
        String::from_utf8_lossy(&ran.stderr).into_owned()
    };
    let errors = shell(format!(
        "while read -r line; do {each} || exit 9; done < '{}'",
        list.display()
    ));
    assert_eq!(said(&program), ["one", "two", "three"]);
    assert_eq!(
        errors
            .matches("left to the program that has read a part of it")
            .count(),
        3
    );
    shell(format!("line=whole; {each} < '{}'", list.display()));
    assert_eq!(said(&program)[3], "whole\n\none\ntwo\nthree");
}
