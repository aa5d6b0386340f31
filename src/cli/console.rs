//! The keyboard and the prompt of a terminal, from the chat's beginning to its end. One thread reads
//! keys and never waits for the screen; another one shows what they did. So nothing that is typed is lost,
//! whatever the turn does, and Ctrl-C works while the terminal is stopped (Ctrl-S).
//!
//! An editor library that gives the terminal back after each line loses what is typed in between, and one
//! that owns the whole terminal cannot let an answer appear above it piece by piece. So npast has its own.

mod buffer;
mod keys;
mod signals;
mod state;
mod view;

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::error::INTERRUPTED;
use super::output::{TextStyle, said, say, screen};
use super::raw;
use crate::attach::Steer;
use keys::{Key, KeyDecoder};
use state::{ConsoleState, InputMode, KeyEffect};

pub use state::PromptAnswer;

/// How often whoever waits for a line looks whether Ctrl-C came from elsewhere.
const LOOK: Duration = Duration::from_millis(50);
/// How long the threads may take to stop.
const STOPS: Duration = Duration::from_millis(20);
/// How long the rest of an escape sequence may take.
const SEQUENCE: Duration = Duration::from_millis(50);

/// What the text before the cursor may become: how many bytes of its end are the beginning of a name,
/// and the names that begin so.
pub type Complete = Box<dyn Fn(&str) -> (usize, Vec<String>) + Send + Sync>;

/// The terminal's keyboard and prompt.
pub struct Console {
    shared: Arc<ConsoleShared>,
    /// There while keys are read.
    reading: Mutex<Option<ConsoleThreads>>,
}

struct ConsoleShared {
    state: Mutex<ConsoleState>,
    /// The state is another one.
    changed: Condvar,
    /// Held while something is drawn, so that an older view never comes behind a newer one.
    drawing: Mutex<()>,
    /// Of the session that is open.
    steer: Mutex<Steer>,
    /// Ctrl-C.
    cancel: Arc<AtomicBool>,
    /// The terminal moves its cursor and gives single keys. Else it makes lines by itself.
    moves: bool,
    complete: Mutex<Option<Complete>>,
}

/// The threads that read and draw.
struct ConsoleThreads {
    /// Closed, it ends the reader.
    wake: Option<std::io::PipeWriter>,
    threads: Vec<JoinHandle<()>>,
}

/// What the drawing thread has to do.
enum Paint {
    State,
    Say(&'static str),
    Suspend,
    Clear,
    /// The window was resized.
    Resized,
    /// npast was stopped and goes on: somebody else had the terminal.
    Resumed,
}

impl Console {
    /// Keys are not read yet. `/steer` goes to `steer`, and `cancel` is Ctrl-C's flag.
    pub fn new(steer: Steer, cancel: Arc<AtomicBool>) -> Console {
        let looks = screen().looks();
        Console {
            shared: Arc::new(ConsoleShared {
                state: Mutex::default(),
                changed: Condvar::new(),
                drawing: Mutex::default(),
                steer: Mutex::new(steer),
                cancel,
                moves: looks.err && looks.moves && std::io::stdin().is_terminal(),
                complete: Mutex::default(),
            }),
            reading: Mutex::default(),
        }
    }

    /// Takes the terminal and reads keys from now on. Where that cannot be, nobody types.
    pub fn start(&self) {
        let mut reading = lock(&self.reading);
        if reading.is_some() {
            return;
        }
        let mut before = Vec::new();
        if self.shared.moves {
            match raw::enter() {
                Ok(()) => before = raw::typed(),
                Err(error) => tracing::warn!(%error, "the terminal is not read key by key"),
            }
        }
        screen().mark_pastes(self.shared.moves);
        match ConsoleThreads::start(&self.shared, std::io::stdin(), before) {
            Ok(threads) => *reading = Some(threads),
            Err(error) => {
                tracing::warn!(%error, "nothing that is typed can be read");
                self.shared.change(ConsoleState::leave);
            }
        }
    }

    /// Gives the terminal back.
    pub fn stop(&self) {
        if let Some(reading) = lock(&self.reading).take() {
            drop(reading);
            let mut screen = screen();
            screen.input(None);
            screen.mark_pastes(false);
            raw::leave();
        }
    }

    /// Runs `away` while the terminal belongs to another program.
    pub fn away<T>(&self, away: impl FnOnce() -> T) -> T {
        let was = lock(&self.reading).is_some();
        self.stop();
        let done = away();
        if was {
            self.start();
        }
        done
    }

    /// `/steer` goes there from now on.
    pub fn steer(&self, steer: Steer) {
        *lock(&self.shared.steer) = steer;
    }

    /// Lines for the arrow keys.
    pub fn set_history(&self, lines: Vec<String>) {
        self.shared.state().set_history(lines);
    }

    /// A message that was sent.
    pub fn remember(&self, line: &str) {
        self.shared.state().remember(line);
    }

    /// What Tab is answered with.
    pub fn set_completion(&self, complete: Complete) {
        *lock(&self.shared.complete) = Some(complete);
    }

    /// Shows a prompt and waits for a line; `left` is there to be typed on. A line that waited comes
    /// first. What was sent stays on the terminal.
    pub fn line(&self, left: &str) -> PromptAnswer {
        let shared = &self.shared;
        let prompt = |left: &str| {
            shared.change(|state| {
                state.prompt(left);
                // An earlier Ctrl-C no longer counts.
                shared.cancel.store(false, Ordering::SeqCst);
            });
        };
        if shared.moves {
            prompt(left);
        } else {
            // The terminal itself shows what is typed, and nothing else can be typed on.
            not_sent(left);
            prompt("");
            if shared.state().mode() == InputMode::Prompt {
                screen().part(TextStyle::PLAIN, "> ");
            }
        }
        shared.draw();
        let typed = shared.wait(|state| {
            // A line first: a Ctrl-C behind it is its turn's.
            if let Some(typed) = state.fetch() {
                return Some(typed);
            }
            // From a shell, or where the terminal makes lines by itself.
            if shared.cancel.load(Ordering::SeqCst) && state.mode() == InputMode::Prompt {
                shared.cancel.store(false, Ordering::SeqCst);
                state.interrupt_prompt();
            }
            state.fetch()
        });
        shared.draw();
        match &typed {
            PromptAnswer::Line(line) if shared.moves && !line.trim().is_empty() => {
                said(&view::said(line));
            }
            PromptAnswer::Line(_) if shared.moves => {}
            PromptAnswer::Line(_) => screen().line_was_entered(),
            PromptAnswer::Interrupted | PromptAnswer::End => {}
        }
        typed
    }

    /// Asks with `words`, behind what was said; the line that is typed next. None at Ctrl-C and Ctrl-D.
    pub fn ask(&self, words: &str) -> Option<String> {
        let shared = &self.shared;
        // Outside of a chat npast has the terminal only for the question.
        let taken = lock(&self.reading).is_none();
        if taken {
            raw::forget_typed();
        }
        shared.state().ask(words);
        if taken {
            self.start();
        }
        if !shared.moves {
            screen().part(TextStyle::PLAIN, words);
        }
        shared.draw();
        let answer = shared.wait(|state| match state.answered() {
            Some(answer) => Some(answer),
            None if shared.cancel.load(Ordering::SeqCst) => {
                state.end_question();
                Some(None)
            }
            None => None,
        });
        shared.draw();
        match shared.moves {
            true => say(&format!("{words}{}", answer.as_deref().unwrap_or("no"))),
            false if answer.is_some() => screen().line_was_entered(),
            false => screen().fresh_line(),
        }
        if taken {
            self.stop();
        }
        answer
    }

    /// The turn was ended: lines that wait come back to be typed on.
    pub fn take_back(&self) {
        match self.shared.moves {
            true => self.shared.change(ConsoleState::take_back),
            false => not_sent(&self.shared.change(ConsoleState::unqueue)),
        }
    }

    /// Whether the chat ends now: Ctrl-D, a second Ctrl-C, or the terminal is gone.
    pub fn leaving(&self) -> bool {
        self.shared.state().leaving()
    }

    /// How often Ctrl-C was pressed since the last prompt.
    pub fn interrupts(&self) -> usize {
        self.shared.state().interrupts()
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.stop();
    }
}

fn not_sent(text: &str) {
    if !text.is_empty() {
        say(&format!("Not sent: {text}"));
    }
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ConsoleShared {
    fn state(&self) -> MutexGuard<'_, ConsoleState> {
        lock(&self.state)
    }

    fn change<T>(&self, change: impl FnOnce(&mut ConsoleState) -> T) -> T {
        let changed = change(&mut self.state());
        self.changed.notify_all();
        changed
    }

    /// Waits until `look` finds something.
    fn wait<T>(&self, mut look: impl FnMut(&mut ConsoleState) -> Option<T>) -> T {
        let mut state = self.state();
        loop {
            if let Some(found) = look(&mut state) {
                return found;
            }
            let waited = self.changed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Shows the state as it is now.
    fn draw(&self) {
        if !self.moves {
            return;
        }
        let _alone = lock(&self.drawing);
        let (columns, lines) = screen().size();
        let view = view::view(&self.state(), columns, lines);
        screen().input(view);
    }

    /// Keys were pressed.
    fn keys(&self, keys: Vec<Key>, paint: &Sender<Paint>) {
        for key in keys {
            let effect = self.change(|state| {
                let effect = state.key(key);
                // With the state, so that it is of the turn or of the prompt, and never of both.
                if effect == Some(KeyEffect::Cancel) {
                    self.cancel.store(true, Ordering::SeqCst);
                }
                effect
            });
            match effect {
                Some(KeyEffect::Exit) => {
                    raw::leave();
                    std::process::exit(INTERRUPTED);
                }
                Some(KeyEffect::Steer(text)) => lock(&self.steer)(text),
                Some(KeyEffect::Say(text)) => drop(paint.send(Paint::Say(text))),
                Some(KeyEffect::Suspend) => drop(paint.send(Paint::Suspend)),
                Some(KeyEffect::Clear) => drop(paint.send(Paint::Clear)),
                Some(KeyEffect::Cancel) | None => {}
            }
            self.complete();
        }
        let _ = paint.send(Paint::State);
    }

    /// Tab: what fits is put in as far as all that fits agrees.
    fn complete(&self) {
        let before = {
            let mut state = self.state();
            if !state.wants_completion() {
                return;
            }
            let buffer = state.buffer();
            buffer.text()[..buffer.cursor()].to_owned()
        };
        let fits = lock(&self.complete).as_ref().map(|fits| fits(&before));
        let Some((bytes, all)) = fits else {
            return;
        };
        let Some(first) = all.first() else {
            return;
        };
        let common = all.iter().fold(first.as_str(), |common, one| {
            let same = common
                .char_indices()
                .zip(one.chars())
                .find(|((_, a), b)| a != b);
            let end = same.map_or(common.len().min(one.len()), |((at, _), _)| at);
            &common[..end]
        });
        if let Some(rest) = common.get(bytes..) {
            self.change(|state| state.complete(rest));
        }
        if all.len() > 1 && common.len() <= bytes {
            say(&all.join("  "));
        }
    }

    /// Reads keys until `wake` is closed.
    fn read(&self, input: impl AsFd, wake: impl AsFd, before: Vec<u8>, paint: &Sender<Paint>) {
        let mut keys = KeyDecoder::default();
        let typed = keys.feed(&before);
        self.keys(keys::typed_before(typed, &before), paint);
        let mut bytes = [0; 4096];
        loop {
            let mut ready = [
                PollFd::new(&input, PollFlags::IN),
                PollFd::new(&wake, PollFlags::IN),
            ];
            let soon = Timespec::try_from(SEQUENCE).ok();
            match poll(&mut ready, soon.as_ref().filter(|_| keys.waits())) {
                Ok(0) => {
                    keys.give_up();
                    continue;
                }
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(_) => return self.change(ConsoleState::leave),
            }
            if !ready[1].revents().is_empty() {
                return;
            }
            match rustix::io::read(&input, &mut bytes) {
                // Where the terminal makes lines by itself this is Ctrl-D, behind a part of a line too.
                // Else, and where it comes again, the terminal is gone.
                Ok(0) if !self.moves && !self.state().leaving() => {
                    let key = match self.state().buffer().is_empty() {
                        true => Key::EndOfInput,
                        false => Key::Enter,
                    };
                    self.keys(vec![key], paint);
                }
                Ok(0) => return self.change(ConsoleState::leave),
                Ok(n) => {
                    let typed = keys.feed(&bytes[..n]);
                    match self.moves {
                        true => self.keys(typed, paint),
                        false => self.keys(keys::typed_before(typed, &[]), paint),
                    }
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                // The terminal is gone, and with it whoever typed.
                Err(_) => return self.change(ConsoleState::leave),
            }
        }
    }

    /// Draws until nobody has anything to draw any more.
    fn paint(&self, paints: &Receiver<Paint>) {
        while let Ok(first) = paints.recv() {
            let mut draw = false;
            // However much was typed meanwhile, it is drawn once.
            for paint in std::iter::once(first).chain(paints.try_iter()) {
                match paint {
                    Paint::State => draw = true,
                    Paint::Say(text) => say(text),
                    Paint::Clear => screen().clear(),
                    Paint::Suspend => self.suspend(),
                    Paint::Resized => {
                        screen().redraw();
                        draw = true;
                    }
                    Paint::Resumed => {
                        let mut screen = screen();
                        screen.mark_pastes(true);
                        screen.redraw();
                        draw = true;
                    }
                }
            }
            if draw {
                self.draw();
            }
        }
    }

    /// Ctrl-Z: the shell has the terminal until npast goes on.
    fn suspend(&self) {
        if !self.moves {
            return;
        }
        let mut screen = screen();
        screen.mark_pastes(false);
        screen.suspended(|| {
            raw::leave();
            let _ = rustix::process::kill_current_process_group(rustix::process::Signal::TSTP);
            // Another thread may get the signal, a moment later.
            std::thread::sleep(STOPS);
            let _ = raw::enter();
        });
        screen.mark_pastes(true);
    }
}

impl ConsoleThreads {
    fn start(
        shared: &Arc<ConsoleShared>,
        input: impl AsFd + Send + 'static,
        before: Vec<u8>,
    ) -> std::io::Result<ConsoleThreads> {
        let (woken, wake) = std::io::pipe()?;
        let (paint, paints) = channel();
        signals::listen(shared, paint.clone())?;
        let mut reading = ConsoleThreads {
            wake: Some(wake),
            threads: Vec::new(),
        };
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let painter = shared.clone();
        let thread = named("prompt").spawn(move || painter.paint(&paints))?;
        reading.threads.push(thread);
        let reader = shared.clone();
        let read = move || reader.read(input, woken, before, &paint);
        reading.threads.push(named("keys").spawn(read)?);
        Ok(reading)
    }
}

impl Drop for ConsoleThreads {
    fn drop(&mut self) {
        drop(self.wake.take());
        signals::stop();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
#[path = "console/tests.rs"]
mod tests;
