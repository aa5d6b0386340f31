//! Commands that flood, hang, fork, close their output or ask for input: bounded and explained.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::atomic::Ordering;

use serde_json::json;

use crate::yard::Yard;

/// The sandbox is tested elsewhere; these work on systems without one too.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|s| !s.contains(") Z "))
}

#[test]
fn a_flood_is_kept_at_both_ends_and_in_a_file() {
    let yard = Yard::default();
    let registry = yard.registry(false);
    let command = "echo first; head -c 5000000 /dev/zero | tr '\\0' 'x' | fold -w 99; echo last";
    let answer = yard.call(&registry, "f1", &json!({"command": command}));
    assert!(
        answer.ok && answer.text.len() < 20_000,
        "{}",
        answer.text.len()
    );
    assert!(answer.text.starts_with("first\nxxx"));
    assert!(
        answer.text.ends_with("last\nExit code 0."),
        "{}",
        answer.text
    );
    let file = yard.at("home/temp/output-f1.txt");
    assert!(answer.text.contains(&format!(
        "5.1 MB in all; all of it is in {}",
        file.display()
    )));
    assert!(std::fs::read_to_string(file).unwrap().ends_with("xlast\n"));
}

#[test]
fn a_flood_without_end_is_ended() {
    let yard = Yard::default();
    let registry = yard.registry(false);
    let answer = yard.call(&registry, "f2", &json!({"command": "yes"}));
    assert!(!answer.ok);
    assert!(
        answer
            .text
            .ends_with("It wrote more than 64 MiB and was ended."),
        "{}",
        answer.text
    );
    assert!(answer.text.len() < 20_000);
}

#[test]
fn a_command_that_hangs_is_ended_at_its_time_with_all_it_started() {
    let yard = Yard::default();
    let registry = yard.registry(false);
    let command =
        "trap '' TERM; (setsid sleep 100000 >/dev/null & echo $! > pid); echo begun; sleep 100000";
    let answer = yard.call(&registry, "h1", &json!({"command": command, "timeout": 1}));
    assert!(!answer.ok);
    assert!(
        answer
            .text
            .starts_with("begun\nIt took longer than 1 s and was ended."),
        "{}",
        answer.text
    );
    assert!(!runs(
        &std::fs::read_to_string(yard.at("home/work/pid")).unwrap()
    ));
}

/// The control between npast and a supervisor is nobody else's: a program that has it could say how it
/// ended, and hear npast's orders in the supervisor's place. Nor does a program get what npast itself was
/// started with.
#[test]
fn a_program_has_its_input_output_and_error_and_no_other_file() {
    let yard = Yard::default();
    let inherited = std::fs::File::open(yard.at("home")).unwrap();
    rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty()).unwrap();
    for sandboxed in [false, true] {
        let registry = yard.registry(sandboxed);
        let command = "ls /proc/$$/fd; true";
        let answer = yard.call(&registry, "fd", &json!({"command": command}));
        assert_eq!(
            answer.text, "0\n1\n2\nExit code 0.",
            "sandboxed: {sandboxed}"
        );
        let command = "for n in {3..9}; do echo '{\"code\":0,\"signal\":null,\"left\":0}' >&$n; done \
                       2>/dev/null; exit 7";
        let answer = yard.call(&registry, "end", &json!({"command": command}));
        assert_eq!((answer.ok, &*answer.text), (false, "Exit code 7."));
    }
}

/// The supervisor is stopped by its own program, so it hears nothing.
#[test]
fn nothing_outlives_a_command_whose_keeper_does_not_answer() {
    let yard = Yard::default();
    let registry = yard.registry(false);
    let command =
        "kill -STOP $PPID; (setsid sleep 100000 >/dev/null & echo $! > pid); sleep 100000";
    let answer = yard.call(&registry, "k1", &json!({"command": command, "timeout": 1}));
    assert!(!answer.ok, "{}", answer.text);
    let pid = std::fs::read_to_string(yard.at("home/work/pid")).unwrap();
    assert!(!runs(&pid), "{}", answer.text);
}

#[test]
fn a_program_that_closes_its_output_is_waited_for() {
    let yard = Yard::default();
    let registry = yard.registry(false);
    let command = "exec >/dev/null 2>&1; i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; echo done > here; exit 7";
    let answer = yard.call(&registry, "c1", &json!({"command": command}));
    assert_eq!(answer.text, "Exit code 7.");
    assert!(yard.at("home/work/here").exists());
}

#[test]
fn a_program_that_asks_gets_nothing_and_the_model_a_hint() {
    let yard = Yard::default();
    let registry = yard.registry(false);
    let command = "printf 'Go on? [y/N] '; read answer || exit 1";
    let answer = yard.call(&registry, "a1", &json!({"command": command}));
    assert_eq!(
        answer.text,
        "Go on? [y/N] \nExit code 1. It seems to ask for input, and there is none: give the answer \
         as an argument or by a pipe."
    );
}

#[test]
fn an_interrupt_ends_the_command_and_its_children() {
    let yard = Yard::default();
    let registry = yard.registry(false);
    let command = "sleep 100000 & echo $! > pid.new; mv pid.new pid; wait";
    let answer = std::thread::scope(|scope| {
        let running = scope.spawn(|| yard.call(&registry, "i1", &json!({"command": command})));
        while !yard.at("home/work/pid").exists() {
            std::thread::yield_now();
        }
        yard.cancel.store(true, Ordering::Relaxed);
        running.join().unwrap()
    });
    assert!(
        answer
            .text
            .starts_with("The user interrupted it; it was ended."),
        "{}",
        answer.text
    );
    assert!(!runs(
        &std::fs::read_to_string(yard.at("home/work/pid")).unwrap()
    ));
}

#[test]
fn background_jobs_are_polled_killed_and_end_with_the_session() {
    let yard = Yard::default();
    let registry = yard.registry(false);
    let run = |n: &str, arguments| yard.call(&registry, n, &arguments).text;
    let wait = "while ! [ -e go ]; do :; done";
    let first = format!("echo one; touch ready; {wait}; echo two");
    assert_eq!(
        run("b1", json!({"command": first, "background": true})),
        "Job 1 runs in the background."
    );
    let second = "sleep 100000 & echo $! > pid.new; mv pid.new pid; wait";
    assert_eq!(
        run("b2", json!({"command": second, "background": true})),
        "Job 2 runs in the background."
    );
    while !yard.at("home/work/ready").exists() || !yard.at("home/work/pid").exists() {
        std::thread::yield_now();
    }
    let mut text = String::new();
    while !text.contains("one\n") {
        text = run("b3", json!({"action": "poll", "job": 1}));
    }
    assert_eq!(text, "one\nJob 1 still runs.");
    std::fs::write(yard.at("home/work/go"), "").unwrap();
    text.clear();
    while !text.contains("Exit code") {
        let news = run("b4", json!({"action": "poll", "job": 1}));
        text.push_str(&news.replace("Job 1 still runs.", ""));
    }
    assert_eq!(text, "two\nJob 1: Exit code 0.");
    assert_eq!(
        run("b5", json!({"action": "poll", "job": 1})),
        "There is no job 1; these run: 2."
    );
    let pid = std::fs::read_to_string(yard.at("home/work/pid")).unwrap();
    assert!(runs(&pid));
    assert!(run("b6", json!({"action": "kill", "job": 2})).starts_with("Job 2: It was ended."));
    assert!(!runs(&pid));

    std::fs::remove_file(yard.at("home/work/pid")).unwrap();
    run("b7", json!({"command": second, "background": true}));
    while !yard.at("home/work/pid").exists() {
        std::thread::yield_now();
    }
    let pid = std::fs::read_to_string(yard.at("home/work/pid")).unwrap();
    drop(registry);
    assert!(!runs(&pid), "a job outlived its session");
}

#[test]
fn a_long_script_runs_as_it_is() {
    let yard = Yard::default();
    let registry = yard.registry(false);
    let text = "a \"line\" of 'it'\\\n".repeat(1_500);
    let command = format!("cat > out <<'E'\n{text}E\necho done");
    assert!(command.len() > 25_000);
    let answer = yard.call(&registry, "l1", &json!({"command": command}));
    assert_eq!(answer.text, "done\nExit code 0.");
    let written = std::fs::read_to_string(yard.at("home/work/out")).unwrap();
    assert_eq!(written, text);
    let long = "x".repeat(40_000);
    let answer = yard.call(&registry, "l2", &json!({"command": long}));
    assert!(!answer.ok && answer.text.contains("longer than 32 KiB"));
}

/// Servers of tools are started so: their own standard input and output, ended by SIGTERM.
#[test]
fn a_wrapped_program_talks_and_ends_with_all_it_started() {
    let yard = Yard::default();
    let words = [
        "/bin/sh",
        "-c",
        "setsid sleep 100000 >/dev/null & echo $!; cat",
    ];
    let words = words.map(std::ffi::OsString::from);
    let mut command = yard
        .sandbox(false)
        .wrap(&words, &yard.at("home/work"))
        .unwrap();
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let pid = lines.next().unwrap().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"hello\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "hello");
    assert!(runs(&pid));
    let supervisor = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(supervisor, rustix::process::Signal::TERM).unwrap();
    child.wait().unwrap();
    assert!(lines.next().is_none());
    assert!(!runs(&pid));
}

#[test]
fn what_cannot_be_run_is_said() {
    let yard = Yard::default();
    let registry = yard.registry(false);
    let table = [
        (json!({}), "run needs a command."),
        (
            json!({"command": "a\0b"}),
            "A command cannot hold a NUL character.",
        ),
        (json!({"action": "kill"}), "kill needs the number of a job."),
        (
            json!({"action": "poll", "job": 9}),
            "There is no job 9; none runs.",
        ),
    ];
    for (arguments, want) in table {
        assert_eq!(yard.call(&registry, "w", &arguments).text, want);
    }
    std::fs::remove_dir_all(yard.at("home/work")).unwrap();
    let answer = yard.call(&registry, "gone", &json!({"command": "ls"}));
    assert!(
        !answer.ok && answer.text.contains("No such file"),
        "{}",
        answer.text
    );
}
