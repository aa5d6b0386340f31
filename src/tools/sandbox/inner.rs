//! The last steps before a program begins: the process gives up its rights one after another and then
//! becomes the program. If one right cannot be given up, the process ends: no program starts in a part of
//! the sandbox. Where the kernel allows a PID namespace, one more process is between: see `first`.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::process::{Resource, Rlimit, setrlimit};

#[cfg(target_os = "linux")]
use super::SandboxRules;
#[cfg(target_os = "linux")]
use super::first;
#[cfg(target_os = "linux")]
use super::rights::{drop_capabilities, hear_terminations};
#[cfg(target_os = "linux")]
use super::view::{self, OwnView};
use super::{Bounds, SandboxJob};

/// The stage `inner`: becomes the program, or starts it in namespaces of its own and waits for it.
///
/// # Errors
/// Why the program could not be started.
pub(super) fn begin(job: &SandboxJob) -> io::Result<ExitCode> {
    #[cfg(target_os = "linux")]
    close_others()?;
    // A session of its own: no terminal to type into, no group of ours to signal.
    rustix::process::setsid()?;
    limit(&job.bounds)?;
    enter(job)?;
    #[cfg(target_os = "linux")]
    {
        // When memory runs out, this goes first and not the model. Not everywhere allowed.
        let _ = std::fs::write("/proc/self/oom_score_adj", "700");
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        if let Some(rules) = &job.rules {
            rustix::thread::set_no_new_privs(true)?;
            let own = view::own(rules)?;
            if own.processes {
                return first::start(own);
            }
            no_input(job)?;
            return Err(behind(job, rules, own));
        }
    }
    #[cfg(not(target_os = "linux"))]
    if job.rules.is_some() {
        return Err(io::Error::other("this system has no sandbox"));
    }
    Err(become_it(job, None))
}

/// The stage `last`, below the first process of a namespace: becomes the program.
#[cfg(target_os = "linux")]
pub(super) fn last(job: &SandboxJob, own: OwnView) -> io::Error {
    let Some(rules) = &job.rules else {
        return io::Error::other("the job has no sandbox");
    };
    let prepared = || -> io::Result<()> {
        close_others()?;
        rustix::process::setsid()?;
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        hear_terminations()?;
        Ok(())
    };
    match prepared() {
        Ok(()) => behind(job, rules, own),
        Err(error) => error,
    }
}

/// Becomes the program in the sandbox; returns only the reason why it could not.
#[cfg(target_os = "linux")]
fn behind(job: &SandboxJob, rules: &SandboxRules, own: OwnView) -> io::Error {
    let restricted = || -> io::Result<String> {
        // The folder as this view has it.
        enter(job)?;
        let abi = super::files::restrict(rules, &job.read)?;
        drop_capabilities()?;
        super::filter::apply(rules.network, own)?;
        Ok(format!("Landlock ABI {abi}, seccomp{own}"))
    };
    match restricted() {
        Ok(told) => become_it(job, Some(told)),
        Err(error) => error,
    }
}

fn become_it(job: &SandboxJob, told: Option<String>) -> io::Error {
    let [program, rest @ ..] = job.words.as_slice() else {
        return io::Error::other("there is no program");
    };
    let mut command = Command::new(program);
    command.args(rest).env_clear();
    command.envs(job.environment.iter().map(|(n, v)| (n, v)));
    if let Some(told) = told {
        command.env(super::TOLD, told);
    }
    let error = command.exec();
    io::Error::new(
        error.kind(),
        format!("{program} cannot be started: {error}"),
    )
}

fn enter(job: &SandboxJob) -> io::Result<()> {
    std::env::set_current_dir(&job.folder)
        .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", job.folder.display())))
}

/// Standard input was the way to the supervisor: no program may have it.
#[cfg(target_os = "linux")]
fn no_input(job: &SandboxJob) -> io::Result<()> {
    if job.controlled {
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    }
    Ok(())
}

/// Closes all files but the program's input, output and error. Those of this program close by
/// themselves; what npast was started with by others does not.
#[cfg(target_os = "linux")]
fn close_others() -> io::Result<()> {
    let entries = std::fs::read_dir("/proc/self/fd")?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let open: Vec<i32> = numbers.filter(|number| *number > 2).collect();
    for number in open {
        // The list itself was one of them, and is closed by now.
        let _ = nix::unistd::close(number);
    }
    Ok(())
}

fn limit(bounds: &Bounds) -> io::Result<()> {
    let set = |resource, value: u64| {
        let old = rustix::process::getrlimit(resource);
        let value = old.maximum.map_or(value, |most| most.min(value));
        setrlimit(
            resource,
            Rlimit {
                current: Some(value),
                maximum: Some(value),
            },
        )
    };
    set(Resource::Core, 0)?;
    set(Resource::Fsize, bounds.file)?;
    set(Resource::Cpu, bounds.cpu)?;
    #[cfg(target_os = "linux")]
    {
        set(Resource::Nproc, threads().saturating_add(bounds.processes))?;
        if let Some(memory) = memory() {
            // Memory that is written to; address space alone costs nothing and some runtimes
            // reserve terabytes.
            set(Resource::Data, memory / 4 * 3)?;
        }
    }
    Ok(())
}

/// Threads of the whole system: the fourth field of /proc/loadavg is `running/all`.
#[cfg(target_os = "linux")]
fn threads() -> u64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let all = text
        .split_whitespace()
        .nth(3)
        .and_then(|f| f.split_once('/')?.1.parse().ok());
    all.unwrap_or(1024)
}

/// Memory of the machine in bytes.
#[cfg(target_os = "linux")]
fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
