use std::io::Write;

use super::*;

/// A console whose terminal makes lines by itself, and a pipe that stands for it.
fn console() -> (Console, std::io::PipeWriter) {
    let console = Console::new(Steering::default(), Arc::default());
    let (input, typed) = std::io::pipe().unwrap();
    let reading = Reading::start(&console.shared, input, Vec::new()).unwrap();
    *lock(&console.reading) = Some(reading);
    (console, typed)
}

/// Types once a question stands there.
fn at_the_question(console: &Console, mut typed: &std::io::PipeWriter, keys: &[u8]) {
    while !matches!(console.shared.state().mode(), Mode::Ask(_)) {
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
        console.ask("run wants to run:", "? ")
    });
    assert_eq!(answer.as_deref(), Some("no"));
    assert_eq!(console.line(""), Typed::Line("y".into()));
    assert_eq!(console.line(""), Typed::Line("later".into()));
}

#[test]
fn ctrl_c_from_elsewhere_at_a_question_is_no_answer() {
    let (console, _typed) = console();
    console.shared.cancel.store(true, Ordering::SeqCst);
    assert_eq!(console.ask("", "? "), None);
    assert!(!console.leaving());
}

/// Both are there when the line is fetched.
#[test]
fn ctrl_c_behind_a_line_is_its_turns() {
    let (console, _typed) = console();
    let line = std::thread::scope(|scope| {
        scope.spawn(|| {
            while console.shared.state().mode() != Mode::Prompt {
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
    assert_eq!(line, Typed::Line("x".into()));
    assert!(console.shared.cancel.load(Ordering::SeqCst));
}

#[test]
fn an_input_that_is_over_refuses_the_question_and_ends_the_chat() {
    let (console, typed) = console();
    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| console.ask("", "? "));
        while !matches!(console.shared.state().mode(), Mode::Ask(_)) {
            std::thread::yield_now();
        }
        drop(typed);
        asked.join().unwrap()
    });
    assert_eq!(answer, None);
    assert_eq!(console.line(""), Typed::End);
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
    typed.write_all(b"/steer not there\nqueued\n").unwrap();
    while console.shared.state().queue().is_empty() {
        std::thread::yield_now();
    }
    let left = lock(&console.shared.steering).left();
    assert_eq!(left.as_deref(), Some("not there"));
}
