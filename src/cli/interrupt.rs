//! Ctrl-C as a signal: the first one stops what runs and keeps what was decoded; a second one in the
//! same turn ends the program at once. (KV is a cache and sessions are crash-first, so nothing is lost.)
//! In a chat Ctrl-C is a key that sets the flag (see `console`).

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::{Failure, INTERRUPTED};
use super::raw;

/// The flag that a turn watches.
#[derive(Clone, Debug)]
pub struct Interrupt {
    flag: Arc<AtomicBool>,
}

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Whether the user wants to stop; never where nothing listens: there Ctrl-C ends the program.
pub fn pressed() -> bool {
    FLAG.get().is_some_and(|flag| flag.load(Ordering::SeqCst))
}

impl Interrupt {
    /// Starts listening; the same flag each time. The handler is in place when this returns.
    pub fn listen() -> Interrupt {
        let flag = FLAG.get_or_init(|| {
            let flag = Arc::new(AtomicBool::new(false));
            if let Err(error) = start(flag.clone()) {
                tracing::warn!(%error, "Ctrl-C ends the program at once");
            }
            flag
        });
        Interrupt { flag: flag.clone() }
    }

    /// For `Conversation::turn`.
    pub fn flag(&self) -> &Arc<AtomicBool> {
        &self.flag
    }

    /// All is done and stored, and only showing it is left: the next Ctrl-C ends the program.
    pub fn only_showing(&self) {
        self.flag.store(true, Ordering::SeqCst);
    }

    /// Whether the user wants to stop.
    pub fn asked(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }

    /// As an error, between steps that cannot be stopped.
    pub fn check(&self) -> Result<(), Failure> {
        match self.asked() {
            true => Err(Failure::interrupted()),
            false => Ok(()),
        }
    }
}

fn start(flag: Arc<AtomicBool>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let mut signals = {
        let _inside = runtime.enter();
        signals()?
    };
    let listener = std::thread::Builder::new().name("ctrl-c".into());
    listener.spawn(move || {
        runtime.block_on(async {
            while signals.recv().await.is_some() {
                if flag.swap(true, Ordering::SeqCst) {
                    raw::leave();
                    std::process::exit(INTERRUPTED);
                }
            }
        });
    })?;
    Ok(())
}

#[cfg(unix)]
fn signals() -> std::io::Result<tokio::signal::unix::Signal> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
}

#[cfg(windows)]
fn signals() -> std::io::Result<tokio::signal::windows::CtrlC> {
    tokio::signal::windows::ctrl_c()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_first_ctrl_c_sets_the_flag_until_the_next_turn_begins() {
        let interrupt = Interrupt::listen();
        assert!(interrupt.check().is_ok());
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::INT).unwrap();
        while !interrupt.asked() {
            std::thread::yield_now();
        }
        assert_eq!(interrupt.check().unwrap_err().exit, 130);
        // As a prompt does it.
        interrupt.flag().store(false, Ordering::SeqCst);
        assert!(!Interrupt::listen().asked());
    }
}
