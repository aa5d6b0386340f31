//! The terminal in raw mode: each key at once, no echo, Ctrl-C and Ctrl-D as keys. The mode of before is
//! restored however npast ends.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush,
    tcgetattr, tcsetattr,
};

/// As the terminal was, while it is otherwise.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

fn before() -> MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the terminal, again where a shell set it up for itself.
///
/// # Errors
/// Where standard input is no terminal.
pub fn enter() -> io::Result<()> {
    let input = io::stdin();
    let mut modes = tcgetattr(&input)?;
    before().get_or_insert_with(|| modes.clone());
    modes.local_modes -=
        LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
    // Ctrl-S still stops what is shown, and line feeds are still made whole.
    modes.input_modes -= InputModes::ICRNL | InputModes::INLCR | InputModes::IGNCR;
    modes.special_codes[SpecialCodeIndex::VMIN] = 1;
    modes.special_codes[SpecialCodeIndex::VTIME] = 0;
    Ok(tcsetattr(&input, OptionalActions::Now, &modes)?)
}

/// What was typed until now: the terminal made lines of it. Nobody else may be reading.
pub fn typed() -> Vec<u8> {
    let input = io::stdin();
    let mut typed = Vec::new();
    let mut bytes = [0; 4096];
    let at_once = Timespec::default();
    while let Ok(1..) = poll(&mut [PollFd::new(&input, PollFlags::IN)], Some(&at_once)) {
        match rustix::io::read(&input, &mut bytes) {
            Ok(n @ 1..) => typed.extend(&bytes[..n]),
            _ => break,
        }
    }
    typed
}

/// Gives the terminal back, if it was taken.
pub fn leave() {
    if let Some(modes) = before().take() {
        // A terminal that is gone has no modes.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &modes);
    }
}

/// Forgets what was typed and not read: it was typed before there was anything to answer.
pub fn forget_typed() {
    let _ = tcflush(io::stdin(), QueueSelector::IFlush);
}
