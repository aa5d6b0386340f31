//! Ctrl-C: the first one stops what runs and keeps what was decoded; a second one in the same turn
//! ends the program at once. (KV is a cache and sessions are crash-first, so nothing is lost.)

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::{Failure, INTERRUPTED};

/// The flag that a turn watches.
#[derive(Clone, Debug)]
pub struct Interrupt {
    flag: Arc<AtomicBool>,
}

impl Interrupt {
    /// Starts listening; the same flag each time.
    pub fn listen() -> Interrupt {
        static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
        let flag = FLAG.get_or_init(|| {
            let flag = Arc::new(AtomicBool::new(false));
            let its = flag.clone();
            let listener = std::thread::Builder::new().name("ctrl-c".into());
            if let Err(error) = listener.spawn(move || wait(&its)) {
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

    /// A turn begins: an earlier Ctrl-C no longer counts.
    pub fn reset(&self) {
        self.flag.store(false, Ordering::SeqCst);
    }

    /// Whether somebody asked to stop.
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

fn wait(flag: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::warn!(%error, "Ctrl-C ends the program at once");
            return;
        }
    };
    runtime.block_on(async {
        while tokio::signal::ctrl_c().await.is_ok() {
            if flag.swap(true, Ordering::SeqCst) {
                std::process::exit(INTERRUPTED);
            }
        }
    });
}
