//! Processes below this one: waiting for one of them, ending all of them, and how a program ended.

use std::fs::File;
use std::io;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use serde::{Deserialize, Serialize};

use super::NOT_STARTED;

/// How a program ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProgramEnd {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal.
    pub signal: Option<i32>,
    /// Processes that it left behind, and that were ended.
    pub left: usize,
    /// What git would have run because of it, and what was done with that.
    #[serde(default)]
    pub planted: Vec<String>,
}

impl ProgramEnd {
    /// From the status that the kernel reports.
    pub(super) fn of(status: Option<WaitStatus>, left: usize) -> ProgramEnd {
        ProgramEnd {
            code: status.and_then(|s| s.exit_status()),
            signal: status.and_then(|s| s.terminating_signal()),
            left,
            planted: Vec::new(),
        }
    }
}

/// The exit code that stands for an end, as shells write it.
pub(super) fn exit_code(code: Option<i32>, signal: Option<i32>) -> u8 {
    code.or(signal.map(|s| 128 + s)).unwrap_or(NOT_STARTED) as u8
}

/// Standard input, a way to the process above, as a file that no program gets.
///
/// # Errors
/// The error of the operating system.
pub(super) fn own_input() -> io::Result<File> {
    Ok(File::from(rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?))
}

/// Waits for the program, and reaps whatever else ends meanwhile.
pub(super) fn wait_for(program: &Child) -> Option<WaitStatus> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() as u32 == program.id() => {
                return Some(status);
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// Ends all that is left; how many there were.
pub(super) fn end_all() -> usize {
    let mut left = 0;
    loop {
        left = left.max(signal_all(Signal::KILL));
        match rustix::process::wait(WaitOptions::empty()) {
            // The list of all processes is read again for many that ended, not for each.
            Ok(_) => while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {},
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return left,
        }
    }
}

/// Sends a signal to everything below this process; how many that were.
pub(super) fn signal_all(signal: Signal) -> usize {
    signal_below(rustix::process::getpid(), signal)
}

/// Ends everything below a supervisor that does not do it itself, from outside; the supervisor stays, so that
/// what a dying process leaves comes to it and is found. Returns when nothing is left, or after
/// `most`.
pub(crate) fn end_below(supervisor: &Child, most: Duration) {
    let Some(supervisor) = i32::try_from(supervisor.id()).ok().and_then(Pid::from_raw) else {
        return;
    };
    let until = Instant::now() + most;
    while signal_below(supervisor, Signal::KILL) > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal to everything below a supervisor; how many that were. Orphans come to the supervisor, so
/// nothing gets away by starting a session of its own.
#[cfg(target_os = "linux")]
fn signal_below(supervisor: Pid, signal: Signal) -> usize {
    let me = supervisor.as_raw_nonzero().get();
    let mut parents: Vec<(i32, i32)> = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read(entry.path().join("stat")) else {
            continue;
        };
        // The name in brackets may hold anything, also brackets.
        let stat = String::from_utf8_lossy(&stat);
        let Some((_, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        let mut fields = rest.split_whitespace();
        let state = fields.next();
        if let Some(parent) = fields.next().and_then(|p| p.parse().ok())
            && state != Some("Z")
        {
            parents.push((pid, parent));
        }
    }
    let mut below = vec![me];
    let mut at = 0;
    while at < below.len() {
        let parent = below[at];
        below.extend(
            parents
                .iter()
                .filter(|(_, p)| *p == parent)
                .map(|(pid, _)| *pid),
        );
        at += 1;
    }
    let others = below.iter().skip(1).filter_map(|pid| Pid::from_raw(*pid));
    others
        .filter(|pid| rustix::process::kill_process(*pid, signal).is_ok())
        .count()
}

#[cfg(not(target_os = "linux"))]
fn signal_below(_: Pid, _: Signal) -> usize {
    0
}
