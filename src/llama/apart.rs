//! Work on untrusted bytes in a process of its own. llama.cpp ends the process that it runs in
//! when a value breaks an assertion, divides by zero or recurses for ever, and no limit can be set
//! on a thread. So a chat template renders, and a model that is not known yet loads, in a child of
//! npast: it has a limit of memory and of processor time, it can be ended at any moment, and what
//! it ends with becomes a sentence.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// The word by which the program starts itself for such work; not a command for people.
pub const SUBCOMMAND: &str = "llama-exec";

/// How a process for such work is started, and what ends the work early.
#[derive(Clone, Debug)]
pub struct Apart {
    program: PathBuf,
    stop: fn() -> bool,
}

impl Apart {
    /// `program` is npast; `stop` says whether the user wants to stop.
    pub fn new(program: impl Into<PathBuf>, stop: fn() -> bool) -> Apart {
        Apart {
            program: program.into(),
            stop,
        }
    }

    /// Whether the user wants to stop.
    pub fn stop(&self) -> bool {
        (self.stop)()
    }

    /// A child for a task. Its standard input and output are pipes, and it ends with its input.
    /// Ctrl-C on the terminal is not for it.
    ///
    /// # Errors
    /// The system's.
    pub fn start(&self, task: impl AsRef<OsStr>) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        command
            .arg(SUBCOMMAND)
            .arg(task)
            // ggml runs a debugger on a process that it aborts.
            .env("GGML_NO_BACKTRACE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;
            // Not the name by which it was found.
            command.arg0("npast").process_group(0);
        }
        command.spawn()
    }
}

/// What ended a child, in words that follow "it ended with".
pub fn cause_of_death(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let words = match rustix::process::Signal::from_named_raw(signal) {
            Some(rustix::process::Signal::ABORT) => "an abort, as for too deep a stack",
            Some(rustix::process::Signal::FPE) => "a division by zero",
            Some(rustix::process::Signal::SEGV | rustix::process::Signal::BUS) => {
                "a wrong address or too deep a stack"
            }
            Some(rustix::process::Signal::ILL) => "an instruction that this CPU does not have",
            Some(rustix::process::Signal::KILL) => "a kill, as when the system has no room left",
            Some(rustix::process::Signal::XCPU) => "no processor time left",
            _ => "a signal",
        };
        return format!("{words} (signal {signal})");
    }
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => "an unknown state".to_owned(),
    }
}

/// The process that calls this leaves no core file: it holds untrusted bytes and the user's words.
pub fn no_core_file() {
    #[cfg(unix)]
    set(rustix::process::Resource::Core, 0);
}

#[cfg(unix)]
fn set(what: rustix::process::Resource, most: u64) {
    use rustix::process::{Rlimit, getrlimit, setrlimit};
    let hard = getrlimit(what).maximum;
    let limit = Rlimit {
        current: Some(hard.map_or(most, |hard| most.min(hard))),
        maximum: hard,
    };
    if let Err(error) = setrlimit(what, limit) {
        tracing::debug!(%error, "a limit was not set");
    }
}

/// Limits of the process that calls this: until the next call at most `seconds`
/// more of processor time and `bytes` more of memory. `base` is [`own_memory`] at the start. Where
/// the system has no such limit there is none.
pub(super) fn limit(base: u64, seconds: u64, bytes: u64) {
    #[cfg(unix)]
    {
        use rustix::process::Resource;
        // Whole seconds: what was taken is rounded up.
        let taken = processor_time().as_secs() + 1;
        set(Resource::Cpu, taken.saturating_add(seconds));
        set(Resource::Data, base.saturating_add(bytes));
    }
    #[cfg(not(unix))]
    let _ = (base, seconds, bytes);
}

/// Processor time that this process took; nothing where the system does not say.
pub(super) fn processor_time() -> Duration {
    #[cfg(unix)]
    {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::try_from(now).unwrap_or_default()
    }
    #[cfg(not(unix))]
    Duration::ZERO
}

/// Bytes of this process's private writable memory, which [`limit`] counts; 0 where it is unknown.
pub(super) fn own_memory() -> u64 {
    #[cfg(target_os = "linux")]
    {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let data = pages.split(' ').nth(5).and_then(|n| n.parse::<u64>().ok());
        data.unwrap_or(0) * rustix::param::page_size() as u64
    }
    #[cfg(not(target_os = "linux"))]
    0
}
