//! The line chat on a terminal: one line, one turn, until Ctrl-D.

mod branch;
mod commands;
mod history;

use std::sync::Arc;

use rustyline::error::ReadlineError;

use commands::Command;
use history::History;

use super::Run;
use super::engine::Start;
use super::error::Failure;
use super::interrupt::Interrupt;
use super::keyboard::Keyboard;
use super::output::{Output, Showing, count, printable, receipt};
use crate::agent::{Conversation, Engine, Event, Input, Steering, Toolset, TurnEnd};

const HELP: &str = "\
/continue  go on with a reply that ended early
/retry     another reply to the last message
/edit      the last message again, to be changed (/edit TEXT replaces it at once)
/undo [N]  take the last N turns back; /redo puts back what was taken off
/fork NEW  go on in a new session that has what this one has
/open NAME go on in another session
/receipt   what the last turn cost, call by call
/session   name, model and size of this session
/quit      end (so does Ctrl-D)
A line typed while a reply comes is said after it; /steer TEXT is said behind the results of the
present step. Ctrl-C stops a reply and keeps what was written. A message that begins with / is typed with //.
An empty line answers a message that was left open.";

/// What a line asks for.
#[derive(Debug, PartialEq)]
enum Line {
    Say(String),
    Empty,
    Continue,
    Receipt,
    Session,
    Help,
    Quit,
    Command(Command),
    Unknown(String),
}

/// What a turn's first reply is.
enum Asked {
    /// The answer to an input, or more of the last reply.
    For(Input),
    /// Another one in the place of the last reply.
    Again,
}

/// What a command leaves to be done.
enum Step {
    Done,
    Say(Input),
    /// The line editor begins with this text, which replaces the last message.
    Edit(String),
}

fn read(line: &str) -> Line {
    let trimmed = line.trim();
    if trimmed.is_empty() {
        return Line::Empty;
    }
    if let Some(text) = trimmed.strip_prefix("//") {
        return Line::Say(format!("/{text}"));
    }
    if let Some(command) = commands::read(trimmed) {
        return Line::Command(command);
    }
    match trimmed {
        "/quit" | "/exit" => Line::Quit,
        "/help" => Line::Help,
        "/continue" => Line::Continue,
        "/receipt" => Line::Receipt,
        "/session" => Line::Session,
        // A path or a pattern is no command.
        other if other.starts_with('/') && !other[1..].contains(['/', ' ', '\n']) => {
            Line::Unknown(other.to_owned())
        }
        _ => Line::Say(line.trim_end().to_owned()),
    }
}

/// Chats until Ctrl-D or `/quit`.
pub fn run(run: &Run, mut start: Start) -> Result<i32, Failure> {
    if run.json {
        return Err(Failure::usage(
            "--json needs a message, and a chat has none to begin with",
            "npast --json \"…\", or pipe the message into it",
        ));
    }
    let interrupt = Interrupt::listen();
    let mut output = Output::new(run, interrupt.flag().clone());
    let Output::Text(text) = &mut output else {
        return Err(Failure::failed("internal", "a chat has no event output"));
    };
    let engine = start.load(&interrupt, &mut text.progress)?;
    let steering = Steering::default();
    let showing = Showing::default();
    let flag = interrupt.flag().clone();
    let keyboard = Keyboard::new(steering.clone(), flag, showing.clone());
    let mut chat = Chat {
        steering,
        keyboard: Arc::new(keyboard),
        showing,
        start,
        engine,
        interrupt,
        output,
        conversation: None,
        tools: None,
        history: History::open(run.places.home.join("history"))?,
    };
    let ended = chat.talk(run.quiet);
    if let Some(conversation) = chat.conversation.take() {
        let closed = conversation.close();
        ended?;
        closed?;
    } else {
        ended?;
    }
    Ok(0)
}

struct Chat {
    start: Start,
    engine: Engine,
    interrupt: Interrupt,
    output: Output,
    conversation: Option<Conversation>,
    tools: Option<Toolset<'static>>,
    /// What was typed while a turn ran.
    steering: Steering,
    keyboard: Arc<Keyboard>,
    /// What turns say, on its way to the terminal.
    showing: Showing<Event>,
    history: History,
}

impl Chat {
    fn talk(&mut self, quiet: bool) -> Result<(), Failure> {
        if self.start.open.is_some() {
            self.open("")?;
            if !quiet {
                self.show_session();
            }
            self.answer_open()?;
        } else if !quiet {
            eprintln!("A new session, named from its first words. /help lists the commands.");
            self.show_sandbox();
        }
        let mut left = String::new();
        let mut editing = false;
        loop {
            if left.is_empty()
                && let Some(text) = self.steering.left()
            {
                if let Some(text) = self.turn(Input::Text(text))? {
                    left = text;
                }
                continue;
            }
            // A message that was taken back is looked at before anything else is said.
            let queued = left.is_empty().then(|| self.steering.next()).flatten();
            let line = match queued.map_or_else(|| self.history.line(&left), Ok) {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => {
                    left.clear();
                    if std::mem::take(&mut editing) {
                        eprintln!("The message stays as it was.");
                        continue;
                    }
                    eprintln!("Ctrl-D ends the chat.");
                    continue;
                }
                Err(ReadlineError::Eof) => return Ok(()),
                Err(error) => {
                    let what = format!("the terminal cannot be read: {error}");
                    return Err(Failure::failed("io", what));
                }
            };
            left.clear();
            let replaces = std::mem::take(&mut editing);
            let input = match read(&line) {
                Line::Quit => return Ok(()),
                Line::Help => {
                    eprintln!("{HELP}");
                    continue;
                }
                Line::Receipt => {
                    self.show_receipts();
                    continue;
                }
                Line::Session => {
                    self.show_session();
                    continue;
                }
                Line::Unknown(word) => {
                    let word = printable(&word).into_owned();
                    eprintln!("{word} is no command; /help lists them, //… is said as it is.");
                    continue;
                }
                Line::Command(command) => match self.command(command)? {
                    Step::Done => continue,
                    Step::Say(input) => input,
                    Step::Edit(text) => {
                        (left, editing) = (text, true);
                        continue;
                    }
                },
                Line::Empty if replaces => continue,
                Line::Empty => match self.waits() {
                    true => Input::Open,
                    false => continue,
                },
                Line::Continue => Input::Continue,
                Line::Say(text) => {
                    self.history.remember(&line);
                    if replaces && !self.replace()? {
                        left = text;
                        continue;
                    }
                    Input::Text(text)
                }
            };
            if let Some(text) = self.turn(input)? {
                left = text;
            }
        }
    }

    /// A message that a crash left open is answered first.
    fn answer_open(&mut self) -> Result<(), Failure> {
        let info = self.conversation.as_ref().map(Conversation::info);
        let Some(text) = info.and_then(|i| i.open_message) else {
            return Ok(());
        };
        let start: String = text.chars().take(60).collect();
        let start = printable(&start).replace(['\n', '\t'], " ");
        eprintln!("The last message has no answer yet: {start}");
        self.turn(Input::Open).map(|_| ())
    }

    fn waits(&self) -> bool {
        let info = self.conversation.as_ref().map(Conversation::info);
        info.is_some_and(|i| i.open_message.is_some())
    }

    /// Runs a turn; the text of a message that was taken back. Its errors are said and the chat
    /// goes on, unless the engine itself is lost.
    fn turn(&mut self, input: Input) -> Result<Option<String>, Failure> {
        self.ask(Asked::For(input))
    }

    /// Runs a turn, whatever asks for its first reply.
    fn ask(&mut self, asked: Asked) -> Result<Option<String>, Failure> {
        if let Asked::For(input) = &asked
            && self.conversation.is_none()
        {
            if matches!(input, Input::Continue) {
                eprintln!("There is no reply yet to go on with.");
                return Ok(None);
            }
            let words = super::input::words(input).to_owned();
            self.open(&words)?;
        }
        let Some(conversation) = self.conversation.as_mut() else {
            return Ok(None);
        };
        self.interrupt.reset();
        let (output, showing) = (&mut self.output, &self.showing);
        let (turn, script) = (&self.start.turn, self.start.script.as_mut());
        let (tools, cancel) = (self.tools.as_mut(), self.interrupt.flag());
        let ended = self.keyboard.listen(std::io::stdin(), || {
            let show = |event| output.event(event);
            showing.during(show, |on| match asked {
                Asked::For(input) => conversation.work(input, turn, tools, script, cancel, on),
                Asked::Again => conversation.retry(turn, tools, script, cancel, on),
            })
        });
        self.output.end();
        if self.output.gone()? {
            return Err(Failure::failed("io", "the terminal is gone"));
        }
        match ended {
            Ok(TurnEnd { withdrawn, .. }) => {
                if withdrawn.is_some() {
                    eprintln!("Taken back; what was read is kept.");
                }
                Ok(withdrawn)
            }
            Err(error) => {
                let failure = Failure::from(error);
                if failure.kind == "engine" {
                    return Err(failure);
                }
                failure.print(&mut std::io::stderr());
                Ok(None)
            }
        }
    }

    fn open(&mut self, words: &str) -> Result<(), Failure> {
        let conversation = self.start.conversation(&self.engine, words)?;
        self.tools = self.served(&conversation)?;
        self.conversation = Some(conversation);
        Ok(())
    }

    /// The tools of a session that is about to be the open one.
    fn served(&mut self, by: &Conversation) -> Result<Option<Toolset<'static>>, Failure> {
        let mut tools = self.start.toolset(by, Some(self.keyboard.clone()))?;
        if let Some(tools) = &mut tools {
            tools.steering = self.steering.clone();
        }
        Ok(tools)
    }

    fn show_sandbox(&self) {
        if let Some(held) = self.start.held_back() {
            eprintln!("sandbox: {}", printable(held));
        }
    }

    fn show_session(&self) {
        match self.conversation.as_ref().map(Conversation::info) {
            None => eprintln!("The session starts with the first message."),
            Some(info) => eprintln!(
                "{} · {} · {} · {} of {} tokens · /help",
                info.name,
                printable(&info.model),
                info.class.as_str(),
                count(info.context),
                count(self.engine.facts().limit),
            ),
        }
        if self.tools.is_some() {
            self.show_sandbox();
        }
    }

    fn show_receipts(&self) {
        let Output::Text(text) = &self.output else {
            return;
        };
        if text.last.is_empty() {
            eprintln!("No turn has run yet.");
        }
        for one in &text.last {
            eprint!("{}", printable(&receipt::full(one)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_message_or_a_command_and_paths_are_messages() {
        let say = |text: &str| Line::Say(text.to_owned());
        let table = [
            ("hello ", say("hello")),
            ("  indented", say("  indented")),
            ("/quit", Line::Quit),
            (" /help ", Line::Help),
            ("/continue", Line::Continue),
            ("/receipt", Line::Receipt),
            ("/session", Line::Session),
            ("", Line::Empty),
            ("  ", Line::Empty),
            ("/quti", Line::Unknown("/quti".into())),
            ("/undo 2 ", Line::Command(Command::Undo(2))),
            ("//undo", say("/undo")),
            ("/etc/passwd", say("/etc/passwd")),
            ("/help me", say("/help me")),
            ("//quit", say("/quit")),
        ];
        for (line, want) in table {
            assert_eq!(read(line), want, "{line:?}");
        }
    }
}
