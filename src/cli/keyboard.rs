//! The user's lines while a turn runs. The line editor is not there then, so the terminal collects
//! lines by itself; they answer a question if one was asked, else they steer the turn or wait for
//! its end. Between turns nothing here reads.

use std::io::Write;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::output::{Showing, printable};
use crate::agent::{Event, Steering};

/// Longest line that is taken, in bytes; a terminal gives no longer ones.
const MAX_LINE: usize = 64 * 1024;
/// How often a question looks whether Ctrl-C was pressed.
const LOOK: Duration = Duration::from_millis(50);

/// The terminal's keyboard.
pub struct Keyboard {
    steering: Steering,
    /// Ctrl-C.
    cancel: Arc<AtomicBool>,
    /// What the turn says: a question comes behind it.
    showing: Showing<Event>,
    /// Where the next line goes while a question is open.
    asked: Mutex<Option<Sender<String>>>,
    listening: AtomicBool,
    /// Nothing can be typed any more.
    ended: AtomicBool,
}

impl Keyboard {
    /// Lines go to `steering`; `cancel` is Ctrl-C's flag. A question is asked when all that `showing`
    /// has is shown.
    pub fn new(steering: Steering, cancel: Arc<AtomicBool>, showing: Showing<Event>) -> Keyboard {
        Keyboard {
            steering,
            cancel,
            showing,
            asked: Mutex::new(None),
            listening: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    /// Runs a turn and reads lines from `input` meanwhile. Where that cannot be set up the turn
    /// runs without.
    pub fn listen<T>(&self, input: impl AsFd + Sync, turn: impl FnOnce() -> T) -> T {
        let (wake, ended) = match std::io::pipe() {
            Ok((wake, ended)) => (wake, ended),
            Err(error) => {
                tracing::warn!(%error, "lines are not read while the turn runs");
                return turn();
            }
        };
        self.listening.store(true, Ordering::SeqCst);
        let done = std::thread::scope(|scope| {
            scope.spawn(|| self.read(input.as_fd(), &wake));
            // However the turn ends, the reader ends: it sees the pipe close.
            let _ended = ended;
            turn()
        });
        self.listening.store(false, Ordering::SeqCst);
        done
    }

    /// Reads lines until `wake` is closed or the input ends.
    fn read(&self, input: impl AsFd, wake: impl AsFd) {
        let mut line = Vec::new();
        let mut bytes = [0; 4096];
        loop {
            let mut ready = [
                PollFd::new(&input, PollFlags::IN),
                PollFd::new(&wake, PollFlags::IN),
            ];
            match poll(&mut ready, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(_) => return,
            }
            if !ready[1].revents().is_empty() {
                return;
            }
            let n = match rustix::io::read(&input, &mut bytes) {
                Ok(0) => return self.ended.store(true, Ordering::SeqCst),
                Ok(n) => n,
                Err(Errno::INTR | Errno::AGAIN) => continue,
                Err(_) => return,
            };
            for byte in &bytes[..n] {
                match byte {
                    b'\n' => self.take(&String::from_utf8_lossy(&std::mem::take(&mut line))),
                    _ if line.len() < MAX_LINE => line.push(*byte),
                    _ => {}
                }
            }
        }
    }

    /// A line that was typed.
    fn take(&self, line: &str) {
        let line = line.trim_end_matches('\r');
        if let Some(asked) = self.asked().take() {
            let _ = asked.send(line.to_owned());
            return;
        }
        let text = line.trim();
        match text.strip_prefix("/steer") {
            Some(rest) if rest.is_empty() || rest.starts_with(char::is_whitespace) => {
                match rest.trim() {
                    "" => eprintln!("/steer TEXT says TEXT behind the results of this step."),
                    rest => self.steering.steer(rest),
                }
            }
            _ if text.is_empty() => {}
            _ => {
                self.steering.queue(line);
                eprintln!("Queued: {}", printable(text));
            }
        }
    }

    /// Asks a question; the line that is typed next. None at Ctrl-C and at the end of the input.
    pub fn ask(&self, question: &str, input: impl AsFd + Sync) -> Option<String> {
        if !self.listening.load(Ordering::SeqCst) {
            return self.listen(input, || self.wait(question));
        }
        self.wait(question)
    }

    fn wait(&self, question: &str) -> Option<String> {
        self.showing.wait(&self.cancel);
        let answer = self.open();
        let mut err = std::io::stderr();
        let _ = write!(err, "{question}");
        let _ = err.flush();
        loop {
            match answer.recv_timeout(LOOK) {
                Ok(line) => return Some(line),
                Err(RecvTimeoutError::Timeout) if !self.over() => {}
                Err(_) => {
                    self.asked().take();
                    let _ = writeln!(err);
                    return None;
                }
            }
        }
    }

    fn over(&self) -> bool {
        self.cancel.load(Ordering::SeqCst) || self.ended.load(Ordering::SeqCst)
    }

    fn open(&self) -> Receiver<String> {
        let (to, answer) = channel();
        *self.asked() = Some(to);
        answer
    }

    fn asked(&self) -> MutexGuard<'_, Option<Sender<String>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A keyboard, and a pipe that stands for the terminal.
    fn keyboard() -> (Keyboard, Steering, std::io::PipeReader, std::io::PipeWriter) {
        let steering = Steering::default();
        let keyboard = Keyboard::new(steering.clone(), Arc::default(), Showing::default());
        let (input, typed) = std::io::pipe().unwrap();
        (keyboard, steering, input, typed)
    }

    #[test]
    fn lines_of_a_running_turn_wait_for_its_end_or_steer_it() {
        let (keyboard, steering, input, mut typed) = keyboard();
        let answer = keyboard.listen(&input, || {
            let answer = keyboard.open();
            typed
                .write_all(b"yes\nfirst\r\n/steer not there\n\n/steer\n/steering\n")
                .unwrap();
            typed.write_all("dr\u{FC}ck\n".as_bytes()).unwrap();
            drop(typed);
            while !keyboard.over() {
                std::thread::yield_now();
            }
            answer.recv().unwrap()
        });
        assert_eq!(answer, "yes");
        assert_eq!(steering.left().as_deref(), Some("not there"));
        let queued: Vec<String> = std::iter::from_fn(|| steering.next()).collect();
        assert_eq!(queued, ["first", "/steering", "dr\u{FC}ck"]);
    }

    #[test]
    fn a_question_is_answered_by_the_next_line_and_by_nothing_at_the_end_of_the_turn() {
        let (keyboard, steering, input, mut typed) = keyboard();
        typed.write_all(b"y\nlater\n").unwrap();
        assert_eq!(keyboard.ask("? ", &input).as_deref(), Some("y"));
        drop(typed);
        // The input ended: nothing can come any more, and the turn goes on.
        assert_eq!(keyboard.listen(&input, || 7), 7);
        assert_eq!(keyboard.ask("? ", &input), None);
        assert_eq!(steering.next().as_deref(), Some("later"));
    }

    #[test]
    fn ctrl_c_at_a_question_is_no_answer() {
        let (keyboard, _, input, _typed) = keyboard();
        keyboard.cancel.store(true, Ordering::SeqCst);
        assert_eq!(keyboard.ask("? ", &input), None);
    }
}
