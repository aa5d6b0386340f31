use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use rustix::fs::{Mode as Rights, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use super::*;

/// A console whose terminal makes lines by itself, and a pipe that stands for it.
fn console() -> (Console, std::io::PipeWriter) {
    let console = Console::new(Arc::new(|_| {}), Arc::default());
    let (input, typed) = std::io::pipe().unwrap();
    let reading = ConsoleThreads::start(&console.shared, input, Vec::new()).unwrap();
    *lock(&console.reading) = Some(reading);
    (console, typed)
}

/// Types once a question stands there.
fn at_the_question(console: &Console, mut typed: &std::io::PipeWriter, keys: &[u8]) {
    while !matches!(console.shared.state().mode(), InputMode::Ask(_)) {
        std::thread::yield_now();
    }
    typed.write_all(keys).unwrap();
}

#[test]
fn a_question_is_answered_by_the_line_that_is_typed_after_it() {
    let (console, mut typed) = console();
    typed.write_all(b"y\n").unwrap();
    // It is read before anything is asked, so it is no answer.
    while console.shared.state().queue().is_empty() {
        std::thread::yield_now();
    }
    let answer = std::thread::scope(|scope| {
        scope.spawn(|| at_the_question(&console, &typed, b"no\nlater\n"));
        console.ask("? ")
    });
    assert_eq!(answer.as_deref(), Some("no"));
    assert_eq!(console.line(""), PromptAnswer::Line("y".into()));
    assert_eq!(console.line(""), PromptAnswer::Line("later".into()));
}

#[test]
fn ctrl_c_from_elsewhere_at_a_question_is_no_answer() {
    let (console, _typed) = console();
    console.shared.cancel.store(true, Ordering::SeqCst);
    assert_eq!(console.ask("? "), None);
    assert!(!console.leaving());
}

/// Both are there when the line is fetched.
#[test]
fn ctrl_c_behind_a_line_is_its_turns() {
    let (console, _typed) = console();
    let line = std::thread::scope(|scope| {
        scope.spawn(|| {
            while console.shared.state().mode() != InputMode::Prompt {
                std::thread::yield_now();
            }
            console.shared.change(|state| {
                for key in [Key::Char('x'), Key::Enter, Key::Interrupt] {
                    state.key(key);
                }
                console.shared.cancel.store(true, Ordering::SeqCst);
            });
        });
        console.line("")
    });
    assert_eq!(line, PromptAnswer::Line("x".into()));
    assert!(console.shared.cancel.load(Ordering::SeqCst));
}

#[test]
fn an_input_that_is_over_refuses_the_question_and_ends_the_chat() {
    let (console, typed) = console();
    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| console.ask("? "));
        while !matches!(console.shared.state().mode(), InputMode::Ask(_)) {
            std::thread::yield_now();
        }
        drop(typed);
        asked.join().unwrap()
    });
    assert_eq!(answer, None);
    assert_eq!(console.line(""), PromptAnswer::End);
}

#[test]
fn a_line_without_an_end_is_a_line_when_the_input_is_over() {
    let (console, mut typed) = console();
    typed.write_all(b"last").unwrap();
    drop(typed);
    while !console.leaving() {
        std::thread::yield_now();
    }
    assert_eq!(
        console.shared.state().queue().iter().collect::<Vec<_>>(),
        ["last"]
    );
}

#[test]
fn what_is_steered_reaches_the_turn() {
    let (console, mut typed) = console();
    let (said, heard) = channel();
    console.steer(Arc::new(move |text| said.send(text).unwrap()));
    typed.write_all(b"/steer not there\nqueued\n").unwrap();
    while console.shared.state().queue().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(heard.recv().unwrap(), "not there");
}

/// This test is two programs: the second one is on a terminal and panics.
#[test]
fn a_fault_of_npast_is_named_and_the_terminal_is_as_it_was() {
    const ON_A_TERMINAL: &str = "NPAST_TEST_ON_A_TERMINAL";
    let by_keys = |of: &File| {
        !tcgetattr(of)
            .unwrap()
            .local_modes
            .contains(LocalModes::ICANON)
    };
    if std::env::var_os(ON_A_TERMINAL).is_some() {
        crate::cli::output::harmless_panics();
        let console = Console::new(Arc::new(|_| {}), Arc::default());
        console.start();
        let input = File::from(rustix::io::dup(std::io::stdin()).unwrap());
        match by_keys(&input) {
            true => panic!("a fault of npast"),
            false => panic!("the terminal was not taken"),
        }
    }
    let own = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&own).unwrap();
    unlockpt(&own).unwrap();
    let name = ptsname(&own, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(OsStr::from_bytes(name.as_bytes()), flags, Rights::empty());
    let theirs = File::from(theirs.unwrap());
    let before = tcgetattr(&theirs).unwrap().local_modes;
    let stream = || Stdio::from(theirs.try_clone().unwrap());
    let this = "cli::console::tests::a_fault_of_npast_is_named_and_the_terminal_is_as_it_was";
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", this, "--nocapture"])
        .env(ON_A_TERMINAL, "1")
        .env("TERM", "xterm")
        .env_remove("RUST_BACKTRACE")
        .stdin(stream())
        .stdout(stream())
        .stderr(stream())
        .status();
    assert_eq!(ended.unwrap().code(), Some(101));
    // Closed, it would end the terminal. What the program showed comes before this word.
    let mut screen = File::from(own);
    (&theirs).write_all(b"the end").unwrap();
    let (mut shown, mut bytes) = (String::new(), vec![0; 4096]);
    while !shown.contains("the end") {
        let read = screen.read(&mut bytes).unwrap();
        shown.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    assert!(shown.contains("a fault of npast"), "{shown}");
    assert_eq!(tcgetattr(&theirs).unwrap().local_modes, before, "{shown}");
}
