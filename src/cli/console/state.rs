//! What keys do: at the prompt, while a turn runs, at a question. Pure: a key in, its effects out.

use std::collections::VecDeque;

use super::buffer::Buffer;
use super::keys::{Key, MAX_PASTE};

/// What the typed text is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InputMode {
    /// A turn runs: lines wait for its end.
    Busy,
    /// The chat.
    Prompt,
    /// A question, which ends with these words.
    Ask(String),
}

/// What came of a prompt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PromptAnswer {
    Line(String),
    /// Ctrl-C: what stood there is gone.
    Interrupted,
    /// Ctrl-D: the chat is over.
    End,
}

/// What somebody else has to do about a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyEffect {
    /// The turn ends.
    Cancel,
    /// npast ends at once.
    Exit,
    /// To the model, behind the results of this step.
    Steer(String),
    Say(&'static str),
    Suspend,
    Clear,
}

/// What is typed, and for whom.
#[derive(Default)]
pub struct ConsoleState {
    mode: Option<InputMode>,
    buffer: Buffer,
    /// What was being typed when a question came.
    aside: Option<Buffer>,
    /// Lines that wait for the end of the turn.
    queue: VecDeque<String>,
    /// What the prompt gave, until it is fetched.
    typed: Option<PromptAnswer>,
    /// What the question gave: a line, or none.
    answer: Option<Option<String>>,
    /// The chat ends when the turn is over.
    leaving: bool,
    /// Ctrl-C in this turn.
    interrupts: usize,
    /// Earlier messages, the oldest first.
    history: Vec<String>,
    /// Where in it the arrow keys are, and what was typed before they went there.
    back: Option<(usize, Buffer)>,
    /// Tab was pressed, and nobody has looked what fits.
    tab: bool,
}

impl ConsoleState {
    pub fn mode(&self) -> InputMode {
        self.mode.clone().unwrap_or(InputMode::Busy)
    }

    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    pub fn queue(&self) -> &VecDeque<String> {
        &self.queue
    }

    pub fn leaving(&self) -> bool {
        self.leaving
    }

    /// How often Ctrl-C was pressed in this turn.
    pub fn interrupts(&self) -> usize {
        self.interrupts
    }

    /// Lines for the arrow keys.
    pub fn set_history(&mut self, lines: Vec<String>) {
        self.history = lines;
    }

    pub fn remember(&mut self, line: &str) {
        if self.history.last().map(String::as_str) != Some(line) {
            self.history.push(line.to_owned());
        }
    }

    /// A prompt, with `left` to be typed on. A line that waited is taken first, but not before somebody
    /// has looked at what is left.
    pub fn prompt(&mut self, left: &str) {
        if self.leaving {
            self.typed = Some(PromptAnswer::End);
            return;
        }
        self.interrupts = 0;
        self.back = None;
        self.buffer.put_before(left);
        if self.typed.is_none() {
            match left.is_empty().then(|| self.queue.pop_front()).flatten() {
                Some(line) => self.typed = Some(PromptAnswer::Line(line)),
                None => self.mode = Some(InputMode::Prompt),
            }
        }
    }

    /// What the prompt gave.
    pub fn fetch(&mut self) -> Option<PromptAnswer> {
        let typed = self.typed.take()?;
        self.mode = None;
        Some(typed)
    }

    /// A question; only what is typed from now on answers it.
    pub fn ask(&mut self, words: &str) {
        self.aside = Some(std::mem::take(&mut self.buffer));
        self.answer = None;
        self.mode = Some(InputMode::Ask(words.to_owned()));
    }

    /// What the question gave, once it did.
    pub fn answered(&mut self) -> Option<Option<String>> {
        let answer = self.answer.take()?;
        self.end_question();
        Some(answer)
    }

    /// No answer is waited for any more.
    pub fn end_question(&mut self) {
        if let Some(aside) = self.aside.take() {
            self.buffer = aside;
        }
        self.answer = None;
        self.mode = None;
    }

    /// Ctrl-C from elsewhere, at the prompt.
    pub fn interrupt_prompt(&mut self) {
        if self.mode == Some(InputMode::Prompt) {
            self.buffer.take();
            self.typed = Some(PromptAnswer::Interrupted);
        }
    }

    /// The input is over, or npast got the signal to end: the chat ends after the turn.
    pub fn leave(&mut self) {
        self.leaving = true;
        match self.mode() {
            InputMode::Prompt => self.typed = Some(PromptAnswer::End),
            InputMode::Ask(_) => self.answer = Some(None),
            InputMode::Busy => {}
        }
    }

    /// The turn was ended: what waits comes back to be typed on.
    pub fn take_back(&mut self) {
        let waiting = self.unqueue();
        let buffer = self.aside.as_mut().unwrap_or(&mut self.buffer);
        buffer.put_before(&waiting);
    }

    /// What waits, joined; nothing waits any more.
    pub fn unqueue(&mut self) -> String {
        let waiting: Vec<String> = self.queue.drain(..).collect();
        waiting.join("\n")
    }

    /// Starts a completion of the text before the cursor; true if there is one to look for.
    pub fn wants_completion(&mut self) -> bool {
        std::mem::take(&mut self.tab)
    }

    /// Types a completion.
    pub fn complete(&mut self, rest: &str) {
        self.buffer.insert(rest);
    }

    /// A key was pressed.
    pub fn key(&mut self, key: Key) -> Option<KeyEffect> {
        // What was typed behind a line that is not fetched yet is typed while it is worked on.
        let mode = match self.typed.is_some() || self.answer.is_some() {
            true => InputMode::Busy,
            false => self.mode(),
        };
        match key {
            Key::Enter => return self.enter(&mode),
            Key::Interrupt => return self.interrupt(&mode),
            Key::EndOfInput if self.buffer.is_empty() => return self.end(&mode),
            Key::Suspend => return Some(KeyEffect::Suspend),
            Key::Clear => return Some(KeyEffect::Clear),
            Key::Paste(text) => self.paste(&mode, &text),
            Key::CutPaste(text) => {
                self.paste(&mode, &text);
                debug_assert!(text.len() <= MAX_PASTE);
                return Some(KeyEffect::Say(
                    "The paste was longer than 16 MiB: only so much of it is here.",
                ));
            }
            Key::Newline if matches!(mode, InputMode::Ask(_)) => return self.enter(&mode),
            Key::Newline => self.buffer.insert("\n"),
            Key::Char(c) => self.buffer.insert(c.encode_utf8(&mut [0; 4])),
            Key::Tab if !self.buffer.unfold() => self.tab = !matches!(mode, InputMode::Ask(_)),
            Key::Tab => {}
            Key::Backspace => self.buffer.backspace(),
            Key::Delete | Key::EndOfInput => self.buffer.delete(),
            Key::Left => self.buffer.left(),
            Key::Right => self.buffer.right(),
            Key::WordLeft => self.buffer.word_left(),
            Key::WordRight => self.buffer.word_right(),
            Key::Home => self.buffer.home(),
            Key::End => self.buffer.end(),
            Key::Up => self.older(&mode),
            Key::Down => self.newer(),
            Key::KillLine => self.buffer.kill_line(),
            Key::KillBack => self.buffer.kill_back(),
            Key::KillWordBack => self.buffer.kill_word_back(),
            Key::KillWord => self.buffer.kill_word(),
            Key::Yank => self.buffer.yank(),
        }
        None
    }

    fn enter(&mut self, mode: &InputMode) -> Option<KeyEffect> {
        let before = &self.buffer.text()[..self.buffer.cursor()];
        if before.ends_with('\\') && !matches!(mode, InputMode::Ask(_)) {
            self.buffer.backspace();
            self.buffer.insert("\n");
            return None;
        }
        self.back = None;
        let line = self.buffer.take();
        match mode {
            InputMode::Prompt => self.typed = Some(PromptAnswer::Line(line)),
            InputMode::Ask(_) => self.answer = Some(Some(line)),
            InputMode::Busy => return self.line_while_busy(line),
        }
        None
    }

    fn line_while_busy(&mut self, line: String) -> Option<KeyEffect> {
        let text = line.trim();
        match text.strip_prefix("/steer") {
            Some(rest) if rest.is_empty() || rest.starts_with(char::is_whitespace) => {
                Some(match rest.trim() {
                    "" => KeyEffect::Say("/steer TEXT says TEXT behind the results of this step."),
                    rest => KeyEffect::Steer(rest.to_owned()),
                })
            }
            _ => {
                if !text.is_empty() {
                    self.queue.push_back(line);
                }
                None
            }
        }
    }

    fn interrupt(&mut self, mode: &InputMode) -> Option<KeyEffect> {
        if *mode == InputMode::Prompt {
            self.interrupt_prompt();
            return None;
        }
        if matches!(mode, InputMode::Ask(_)) {
            self.answer = Some(None);
        }
        self.interrupts += 1;
        match self.interrupts {
            1 => {
                self.take_back();
                Some(KeyEffect::Cancel)
            }
            2 => {
                self.leave();
                Some(KeyEffect::Say(
                    "npast ends when the turn has stopped; Ctrl-C once more ends it at once.",
                ))
            }
            _ => Some(KeyEffect::Exit),
        }
    }

    fn end(&mut self, mode: &InputMode) -> Option<KeyEffect> {
        self.leave();
        (*mode != InputMode::Prompt).then_some(KeyEffect::Say("The chat ends after this turn."))
    }

    /// A paste answers no question, unless it is one line.
    fn paste(&mut self, mode: &InputMode, text: &str) {
        match mode {
            InputMode::Ask(_) if text.contains('\n') => {}
            InputMode::Ask(_) => self.buffer.insert(text),
            _ => self.buffer.paste(text),
        }
    }

    fn older(&mut self, mode: &InputMode) {
        // The last waiting line is nearest: it can be changed until it is sent.
        if *mode == InputMode::Busy
            && self.buffer.is_empty()
            && let Some(line) = self.queue.pop_back()
        {
            self.buffer = Buffer::of(line);
            return;
        }
        if self.buffer.up() || matches!(mode, InputMode::Ask(_)) {
            return;
        }
        let at = self.back.as_ref().map_or(self.history.len(), |(at, _)| *at);
        let Some(older) = at.checked_sub(1) else {
            return;
        };
        let line = Buffer::of(self.history[older].clone());
        let now = std::mem::replace(&mut self.buffer, line);
        let typed = self.back.take().map_or(now, |(_, typed)| typed);
        self.back = Some((older, typed));
    }

    fn newer(&mut self) {
        if self.buffer.down() {
            return;
        }
        if let Some((at, typed)) = self.back.take() {
            match self.history.get(at + 1) {
                Some(line) => {
                    self.buffer = Buffer::of(line.clone());
                    self.back = Some((at + 1, typed));
                }
                None => self.buffer = typed,
            }
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
