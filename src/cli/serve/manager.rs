//! The service manager's part: sockets that it opened for us, and what it hears of us. Without one all of
//! this does nothing.

use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use sd_notify::NotifyState;

use super::super::error::Failure;

/// Sockets that the service manager handed over.
pub struct Given(ListenFd);

impl Given {
    /// Takes them, and the variables that name them: no program that npast starts is to see those.
    pub fn take() -> Given {
        Given(ListenFd::from_env())
    }

    /// The one socket to listen on; nothing where none was handed over.
    ///
    /// # Errors
    /// Wrong usage: several sockets, or one that is no TCP socket.
    pub fn listener(&mut self) -> Result<Option<(TcpListener, SocketAddr)>, Failure> {
        let wrong = |what: String| {
            Failure::usage(
                format!("the service manager handed over {what}"),
                "a socket unit of npast has one ListenStream=, such as 127.0.0.1:8080",
            )
        };
        match self.0.len() {
            0 => return Ok(None),
            1 => {}
            n => return Err(wrong(format!("{n} sockets, and one is taken"))),
        }
        let taken = self.0.take_tcp_listener(0);
        let Some(listener) = taken.map_err(|e| wrong(e.to_string()))? else {
            return Ok(None);
        };
        let address = listener.set_nonblocking(true);
        let address = address.and_then(|()| listener.local_addr());
        let address = address.map_err(|e| wrong(format!("a socket without an address: {e}")))?;
        Ok(Some((listener, address)))
    }
}

/// The model is loaded, and whoever connects is served.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is read again; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The end began.
pub fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("lets replies come to their end"),
    ]);
}

/// Says from now on that this process lives, as often as the service manager asks for. A task does it:
/// where no task runs any more nobody is served.
pub fn watched() {
    let Some(most) = sd_notify::watchdog_enabled() else {
        return;
    };
    tokio::spawn(async move {
        let mut due = tokio::time::interval(most / 2);
        loop {
            due.tick().await;
            tell(&[NotifyState::Watchdog]);
        }
    });
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager was not told");
    }
}
