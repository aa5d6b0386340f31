//! Signals that npast handles while it has the terminal: another size of the window, going on after a stop,
//! and the end.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};

use tokio::signal::unix::{SignalKind, signal};

use super::{ConsoleShared, Paint};
use crate::cli::console::state::ConsoleState;

/// What handles the signals now.
static LISTENER: Mutex<Option<(Weak<ConsoleShared>, Sender<Paint>)>> = Mutex::new(None);

fn listener() -> MutexGuard<'static, Option<(Weak<ConsoleShared>, Sender<Paint>)>> {
    LISTENER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on signals are for this console. They are caught from the first one on, and by one thread.
pub fn listen(shared: &Arc<ConsoleShared>, paint: Sender<Paint>) -> std::io::Result<()> {
    static STARTED: Once = Once::new();
    *listener() = Some((Arc::downgrade(shared), paint));
    let mut done = Ok(());
    STARTED.call_once(|| done = start());
    done
}

/// Nobody listens.
pub fn stop() {
    listener().take();
}

fn start() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let (mut size, mut on, mut end) = {
        let _inside = runtime.enter();
        let on = SignalKind::from_raw(rustix::process::Signal::CONT.as_raw());
        (
            signal(SignalKind::window_change())?,
            signal(on)?,
            signal(SignalKind::terminate())?,
        )
    };
    let named = std::thread::Builder::new().name("terminal".into());
    named.spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    Some(()) = size.recv() => tell(Paint::Resized),
                    Some(()) = on.recv() => {
                        // Another program stopped npast, and a shell has changed the mode of the terminal.
                        if listener().is_some() {
                            let _ = crate::cli::raw::enter();
                        }
                        tell(Paint::Resumed);
                    }
                    Some(()) = end.recv() => asked_to_end(),
                    else => return,
                }
            }
        });
    })?;
    Ok(())
}

fn tell(what: Paint) {
    if let Some((_, paint)) = &*listener() {
        let _ = paint.send(what);
    }
}

/// The turn is ended as by Ctrl-C, and then the chat; without a chat, npast.
fn asked_to_end() {
    let to = listener().as_ref().and_then(|(shared, _)| shared.upgrade());
    match to {
        Some(shared) => {
            shared
                .cancel
                .store(true, std::sync::atomic::Ordering::SeqCst);
            shared.change(ConsoleState::leave);
        }
        None => std::process::exit(128 + 15),
    }
}
