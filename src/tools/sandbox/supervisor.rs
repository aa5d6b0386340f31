//! The supervisor: it runs outside of the sandbox, is the parent of every process that the program leaves
//! running, and ends them all. It ends when the program ends, or when npast ends for any reason: then its
//! control socket closes, or, where the program has standard input, npast's process no longer exists.

use std::fs::File;
use std::io::{self, Read, Write};
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
#[cfg(target_os = "linux")]
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[cfg(target_os = "linux")]
use rustix::event::{PollFd, PollFlags, poll};
#[cfg(target_os = "linux")]
use rustix::io::Errno;
#[cfg(target_os = "linux")]
use rustix::process::PidfdFlags;
use rustix::process::{Pid, Signal};

use super::processes::{ProgramEnd, end_all, exit_code, own_input, signal_all, wait_for};
use super::{MESSAGE_PREFIX, SUBCOMMAND, SandboxJob};

/// Longest report of the first process, in bytes.
const MAX_REPORT: u64 = 1024;
/// How often a supervisor looks whether npast is there, where it cannot wait for its end.
#[cfg(target_os = "linux")]
const LOOK: Duration = Duration::from_millis(250);

/// The stage without a name: starts the program below this process, and waits for all of it.
///
/// # Errors
/// When the program cannot be started.
pub(super) fn keep(job: &SandboxJob) -> io::Result<ExitCode> {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let me = std::env::current_exe()?;
    let mut command = Command::new(me);
    command.args([SUBCOMMAND, "inner"]);
    // Standard input is a socket that is read and written. No program may have it: a process that has it
    // can report a false end and read the orders of npast.
    let mut control = match job.controlled {
        true => Some(own_input()?),
        false => None,
    };
    let mut report = None;
    if job.controlled {
        command.stdin(Stdio::null());
        if job.rules.is_some() {
            // How the program ended, where another process of ours is its parent.
            let (read, write) = io::pipe()?;
            command.stdin(write);
            report = Some(read);
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
    let before = job.rules.as_ref().map(|rules| {
        // Folders that hold only temporary files are left out: the user runs git in none of them. What leads
        // to one of them from elsewhere is found.
        let lasting = |folder: &&PathBuf| !job.temporary(folder);
        let folders: Vec<PathBuf> = rules.write.iter().filter(lasting).cloned().collect();
        super::repositories::look(&folders, &rules.hidden)
    });
    let program = command.spawn()?;
    // Only the process below has its side of the pipe.
    drop(command);
    if let Some(control) = &control {
        orders(control.try_clone()?, &order);
    }
    #[cfg(target_os = "linux")]
    if let Some(npast) = npast {
        outlive(npast, &order);
    }
    let status = wait_for(&program);
    // An order that comes now is too late.
    order.over.store(true, Ordering::SeqCst);
    let left = end_all();
    // What an order ended does not count as left behind.
    let killed = order.killed.load(Ordering::SeqCst);
    let mut end = ProgramEnd::of(status, if killed { 0 } else { left });
    let first = report.and_then(|report| {
        let mut text = String::new();
        // No other process has the other side, so what comes is the first process's.
        report.take(MAX_REPORT).read_to_string(&mut text).ok()?;
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
            "{MESSAGE_PREFIX}git would run: {}",
            end.planted.join("; ")
        );
    }
    if let Some(control) = &mut control {
        let mut line = serde_json::to_vec(&end)?;
        line.push(b'\n');
        // npast may have ended.
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
    fn of(job: &SandboxJob) -> io::Result<Npast> {
        let gone = || io::Error::other("npast is gone");
        let pid = i32::try_from(job.parent).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(gone)?;
        let npast = Npast {
            pid,
            held: rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok(),
        };
        // A living parent's number is its own, so no other process was taken for it.
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
