//! `terminal`: a command in bash, in the foreground with a time limit or in the background with
//! poll and kill. Output is bounded whatever the program does, and nothing that a command started
//! outlives it: see [`super::sandbox`].

mod output;
mod process;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::sandbox::{ProgramEnd, Sandbox};
use super::{CallContext, Effect, FileChange, ForeseenRefusal, Spec, Subject, Tool, ToolAnswer};
use process::{CommandProcess, ProcessWait};

/// Seconds a command may take unless it says otherwise, and at most.
const TIMEOUT: u64 = 120;
const MAX_TIMEOUT: u64 = 1800;
/// Longest command, in bytes: it has to fit into a variable.
const MAX_COMMAND: usize = 32 << 10;
/// Most background commands at a time.
const MAX_JOBS: usize = 8;

/// The tool.
pub struct Terminal {
    spec: Spec,
    sandbox: Sandbox,
    jobs: Mutex<Jobs>,
}

/// Background commands by their number.
#[derive(Default)]
struct Jobs {
    last: u64,
    running: BTreeMap<u64, CommandProcess>,
}

impl Terminal {
    /// A terminal whose commands run in `sandbox`. When it is dropped, what runs is ended.
    pub fn new(sandbox: Sandbox) -> Terminal {
        let parameters = json!({
            "type": "object",
            "properties": {
                "action": {"type": "string", "enum": ["run", "poll", "kill"], "description": "default run"},
                "command": {"type": "string", "description": "for run: bash"},
                "timeout": {"type": "integer", "description": "seconds, default 120"},
                "background": {"type": "boolean", "description": "return at once with a job number"},
                "job": {"type": "integer", "description": "for poll and kill"},
            },
            "additionalProperties": false,
        });
        let description = "Run a command in the project folder. No input, no terminal; what it \
                           leaves running ends with it. Long ones: background, then poll.";
        Terminal {
            spec: Spec::new("terminal", description, parameters),
            sandbox,
            jobs: Mutex::default(),
        }
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(
        &self,
        command: &str,
        room: &CallContext<'_>,
        name: &str,
    ) -> Result<CommandProcess, ToolAnswer> {
        CommandProcess::start(&self.sandbox, command, room, name)
            .map_err(|error| ToolAnswer::bad(format!("The command could not be started: {error}.")))
    }

    fn foreground(&self, command: &str, seconds: u64, room: &CallContext<'_>) -> ToolAnswer {
        let mut process = match self.start(command, room, room.call) {
            Ok(process) => process,
            Err(answer) => return answer,
        };
        let waited = process.wait(Duration::from_secs(seconds), room);
        let stopped = match waited {
            ProcessWait::Ended => None,
            ProcessWait::Late => Some(format!(
                "It took longer than {seconds} s and was ended. Give a larger timeout, or run it in the background."
            )),
            ProcessWait::Cancelled => Some("The user interrupted it; it was ended.".to_owned()),
            ProcessWait::Flood => Some("It wrote more than 64 MiB and was ended.".to_owned()),
        };
        let end = match stopped {
            None => process.end(),
            Some(_) => process.stop(),
        };
        room.live.ended(end.as_ref().and_then(|end| end.code));
        let ok = stopped.is_none() && end.as_ref().is_some_and(|e| e.code == Some(0));
        let (text, asks) = process.output().text(room.limits);
        let mut answer = planted(end.as_ref()) + &text;
        if !answer.is_empty() && !answer.ends_with('\n') {
            answer.push('\n');
        }
        answer.push_str(&ending(end, stopped));
        if asks && !ok {
            answer.push_str(" It seems to ask for input, and there is none: give the answer as an argument or by a pipe.");
        }
        ToolAnswer { ok, text: answer }
    }

    fn background(&self, command: &str, room: &CallContext<'_>) -> ToolAnswer {
        let mut jobs = self.jobs();
        if jobs.running.len() >= MAX_JOBS {
            return ToolAnswer::bad(format!(
                "{MAX_JOBS} commands are in the background already: poll or kill one first."
            ));
        }
        let number = jobs.last + 1;
        let name = format!("{}-job{number}", room.call);
        match self.start(command, room, &name) {
            Ok(process) => {
                jobs.last = number;
                jobs.running.insert(number, process);
                ToolAnswer::good(format!("Job {number} runs in the background."))
            }
            Err(answer) => answer,
        }
    }

    fn poll(&self, number: u64, kill: bool, room: &CallContext<'_>) -> ToolAnswer {
        let mut jobs = self.jobs();
        let Some(process) = jobs.running.get_mut(&number) else {
            let known: Vec<String> = jobs.running.keys().map(u64::to_string).collect();
            let known = match known.is_empty() {
                true => "none runs".to_owned(),
                false => format!("these run: {}", known.join(", ")),
            };
            return ToolAnswer::bad(format!("There is no job {number}; {known}."));
        };
        let mut stopped = kill.then(|| "It was ended.".to_owned());
        if process.output().flooded() {
            stopped = Some("It wrote more than 64 MiB and was ended.".to_owned());
        }
        let over = stopped.is_some() || process.is_over();
        let end = match (&stopped, over) {
            (Some(_), _) => process.stop(),
            (None, true) => process.end(),
            (None, false) => None,
        };
        let (mut text, _) = process.output().news(room.limits);
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        if !over {
            text.push_str(&format!("Job {number} still runs."));
            return ToolAnswer::good(text);
        }
        jobs.running.remove(&number);
        text.insert_str(0, &planted(end.as_ref()));
        text.push_str(&format!("Job {number}: {}", ending(end, stopped)));
        ToolAnswer::good(text)
    }
}

/// The first line of a result where a command left what git would run: of a result a user sees that
/// line, and the user is who runs git.
fn planted(end: Option<&ProgramEnd>) -> String {
    let planted = end.map_or(&[][..], |end| &end.planted);
    if planted.is_empty() {
        return String::new();
    }
    // The command chose these names: none of them may end the line or reach the terminal as control text.
    let planted = planted.join("; ").replace(char::is_control, " ");
    format!("[npast: this command left what git would run: {planted}]\n")
}

/// The command of a call, if it can be run.
///
/// # Errors
/// A sentence for the model.
fn command(arguments: &Value) -> Result<&str, String> {
    let command = arguments["command"].as_str().unwrap_or_default();
    let why = match command {
        _ if command.trim().is_empty() => "run needs a command.",
        _ if command.contains('\0') => "A command cannot hold a NUL character.",
        _ if command.len() > MAX_COMMAND => {
            "The command is longer than 32 KiB: write a script to a file and run that."
        }
        _ => return Ok(command),
    };
    Err(why.to_owned())
}

/// How a command ended, in words.
fn ending(end: Option<ProgramEnd>, stopped: Option<String>) -> String {
    let (code, signal) = end.as_ref().map_or((None, None), |e| (e.code, e.signal));
    let mut words = match (stopped, code, signal) {
        (Some(why), _, _) => why,
        (None, Some(code), _) => format!("Exit code {code}."),
        (None, None, Some(signal)) => {
            format!("Ended by signal {signal} ({}).", signal_name(signal))
        }
        (None, None, None) => "It ended, and how is not known.".to_owned(),
    };
    let left = end.map_or(0, |end| end.left);
    if left > 0 {
        let (many, were) = if left == 1 {
            ("process", "was")
        } else {
            ("processes", "were")
        };
        words.push_str(&format!(" {left} {many} it left behind {were} ended."));
    }
    words
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => "illegal instruction",
        6 => "aborted",
        7 => "bus error",
        8 => "arithmetic error",
        9 => "killed",
        11 => "segmentation fault",
        13 => "broken pipe",
        15 => "terminated",
        24 => "CPU time limit",
        25 => "file size limit",
        31 => "refused system call",
        _ => "see signal(7)",
    }
}

impl Tool for Terminal {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn effect(&self, arguments: &Value) -> Effect {
        match arguments["action"].as_str() {
            Some("poll") => Effect::Reads,
            _ => Effect::Runs,
        }
    }

    fn subject(&self, arguments: &Value, _project: &Path) -> Subject {
        match arguments["action"].as_str() {
            // Commands that were approved when they began.
            Some("poll" | "kill") => Subject::Own,
            _ => Subject::Command(arguments["command"].as_str().unwrap_or_default().to_owned()),
        }
    }

    fn foresee(
        &self,
        arguments: &Value,
        _: &CallContext<'_>,
    ) -> Result<Option<FileChange>, ForeseenRefusal> {
        match arguments["action"].as_str() {
            Some("poll" | "kill") => Ok(None),
            _ => command(arguments)
                .map(|_| None)
                .map_err(ForeseenRefusal::of_arguments),
        }
    }

    fn run(&self, arguments: &Value, room: &CallContext<'_>) -> ToolAnswer {
        let action = arguments["action"].as_str().unwrap_or("run");
        if action != "run" {
            return match arguments["job"].as_u64() {
                Some(job) => self.poll(job, action == "kill", room),
                None => ToolAnswer::bad(format!("{action} needs the number of a job.")),
            };
        }
        let command = match command(arguments) {
            Ok(command) => command,
            Err(why) => return ToolAnswer::bad(why),
        };
        if let Some(granted) = room.granted
            && *granted != self.subject(arguments, room.project)
        {
            return ToolAnswer::bad("Not run: something else was approved.");
        }
        if arguments["background"].as_bool() == Some(true) {
            return self.background(command, room);
        }
        let seconds = arguments["timeout"].as_u64().unwrap_or(TIMEOUT);
        self.foreground(command, seconds.clamp(1, MAX_TIMEOUT), room)
    }
}
