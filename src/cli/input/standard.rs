//! Standard input of a run with a message: whether npast reads it, and the notice while nothing comes.
//!
//! npast reads a pipe to its end (`git diff | npast "Review this."`), however long its writer takes: going
//! on without it would answer another question. A pipe that stays open by mistake is silent for ever, so a
//! notice says that npast waits. A file that another program has begun to read (`while read -r line; do
//! npast "$line"; done < list`) belongs to that program: npast does not read its next line.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, Stdin};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a silent pipe is waited for without a word.
const PATIENCE: Duration = Duration::from_secs(1);
/// The notice about it.
const WAITS: &str = "npast waits for standard input, which is open and silent";
const WAITS_HINT: &str =
    "its writer may still work; `npast … < /dev/null` goes on without it, Ctrl-C ends npast";

/// Whether this standard input is no part of the message: a terminal, or behind a prompt a file that
/// another program reads.
pub fn is_anothers(stdin: &Stdin, prompt: bool) -> bool {
    stdin.is_terminal() || (prompt && begun(stdin))
}

/// Whether it is a file that is read up to a place behind its beginning.
fn begun(stdin: impl AsFd) -> bool {
    let file = stdin.as_fd().try_clone_to_owned().map(File::from);
    let place = file.and_then(|mut file| match file.metadata()?.is_file() {
        true => file.stream_position(),
        false => Ok(0),
    });
    place.is_ok_and(|place| place > 0)
}

/// Input that says, once, that nothing comes.
pub struct Patient<I, S> {
    input: I,
    /// Tells the user; `None` when that is done or not needed any more.
    say: Option<S>,
    patience: Duration,
}

impl<I, S: FnOnce(&str, &str)> Patient<I, S> {
    /// Tells by `say`.
    pub fn new(input: I, say: S) -> Patient<I, S> {
        Patient {
            input,
            say: Some(say),
            patience: PATIENCE,
        }
    }
}

impl<I: Read + AsFd, S: FnOnce(&str, &str)> Read for Patient<I, S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if let Some(say) = self.say.take() {
            let patience = Timespec::try_from(self.patience).ok();
            let mut ready = [PollFd::new(&self.input, PollFlags::IN)];
            if let Ok(0) = poll(&mut ready, patience.as_ref()) {
                say(WAITS, WAITS_HINT);
            }
        }
        self.input.read(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{SeekFrom, Write};
    use std::os::fd::BorrowedFd;

    use super::*;

    /// A pipe that looks silent, and gives something when it is read.
    struct Late {
        silent: io::PipeReader,
        text: &'static [u8],
    }

    impl Read for Late {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.text.read(bytes)
        }
    }

    impl AsFd for Late {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.silent.as_fd()
        }
    }

    #[test]
    fn a_silent_pipe_is_said_once_and_read_to_its_end() {
        let (silent, _writer) = io::pipe().unwrap();
        let mut said = Vec::new();
        let say = |text: &str, hint: &str| said.push(format!("{text}; {hint}"));
        let input = Late {
            silent,
            text: b"late",
        };
        let mut patient = Patient::new(input, say);
        patient.patience = Duration::ZERO;
        let mut text = String::new();
        patient.read_to_string(&mut text).unwrap();
        drop(patient);
        assert_eq!(text, "late");
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("< /dev/null"));
    }

    #[test]
    fn a_pipe_that_has_something_or_is_over_is_no_news() {
        for bytes in ["now", ""] {
            let (input, mut writer) = io::pipe().unwrap();
            writer.write_all(bytes.as_bytes()).unwrap();
            drop(writer);
            let mut patient = Patient::new(input, |text: &str, _: &str| panic!("{text}"));
            patient.patience = Duration::ZERO;
            let mut text = String::new();
            patient.read_to_string(&mut text).unwrap();
            assert_eq!(text, bytes);
        }
    }

    #[test]
    fn a_file_that_is_read_already_is_another_programs() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one\ntwo\n").unwrap();
        assert!(begun(&file));
        file.seek(SeekFrom::Start(0)).unwrap();
        assert!(!begun(&file));
        let (pipe, _writer) = io::pipe().unwrap();
        assert!(!begun(&pipe));
    }
}
