//! A write beyond the limit of file sizes (`ulimit -f`) becomes an error of that write, like a full disk.
//! Without this the system ends the program with a signal.

/// Makes such a write fail instead. Done once, before anything is written.
#[cfg(unix)]
pub fn is_an_error() {
    use tokio::signal::unix::{SignalKind, signal};

    let caught = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .and_then(|runtime| {
            let _inside = runtime.enter();
            // The handler stays when what listens to it is gone.
            signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
        });
    if let Err(error) = caught {
        tracing::warn!(%error, "a file at its size limit would end the program");
    }
}

/// Other systems have no such limit.
#[cfg(not(unix))]
pub fn is_an_error() {}
