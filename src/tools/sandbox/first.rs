//! The first process of a program's PID namespace, and the only process of the namespace that is outside
//! of the sandbox. It mounts a `/proc` that shows no other processes, waits for the program, ends what the
//! program left running, and reports to the supervisor how the program ended. When this process ends, the
//! kernel ends everything in the namespace.

use std::fs::File;
use std::io::{self, Write};
use std::process::{Command, ExitCode, Stdio};

use rustix::mount::{MountFlags, mount};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::processes::{ProgramEnd, end_all, exit_code, own_input, wait_for};
use super::rights::{drop_capabilities, terminations};
use super::view::OwnView;
use super::{SUBCOMMAND, SandboxJob};

/// Starts the first process and waits for its end. The calling process made the namespace and is not in
/// it.
///
/// # Errors
/// When it cannot be started.
pub(super) fn start(own: OwnView) -> io::Result<ExitCode> {
    // The supervisor sends SIGTERM to everything below it; these two processes go on waiting for the program.
    terminations().thread_block()?;
    keep_right_to_mount();
    let mut first = Command::new(std::env::current_exe()?);
    first.args([SUBCOMMAND, "first", &serde_json::to_string(&own)?]);
    let status = ended(first.spawn()?.wait()?);
    Ok(ExitCode::from(status))
}

/// Keeps, over the start of a program, the one right that the first process needs. Root has it
/// anyway, and without it the program goes on seeing the `/proc` of others.
fn keep_right_to_mount() {
    let admin = CapabilitySet::SYS_ADMIN;
    let kept = rustix::thread::capabilities(None).and_then(|sets| {
        let inheritable = sets.inheritable | admin;
        rustix::thread::set_capabilities(
            None,
            CapabilitySets {
                inheritable,
                ..sets
            },
        )?;
        rustix::thread::configure_capability_in_ambient_set(admin, true)
    });
    if let Err(error) = kept {
        tracing::debug!(%error, "the right to mount /proc is not kept");
    }
}

fn ended(status: std::process::ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    exit_code(status.code(), status.signal())
}

/// The stage `first`.
///
/// # Errors
/// When the program cannot be started.
pub(super) fn main(job: &SandboxJob, own: OwnView) -> io::Result<ExitCode> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let me = std::env::current_exe()?;
    let supervisor = match job.controlled {
        true => Some(own_input()?),
        false => None,
    };
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // Without it the program sees the numbers of others, which mean nothing to its calls.
    let shown = mount("proc", "/proc", "proc", flags, None).is_ok();
    drop_capabilities()?;
    let mut last = Command::new(me);
    last.args([SUBCOMMAND, "last", &serde_json::to_string(&own)?]);
    if job.controlled {
        last.stdin(Stdio::null());
    }
    let program = last.spawn()?;
    let status = wait_for(&program);
    // What is left and cannot be counted is ended by the kernel, with this process.
    let left = if shown { end_all() } else { 0 };
    let end = ProgramEnd::of(status, left);
    if let Some(supervisor) = supervisor {
        report(supervisor, &end)?;
    }
    Ok(ExitCode::from(exit_code(end.code, end.signal)))
}

fn report(mut supervisor: File, end: &ProgramEnd) -> io::Result<()> {
    supervisor.write_all(&serde_json::to_vec(end)?)
}
