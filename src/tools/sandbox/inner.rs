//! The last steps before a program begins: the process gives up its rights one after another and
//! becomes the program. Whatever cannot be given up ends it: nothing starts behind half a wall.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};

#[cfg(target_os = "linux")]
use super::TOLD;
use super::{Bounds, Job};

/// Becomes the program; comes back only with why it could not.
pub(super) fn become_it(job: &Job) -> io::Error {
    match prepare(job) {
        Ok(mut command) => {
            let error = command.exec();
            let name = job.words.first().cloned().unwrap_or_default();
            io::Error::new(error.kind(), format!("{name} cannot be started: {error}"))
        }
        Err(error) => error,
    }
}

fn prepare(job: &Job) -> io::Result<Command> {
    let [program, rest @ ..] = job.words.as_slice() else {
        return Err(io::Error::other("there is no program"));
    };
    #[cfg(target_os = "linux")]
    close_others()?;
    // A session of its own: no terminal to type into, no group of ours to signal.
    rustix::process::setsid()?;
    limit(&job.bounds)?;
    let enter = || {
        std::env::set_current_dir(&job.folder)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", job.folder.display())))
    };
    enter()?;
    let mut command = Command::new(program);
    command.args(rest).env_clear();
    command.envs(job.environment.iter().map(|(n, v)| (n, v)));
    #[cfg(target_os = "linux")]
    {
        // When memory runs out, this goes first and not the model. Not everywhere allowed.
        let _ = std::fs::write("/proc/self/oom_score_adj", "700");
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        if let Some(wall) = &job.wall {
            rustix::thread::set_no_new_privs(true)?;
            let viewed = super::view::own(wall)?;
            // The folder as this view has it.
            enter()?;
            let abi = super::files::restrict(wall, &job.read)?;
            drop_capabilities()?;
            super::filter::apply(wall.network)?;
            let mounts = if viewed { ", mounts" } else { "" };
            command.env(TOLD, format!("Landlock ABI {abi}, seccomp{mounts}"));
        }
    }
    #[cfg(not(target_os = "linux"))]
    if job.wall.is_some() {
        return Err(io::Error::other("this system has no sandbox"));
    }
    Ok(command)
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

/// What root could do beside its user's rights, and limits that root would not have.
#[cfg(target_os = "linux")]
fn drop_capabilities() -> io::Result<()> {
    use rustix::thread::{CapabilitySet, CapabilitySets};
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    Ok(rustix::thread::set_capabilities(None, none)?)
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
