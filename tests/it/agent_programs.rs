//! Whole turns with programs and files that misbehave: floods, hangs, forks, a closed output, a
//! question, 5 MB, bytes that are no text, a file that changes while it is read. Each is bounded and
//! explained to the model, the turn goes on, and every token is evaluated once.

use std::path::{Path, PathBuf};

use npast::agent::{CallGate, GatedCall, Input};
use npast::approve::CallDenial;
use npast::ledger::Finish;
use npast::tools::sandbox::{self, Sandbox};
use npast::tools::{Effect, ReadFile, ResultLimits, Secrets, Subject, Terminal, Tool, ToolAnswer};
use serde_json::{Value, json};

use crate::agent::{Bench, says, tool};
use crate::model::Class;
use crate::witness::{Reader, Stored};

/// Results in this story are smaller than usual, so that it fits into a small context.
const LIMITS: ResultLimits = ResultLimits {
    bytes: 2048,
    lines: 40,
};

fn tools() -> Vec<Box<dyn Tool>> {
    let program = env!("CARGO_BIN_EXE_npast").into();
    let path = [("PATH".into(), std::env::var_os("PATH").expect("a PATH"))];
    let variables = sandbox::environment(path, &[], &std::env::temp_dir());
    vec![
        Box::new(Terminal::new(Sandbox::new(program, variables))),
        Box::new(ReadFile::default()),
        tool("large", Effect::Reads, |_, _| {
            ToolAnswer::good("a line of a server\n".repeat(5_000_000 / 19))
        }),
    ]
}

/// Lets everything pass, for what it is about in this project.
pub struct Free(pub PathBuf);

impl CallGate for Free {
    fn pass(&mut self, call: &GatedCall<'_>) -> Result<Subject, CallDenial> {
        Ok(call.tool.subject(call.arguments, &self.0))
    }
}

fn call(name: &str, arguments: Value) -> String {
    let call = json!([{"name": name, "arguments": arguments}]);
    json!({"reasoning": "hm", "content": "", "tool_calls": call}).to_string()
}

fn run(command: &str) -> String {
    call("terminal", json!({"command": command, "timeout": 20}))
}

fn runs(project: &Path, file: &str) -> bool {
    let pid = std::fs::read_to_string(project.join(file)).expect("a number");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn whatever_a_program_or_a_file_does_the_turn_goes_on_and_each_token_costs_once() {
    let mut bench = Bench::thinker(Class::Hybrid);
    bench.desk.limit = 32_768;
    let project = bench.folder();
    std::fs::write(project.join("data.bin"), [0, 159, 146, 150, 0, 1]).expect("a file");
    std::fs::write(project.join("big.txt"), "a line\n".repeat(750_000)).expect("a file");
    std::fs::write(project.join("log.txt"), "a line\n".repeat(3_000_000)).expect("a file");
    let mut at = bench.open(&tools);
    let free = Free(project.clone());
    let own = at.talk.toolset(tools(), Box::new(free), Secrets::default());
    at.tools = own.expect("tools").expect("tools");
    at.tools.limits = LIMITS;

    // What is called, and how its result begins and ends.
    let table = [
        // It ends by itself, and leaves 5 MB.
        (
            run("seq 1 800000; echo over"),
            ("ok 1\n2\n", "799999\n800000\nover\nExit code 0."),
        ),
        // It does not.
        (
            run("yes"),
            ("bad y\ny\n", "It wrote more than 64 MiB and was ended."),
        ),
        (
            call(
                "terminal",
                json!({"command": "echo begun; sleep 100000", "timeout": 1}),
            ),
            (
                "bad begun\n",
                "It took longer than 1 s and was ended. Give a larger timeout, or run it in the background.",
            ),
        ),
        (
            run("setsid sleep 100000 >/dev/null & echo $! > forked; echo gone on"),
            (
                "ok gone on\n",
                "Exit code 0. 1 process it left behind was ended.",
            ),
        ),
        (
            run("exec >&- 2>&-; sleep 0; exit 7"),
            ("bad Exit code 7.", "Exit code 7."),
        ),
        (
            run("printf 'Sure? [y/N] '; read answer || exit 1"),
            (
                "bad Sure? [y/N] \nExit code 1.",
                "It seems to ask for input, and there is none: give the answer as an argument or \
                 by a pipe.",
            ),
        ),
        (
            call("large", json!({"x": ""})),
            ("ok a line of a server\n", "a line of a server\n"),
        ),
        (
            call("read_file", json!({"path": "big.txt"})),
            ("ok big.txt, lines 1-36 of 750,000 lines:\na line\n", ""),
        ),
        (
            call("read_file", json!({"path": "data.bin"})),
            ("bad data.bin is no text: binary data, 6 bytes.", ""),
        ),
        // A job in the background writes all the while.
        (
            call(
                "terminal",
                json!({"background": true, "command":
                    "echo $$ > writer; while :; do echo more >> log.txt; done"}),
            ),
            ("ok Job 1 runs in the background.", ""),
        ),
        (
            call("read_file", json!({"path": "log.txt"})),
            (
                "ok log.txt, lines 1-36 of ",
                "[log.txt was changed while it was read: parts may not belong together]",
            ),
        ),
    ];
    let mut lines: Vec<String> = table.iter().map(|(line, _)| line.clone()).collect();
    lines.push(says("Done."));
    let worked = at.work(Input::Text("Go.".into()), &lines).expect("a turn");
    worked.honest();
    let results: Vec<&String> = worked
        .story
        .iter()
        .filter(|said| said.starts_with("ok ") || said.starts_with("bad "))
        .collect();
    assert_eq!(results.len(), table.len());
    let cut = "left out; all of it is in ";
    assert!(results[6].contains(cut), "{}", results[6]);
    for ((_, (begins, ends)), result) in table.iter().zip(results) {
        assert!(
            result.starts_with(begins) && result.ends_with(ends),
            "{begins:?} … {ends:?}: {result}"
        );
        assert!(result.len() <= LIMITS.bytes + 200, "{} bytes", result.len());
    }
    assert_eq!(worked.story.last().map(String::as_str), Some("text Done."));
    assert_eq!(worked.receipts.len(), lines.len());
    let end = worked.end.expect("an end");
    assert_eq!((end.finish, end.stopped), (Finish::Stop, None));
    assert!(!runs(&project, "forked"), "what a command left was ended");
    assert!(
        runs(&project, "writer"),
        "a job lives as long as the session"
    );

    // Another process: the job is over, the template takes the history, nothing is read twice.
    let (tools_json, system) = {
        let row = bench.desk.stored("work").session;
        (row.tools, row.system)
    };
    at.close();
    assert!(!runs(&project, "writer"), "a job outlived its session");
    let mut at = bench.open(&tools);
    let worked = at.say("And?", &[says("Still done.")]);
    assert_eq!(worked.honest().story, ["text Still done."]);
    at.close();
    (bench.desk.tools, bench.desk.system) = (tools_json, system);
    Reader::of(&bench.desk).render(&Stored::of(&bench.desk, "work"));
}
