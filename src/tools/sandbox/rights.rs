//! What a process gives up on its way to the program, and the signal that its helpers leave to it.

use std::io;

use nix::sys::signal::{SigSet, Signal};

/// What root could do beside its user's rights, and limits that root would not have.
pub(super) fn drop_capabilities() -> io::Result<()> {
    use rustix::thread::{CapabilitySet, CapabilitySets};
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    Ok(rustix::thread::set_capabilities(None, none)?)
}

/// Undoes for a program what these two processes need for themselves.
///
/// # Errors
/// The error of the operating system.
pub(super) fn hear_terminations() -> io::Result<()> {
    Ok(terminations().thread_unblock()?)
}

/// The signal by which a program is stopped.
pub(super) fn terminations() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set
}
