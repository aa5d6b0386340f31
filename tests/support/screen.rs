//! A terminal that a test types on: the program runs on a real pseudo-terminal, and what it shows is
//! read until it shows what is waited for.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// Longer than anything takes; a test that waits so long fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// The program on its terminal.
pub struct Screen {
    program: Child,
    keys: File,
    shown: Receiver<Vec<u8>>,
    raw: Vec<u8>,
    /// Bytes of the cleaned text that were waited for already.
    at: usize,
}

impl Screen {
    /// Starts a program whose three standard streams are a terminal.
    pub fn start(mut command: Command) -> Screen {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let own = openpt(flags).expect("a pseudo-terminal");
        grantpt(&own).expect("it is granted");
        unlockpt(&own).expect("it is unlocked");
        let name = ptsname(&own, Vec::new()).expect("its name");
        let path = OsStr::from_bytes(name.as_bytes());
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let theirs = rustix::fs::open(path, flags, Mode::empty()).expect("its other side");
        let theirs = File::from(theirs);
        let stream = || Stdio::from(theirs.try_clone().expect("a stream"));
        let program = command
            .env("TERM", "xterm")
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .expect("the program");
        // Else the terminal would not end with the program.
        drop((command, theirs));
        let keys = File::from(own);
        let mut screen = keys.try_clone().expect("the screen");
        let (send, shown) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // At the program's end there is nothing to read but an error.
            while let Ok(n @ 1..) = screen.read(&mut piece) {
                if send.send(piece[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Screen {
            program,
            keys,
            shown,
            raw: Vec::new(),
            at: 0,
        }
    }

    /// Types; a line ends with `\r`.
    pub fn keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("a terminal");
    }

    /// Waits until these words are shown, behind those that were waited for before; gives what stands
    /// before them.
    pub fn until(&mut self, words: &str) -> String {
        loop {
            let text = cleaned(&self.raw);
            if let Some(found) = text[self.at..].find(words) {
                let before = text[self.at..self.at + found].to_owned();
                self.at += found + words.len();
                return before;
            }
            match self.shown.recv_timeout(PATIENCE) {
                Ok(more) => self.raw.extend(more),
                Err(_) => panic!("{words:?} is not shown after {:?}", &text[self.at..]),
            }
        }
    }

    /// Waits for the program's end: its exit code, and what it showed last.
    pub fn end(mut self) -> (Option<i32>, String) {
        while let Ok(more) = self.shown.recv_timeout(PATIENCE) {
            self.raw.extend(more);
        }
        let ended = self.program.wait().expect("an end");
        (ended.code(), cleaned(&self.raw)[self.at..].to_owned())
    }
}

impl Drop for Screen {
    /// A test that failed leaves no program behind.
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// What a person sees, roughly: without control sequences, and with plain line ends.
fn cleaned(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                if chars.next() == Some('[') {
                    chars.find(|c| matches!(c, '\u{40}'..='\u{7e}'));
                }
            }
            '\r' | '\u{7}' => {}
            c => clean.push(c),
        }
    }
    clean
}
