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
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, tcgetattr};

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
    size: (u16, u16),
    /// How the terminal was before the program began.
    modes: Termios,
}

fn resize(terminal: &File, columns: u16, rows: u16) {
    let size = rustix::termios::Winsize {
        ws_col: columns,
        ws_row: rows,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(terminal, size).expect("a size");
}

impl Screen {
    /// Starts a program whose three standard streams are a terminal.
    pub fn start(command: Command) -> Screen {
        Screen::sized(command, 80, 24)
    }

    /// The same on a window of another size.
    pub fn sized(command: Command, columns: u16, rows: u16) -> Screen {
        Screen::with_term(command, Some("xterm"), columns, rows)
    }

    /// The same on a terminal of another kind, or of none that is known.
    pub fn with_term(mut command: Command, term: Option<&str>, columns: u16, rows: u16) -> Screen {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        // A program that another test starts meanwhile would hold this terminal open.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let flags = flags | OpenptFlags::CLOEXEC;
        let own = openpt(flags).expect("a pseudo-terminal");
        grantpt(&own).expect("it is granted");
        unlockpt(&own).expect("it is unlocked");
        let name = ptsname(&own, Vec::new()).expect("its name");
        let path = OsStr::from_bytes(name.as_bytes());
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = rustix::fs::open(path, flags, Mode::empty()).expect("its other side");
        let theirs = File::from(theirs);
        resize(&theirs, columns, rows);
        let modes = tcgetattr(&own).expect("its modes");
        let stream = || Stdio::from(theirs.try_clone().expect("a stream"));
        match term {
            Some(term) => command.env("TERM", term),
            None => command.env_remove("TERM"),
        };
        let program = command
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
            size: (columns, rows),
            modes,
        }
    }

    /// Whether the terminal makes lines, shows what is typed and sends signals as it did before.
    pub fn is_as_it_was(&self) -> bool {
        let now = tcgetattr(&self.keys).expect("its modes");
        let all = |modes: &Termios| (modes.local_modes, modes.input_modes, modes.output_modes);
        all(&now) == all(&self.modes)
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) {
        let program = Pid::from_child(&self.program);
        kill_process(program, signal).expect("the program runs");
    }

    /// Another size of the window. The program gets no signal: the terminal is not its controlling one.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        resize(&self.keys, columns, rows);
        self.size = (columns, rows);
        self.signal(Signal::WINCH);
    }

    /// Waits until the program is stopped by a signal.
    pub fn stops(&self) {
        let options = rustix::process::WaitOptions::UNTRACED;
        let stopped = rustix::process::waitpid(Some(Pid::from_child(&self.program)), options);
        assert!(stopped.is_ok(), "{stopped:?}");
    }

    /// Types bytes that are no text.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.keys.write_all(bytes).expect("a terminal");
    }

    /// All that was shown until now, as it was sent.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.raw).into_owned()
    }

    /// Waits until a row of the window has these words.
    pub fn shows(&mut self, words: &str) {
        while !self.rows().iter().any(|row| row.contains(words)) {
            match self.shown.recv_timeout(PATIENCE) {
                Ok(more) => self.raw.extend(more),
                Err(_) => panic!("{words:?} is not shown: {:#?}", self.rows()),
            }
        }
    }

    /// The rows of the window as a person sees them now.
    pub fn rows(&self) -> Vec<String> {
        let size = |n| std::num::NonZero::new(n).expect("a size");
        let mut parser = vt100::Parser::new(size(self.size.1), size(self.size.0), 0);
        parser.process(&self.raw);
        let text = parser.screen().contents();
        let rows = text.split('\n').map(|row| row.trim_end().to_owned());
        rows.collect()
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

    /// Waits for the program's end: all that it showed.
    pub fn all(&mut self) -> String {
        self.leave();
        self.raw()
    }

    /// Waits for the program's end: its exit code, and what it showed last.
    pub fn end(mut self) -> (Option<i32>, String) {
        self.leave()
    }

    /// The same, and the screen stays to be looked at.
    pub fn leave(&mut self) -> (Option<i32>, String) {
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
