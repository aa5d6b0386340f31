//! The keeper: it stands outside of the wall, is the parent of everything that the program leaves
//! behind, and ends it. It lives as long as the program, or until npast is gone, however that ended:
//! then its control closes, or, where the program has standard input, npast's process is no more.

use std::fs::File;
use std::io::{self, Read, Write};
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
#[cfg(target_os = "linux")]
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use rustix::event::{PollFd, PollFlags, poll};
#[cfg(target_os = "linux")]
use rustix::io::Errno;
#[cfg(target_os = "linux")]
use rustix::process::PidfdFlags;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use serde::{Deserialize, Serialize};

use crate::harmless;

use super::{JOB, Job, KEEPER, NOT_STARTED, SUBCOMMAND};

/// Longest word of the first process, in bytes.
const MAX_TOLD: u64 = 1024;
/// How often a keeper looks whether npast is there, where it cannot wait for its end.
#[cfg(target_os = "linux")]
const LOOK: Duration = Duration::from_millis(250);

/// How a program ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct End {
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

impl End {
    /// As the kernel tells it.
    pub(super) fn of(status: Option<WaitStatus>, left: usize) -> End {
        End {
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
/// What the system said.
pub(super) fn own_input() -> io::Result<File> {
    Ok(File::from(rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?))
}

/// The subcommand `sandbox-exec`: the keeper, or with `inner` the program itself.
pub fn main(words: &[std::ffi::OsString]) -> ExitCode {
    let step = words.first().and_then(|w| w.to_str());
    if step == Some("probe") {
        return super::probe::inside();
    }
    let job = std::env::var(JOB).map_err(io::Error::other);
    let job: io::Result<Job> =
        job.and_then(|text| serde_json::from_str(&text).map_err(io::Error::other));
    let failed = |error: io::Error| {
        let _ = writeln!(
            io::stderr(),
            "{KEEPER}{}",
            harmless::line(&error.to_string())
        );
        ExitCode::from(NOT_STARTED as u8)
    };
    let job = match job {
        Ok(job) => job,
        Err(error) => return failed(error),
    };
    match step {
        Some("inner") => super::inner::begin(&job).unwrap_or_else(failed),
        #[cfg(target_os = "linux")]
        Some("first") => own(words)
            .and_then(|own| super::first::main(&job, own))
            .unwrap_or_else(failed),
        #[cfg(target_os = "linux")]
        Some("last") => failed(own(words).map_or_else(|e| e, |own| super::inner::last(&job, own))),
        _ => keep(&job).unwrap_or_else(failed),
    }
}

/// What the process above found that the program has of its own.
#[cfg(target_os = "linux")]
fn own(words: &[std::ffi::OsString]) -> io::Result<super::view::Own> {
    let word = words.get(1).and_then(|word| word.to_str());
    serde_json::from_str(word.unwrap_or_default()).map_err(io::Error::other)
}

fn keep(job: &Job) -> io::Result<ExitCode> {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let me = std::env::current_exe()?;
    let mut command = Command::new(me);
    command.args([SUBCOMMAND, "inner"]);
    // Standard input is a socket: it is read and written. No program may have it too: whoever has
    // it says how a program ended, and hears orders that are not its own.
    let mut control = match job.controlled {
        true => Some(own_input()?),
        false => None,
    };
    let mut told = None;
    if job.controlled {
        command.stdin(Stdio::null());
        if job.wall.is_some() {
            // How the program ended, where another process of ours is its parent.
            let (read, write) = io::pipe()?;
            command.stdin(write);
            told = Some(read);
        }
    }
    let order = Arc::new(Order::default());
    terminations(&order)?;
    #[cfg(target_os = "linux")]
    let npast = match job.controlled {
        true => None,
        false => Some(Npast::of(job)?),
    };
    #[cfg(target_os = "linux")]
    let before = job.wall.as_ref().map(|wall| {
        // Nobody runs git where only temporary files are; what leads there is found.
        let lasting = |folder: &&PathBuf| !job.temporary(folder);
        let folders: Vec<PathBuf> = wall.write.iter().filter(lasting).cloned().collect();
        super::repositories::look(&folders, &wall.hidden)
    });
    let program = command.spawn()?;
    // Its side of the pipe is with the process below alone.
    drop(command);
    if let Some(control) = &control {
        orders(control.try_clone()?, &order);
    }
    #[cfg(target_os = "linux")]
    if let Some(npast) = npast {
        outlive(npast, &order);
    }
    let status = wait_for(&program);
    // Whoever asks again now is late.
    order.over.store(true, Ordering::SeqCst);
    let left = end_all();
    // What was ended by order was not left behind.
    let killed = order.killed.load(Ordering::SeqCst);
    let mut end = End::of(status, if killed { 0 } else { left });
    let first = told.and_then(|told| {
        let mut text = String::new();
        // Nobody else has the other side, so a word of it is the first process's.
        told.take(MAX_TOLD).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    });
    #[cfg(target_os = "linux")]
    let viewed = first.is_some();
    if let Some(first) = first {
        end = first;
    }
    #[cfg(target_os = "linux")]
    if let Some(before) = before {
        // A server runs for hours, beside its user: what is new then is not all its own.
        end.planted = before.planted(job.controlled, viewed);
    }
    if !job.controlled && !end.planted.is_empty() {
        let _ = writeln!(
            io::stderr(),
            "{KEEPER}git would run: {}",
            end.planted.join("; ")
        );
    }
    if let Some(control) = &mut control {
        let mut line = serde_json::to_vec(&end)?;
        line.push(b'\n');
        // Nobody may be there any more.
        let _ = control.write_all(&line);
    }
    Ok(ExitCode::from(exit_code(end.code, end.signal)))
}

/// What was ordered, and whether there is still something to order.
#[derive(Default)]
struct Order {
    over: AtomicBool,
    killed: AtomicBool,
}

/// Reads orders until npast is gone.
fn orders(mut control: File, order: &Arc<Order>) {
    let order = order.clone();
    std::thread::spawn(move || {
        let mut word = [0];
        loop {
            let kill = match control.read(&mut word) {
                Ok(1) => word[0] == b'k',
                _ => true,
            };
            if order.over.load(Ordering::SeqCst) {
                return;
            }
            match kill {
                true => return kill_until(&order),
                false => {
                    signal_all(Signal::TERM);
                }
            }
        }
    });
}

/// SIGTERM ends the program and what came of it, from the moment this returns.
fn terminations(order: &Arc<Order>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let order = order.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let mut asked = {
        let _inside = runtime.enter();
        signal(SignalKind::terminate())?
    };
    std::thread::spawn(move || {
        runtime.block_on(asked.recv());
        kill_until(&order);
    });
    Ok(())
}

/// npast's process: its number, and where the kernel has that, something to wait for.
#[cfg(target_os = "linux")]
struct Npast {
    pid: Pid,
    held: Option<OwnedFd>,
}

#[cfg(target_os = "linux")]
impl Npast {
    /// # Errors
    /// When it is gone already.
    fn of(job: &Job) -> io::Result<Npast> {
        let gone = || io::Error::other("npast is gone");
        let pid = i32::try_from(job.parent).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(gone)?;
        let npast = Npast {
            pid,
            held: rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok(),
        };
        // A living parent's number is its own, so nobody else was taken for it.
        npast.lives().then_some(npast).ok_or_else(gone)
    }

    fn lives(&self) -> bool {
        rustix::process::getppid() == Some(self.pid)
    }

    /// Returns when it has ended.
    fn wait(&self) {
        match &self.held {
            Some(npast) => {
                while let Err(Errno::INTR) = poll(&mut [PollFd::new(npast, PollFlags::IN)], None) {}
            }
            None => {
                while self.lives() {
                    std::thread::sleep(LOOK);
                }
            }
        }
    }
}

/// Ends everything when npast has ended.
#[cfg(target_os = "linux")]
fn outlive(npast: Npast, order: &Arc<Order>) {
    let order = order.clone();
    std::thread::spawn(move || {
        npast.wait();
        kill_until(&order);
    });
}

fn kill_until(order: &Order) {
    while !order.over.load(Ordering::SeqCst) {
        order.killed.store(true, Ordering::SeqCst);
        signal_all(Signal::KILL);
        std::thread::yield_now();
    }
}

/// Waits for the program, burying whatever else ends meanwhile.
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
fn signal_all(signal: Signal) -> usize {
    signal_below(rustix::process::getpid(), signal)
}

/// Ends everything below a keeper that does not do it itself, from outside; the keeper stays, so that
/// what a dying process leaves comes to it and is found. Returns when nothing is left, or after
/// `most`.
pub(crate) fn end_below(keeper: &Child, most: Duration) {
    let Some(keeper) = i32::try_from(keeper.id()).ok().and_then(Pid::from_raw) else {
        return;
    };
    let until = Instant::now() + most;
    while signal_below(keeper, Signal::KILL) > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal to everything below a keeper; how many that were. Orphans come to the keeper, so
/// nothing gets away by starting a session of its own.
#[cfg(target_os = "linux")]
fn signal_below(keeper: Pid, signal: Signal) -> usize {
    let me = keeper.as_raw_nonzero().get();
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
