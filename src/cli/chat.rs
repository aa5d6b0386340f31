//! The chat on a terminal: one message, one turn, until Ctrl-D.

mod back;
mod branch;
mod commands;
mod complete;
mod external;
mod history;

use std::sync::Arc;

use commands::ChatCommand;
use history::InputHistory;

use super::CliContext;
use super::console::{Console, PromptAnswer};
use super::engine::Start;
use super::error::{Failure, INTERRUPTED};
use super::fullness::{IN_A_CHAT, announcement, is_near_the_end};
use super::interrupt::Interrupt;
use super::once::show;
use super::output::{EventOutput, TextStyle, failed, receipt, say, say_rows};
use crate::agent::{Done, Info, Input, Steering, TurnEnd};
use crate::attach::{Serving, Talking};
use crate::harmless;
use crate::ledger::Finish;
use crate::service::Request;

const HELP: &str = "\
/continue  go on with a reply that ended early
/retry     another reply to the last message
/edit      the last message again, to be changed (/edit TEXT replaces it at once)
/undo [N]  take the last N turns back; /redo puts back what was taken off
/fork NEW  go on in a new session that has what this one has
/open NAME go on in another session
/compress  put a summary in the place of the middle (/compress TOPIC gives most room to that)
/btw TEXT  ask something beside the conversation, which goes on as if nobody had asked
/prune     replace old long results of tools by a line each
/approve   what happens to calls that no rule speaks of: ask, edits (files of this folder are changed
           without a question), auto, deny
/show N    the result number N of a tool whole; /show shows the last one
/receipt   what the last turn cost, call by call
/session   name, model and size of this session
/editor    write the message in $VISUAL or $EDITOR
/quit      end (so does Ctrl-D)
Several lines: Alt-Enter, Ctrl-J, or \\ at the end of a line. A paste is one message; a long one is
folded, and Tab beside it opens it. Tab completes commands, sessions, and files behind @.
A line typed during a reply is sent when the reply has ended; /steer TEXT is sent sooner, after the
results of the calls that run. Ctrl-C stops the reply, keeps its text, and puts lines that wait back
into the input; a second one ends npast. A message that begins with / is typed with //. An empty line answers a message that was
left open.";

/// Every command, for Tab and for words that are nearly one.
const COMMANDS: [&str; 19] = [
    "/continue",
    "/retry",
    "/edit",
    "/editor",
    "/undo",
    "/redo",
    "/fork",
    "/open",
    "/compress",
    "/prune",
    "/btw",
    "/approve",
    "/show",
    "/receipt",
    "/session",
    "/steer",
    "/help",
    "/quit",
    "/exit",
];

/// What a line means.
#[derive(Debug, PartialEq)]
enum TypedLine {
    Say(String),
    Empty,
    Continue,
    Receipt,
    Session,
    Help,
    Quit,
    Editor,
    Command(ChatCommand),
    Unknown(String),
}

/// What a command leaves to be done.
enum AfterCommand {
    Done,
    Say(Input),
    /// The line editor begins with this text, which replaces the last message.
    Edit(String),
}

fn read(line: &str) -> TypedLine {
    let trimmed = line.trim();
    if trimmed.is_empty() {
        return TypedLine::Empty;
    }
    if let Some(text) = trimmed.strip_prefix("//") {
        return TypedLine::Say(format!("/{text}"));
    }
    if let Some(command) = commands::read(trimmed) {
        return TypedLine::Command(command);
    }
    match trimmed {
        "/quit" | "/exit" => TypedLine::Quit,
        "/help" => TypedLine::Help,
        "/editor" => TypedLine::Editor,
        "/continue" => TypedLine::Continue,
        "/receipt" => TypedLine::Receipt,
        "/session" => TypedLine::Session,
        // A path or a pattern is no command.
        other if other.starts_with('/') && !other[1..].contains(['/', ' ', '\n']) => {
            TypedLine::Unknown(other.to_owned())
        }
        _ => TypedLine::Say(line.trim_end().to_owned()),
    }
}

/// Chats until Ctrl-D or `/quit`.
pub fn run(run: &CliContext, mut start: Start) -> Result<i32, Failure> {
    // The user reads: what a turn leaves to be done is done then.
    start.turn.idle = true;
    if run.json {
        return Err(Failure::usage(
            "--json needs a message, and a chat has none to begin with",
            "npast --json \"…\", or pipe the message into it",
        ));
    }
    let interrupt = Interrupt::listen();
    let early = Steering::default();
    let flag = interrupt.flag().clone();
    // From now on nothing that is typed is lost, also while the model is loaded.
    let steer = early.clone();
    let console = Arc::new(Console::new(Arc::new(move |text| steer.steer(text)), flag));
    let (history, lines) = InputHistory::open(run.places.home.join("history"));
    console.set_history(lines);
    console.set_completion(complete::here(run.places.db()));
    console.start();
    let mut output = EventOutput::new(run, interrupt.flag().clone());
    let EventOutput::Text(text) = &mut output else {
        return Err(Failure::failed("internal", "a chat has no event output"));
    };
    text.steps.numbered = true;
    let serving = start.load(&interrupt, &mut text.progress)?;
    let mut chat = Chat {
        home: run.places.home.clone(),
        early,
        console,
        start,
        serving,
        interrupt,
        output,
        session: None,
        history,
        announced: None,
    };
    let ended = chat.talk(run.quiet);
    let code = match chat.console.interrupts() {
        0 | 1 => 0,
        _ => INTERRUPTED,
    };
    let closed = chat.leave();
    ended?;
    closed?;
    Ok(code)
}

struct Chat {
    /// The data folder.
    home: std::path::PathBuf,
    start: Start,
    serving: Serving,
    interrupt: Interrupt,
    output: EventOutput,
    session: Option<Talking>,
    /// What was steered before there was a session.
    early: Steering,
    console: Arc<Console>,
    history: InputHistory,
    /// The session of which was said that it is near the end of its context.
    announced: Option<i64>,
}

impl Chat {
    fn talk(&mut self, quiet: bool) -> Result<(), Failure> {
        if self.start.open.is_some() {
            self.open("")?;
            if !quiet {
                self.show_session();
                if self.info().is_some_and(|info| info.resumed) {
                    self.show_last_exchange()?;
                }
            }
            self.answer_open()?;
        } else if !quiet {
            self.show_session();
            say("A new session, named from its first words. /help lists the commands.");
        }
        let mut left = String::new();
        let mut editing = false;
        loop {
            // What could not be said in the last step any more. After Ctrl-C it is looked at first.
            if let Some(text) = self.steered() {
                if left.is_empty() && !self.interrupt.asked() && !self.console.leaving() {
                    if let Some(text) = self.turn(Input::Text(text))? {
                        left = text;
                    }
                    continue;
                }
                left = match left.is_empty() {
                    true => text,
                    false => format!("{left}\n{text}"),
                };
            }
            let line = match self.console.line(&std::mem::take(&mut left)) {
                PromptAnswer::Line(line) => line,
                PromptAnswer::Interrupted => {
                    say(match std::mem::take(&mut editing) {
                        true => "The message stays as it was.",
                        false => "Ctrl-D ends the chat.",
                    });
                    continue;
                }
                PromptAnswer::End => return Ok(()),
            };
            let replaces = std::mem::take(&mut editing);
            let input = match read(&line) {
                TypedLine::Quit => return Ok(()),
                TypedLine::Help => {
                    say_rows(TextStyle::PLAIN, HELP);
                    continue;
                }
                TypedLine::Receipt => {
                    self.show_receipts();
                    continue;
                }
                TypedLine::Session => {
                    self.show_session();
                    continue;
                }
                TypedLine::Unknown(word) => {
                    say(&unknown(&word));
                    continue;
                }
                TypedLine::Editor => {
                    left = self.edited("");
                    continue;
                }
                TypedLine::Command(command) => match self.command(command)? {
                    AfterCommand::Done => continue,
                    AfterCommand::Say(input) => input,
                    AfterCommand::Edit(text) => {
                        (left, editing) = (text, true);
                        continue;
                    }
                },
                TypedLine::Empty if replaces => continue,
                TypedLine::Empty => match self.waits() {
                    true => Input::Open,
                    false => continue,
                },
                TypedLine::Continue => Input::Continue,
                TypedLine::Say(text) => {
                    self.history.remember(&line);
                    self.console.remember(&line);
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
        let Some(text) = self.info().and_then(|info| info.open_message) else {
            return Ok(());
        };
        let start: String = text.chars().take(60).collect();
        let start = harmless::line(&start);
        say(&format!("The last message has no answer yet: {start}"));
        self.turn(Input::Open).map(|_| ())
    }

    /// What the open session is.
    fn info(&self) -> Option<Info> {
        self.session.as_ref().map(Talking::info)
    }

    /// What was steered and could not be said in a turn.
    fn steered(&self) -> Option<String> {
        match &self.session {
            Some(session) => session.left(),
            None => self.early.left(),
        }
    }

    fn waits(&self) -> bool {
        self.info().is_some_and(|info| info.open_message.is_some())
    }

    /// Runs a turn; the text of a message that was taken back. Its errors are printed and the chat
    /// goes on, unless the engine itself is lost.
    fn turn(&mut self, input: Input) -> Result<Option<String>, Failure> {
        if self.session.is_none() {
            if matches!(input, Input::Continue) {
                say("There is no reply yet to go on with.");
                return Ok(None);
            }
            let words = super::input::words(&input).to_owned();
            self.open(&words)?;
        }
        let options = self.start.turn.clone();
        self.reply(Request::Say { input, options })
    }

    /// Has a request done that ends with a reply; see [`Chat::turn`].
    fn reply(&mut self, request: Request) -> Result<Option<String>, Failure> {
        let done = self.ask(request);
        self.output.end();
        if self.interrupt.asked() && self.console.interrupts() == 0 {
            // Ctrl-C as a signal. As a key it has taken back what waited then.
            self.console.take_back();
        }
        if self.output.gone()? {
            return Err(Failure::failed("io", "the terminal is gone"));
        }
        match done {
            Ok(Done::Turn(TurnEnd {
                withdrawn, finish, ..
            })) => {
                if withdrawn.is_some() {
                    say("Taken back; what was read is kept.");
                }
                self.announce_end(finish);
                Ok(withdrawn)
            }
            Ok(_) => Ok(None),
            Err(failure) if failure.kind == "engine" => Err(failure),
            Err(failure) => {
                failed(&failure);
                Ok(None)
            }
        }
    }

    /// Makes a request of the open session, and shows what happens.
    fn ask(&mut self, request: Request) -> Result<Done, Failure> {
        let session = self.session.as_ref().ok_or_else(|| {
            Failure::usage(
                "the session has not begun",
                "say something first, or open another one with /open NAME",
            )
        })?;
        let events = session.ask_until(request, self.interrupt.flag())?;
        show(events, session, &mut self.output, Some(&self.console))
    }

    /// Closes the open session.
    fn leave(&mut self) -> Result<(), Failure> {
        match self.session.take() {
            Some(session) => Ok(session.close().wait()?),
            None => Ok(()),
        }
    }

    /// The text as the user's own editor leaves it.
    fn edited(&self, text: &str) -> String {
        let edited = self.console.away(|| external::edit(text, &self.home));
        edited.unwrap_or_else(|error| {
            say(&format!("{error}; the message is as it was."));
            text.to_owned()
        })
    }

    fn open(&mut self, words: &str) -> Result<(), Failure> {
        let session = self.start.session(&self.serving, words, true)?;
        self.take(session);
        Ok(())
    }

    /// The chat goes on in this session.
    fn take(&mut self, session: Talking) {
        // What is steered from now on is said to its turns.
        let steer = session.steer();
        self.console.steer(steer.clone());
        if let Some(text) = self.steered() {
            steer(text);
        }
        self.session = Some(session);
    }

    fn show_sandbox(&self) {
        let held = match &self.session {
            Some(session) => session.sandbox(),
            None => self.start.held_back(),
        };
        if let Some(held) = held {
            say_rows(TextStyle::PLAIN, &format!("sandbox: {held}"));
        }
    }

    /// Says once that the conversation is near the end of its context, or at it.
    fn announce_end(&mut self, finish: Finish) {
        let Some(info) = self.info() else {
            return;
        };
        let limit = self.serving.limit();
        let near = is_near_the_end(info.context, limit);
        if finish != Finish::Context {
            if !near {
                self.announced = None;
            }
            if !near || self.announced.replace(info.id) == Some(info.id) {
                return;
            }
        }
        let own = self.start.turn.compress.is_some();
        let size = (info.context, limit);
        say_rows(
            TextStyle::PLAIN,
            &announcement(size, finish, own, IN_A_CHAT),
        );
    }

    fn show_receipts(&self) {
        let EventOutput::Text(text) = &self.output else {
            return;
        };
        if text.last.is_empty() {
            say("No turn has run yet.");
        }
        for one in &text.last {
            say(receipt::full(one).trim_end());
        }
    }
}

/// A word that is none of the commands; what was meant, if it is near one.
fn unknown(word: &str) -> String {
    let near = COMMANDS
        .iter()
        .map(|command| (strsim::damerau_levenshtein(command, word), command))
        .filter(|(far, _)| *far <= 2)
        .min();
    let word = harmless::line(word);
    match near {
        Some((_, command)) => format!("{word} is no command; did you mean {command}?"),
        None => format!("{word} is no command; /help lists them, //… is sent as it is."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_nearly_a_command_asks_for_it() {
        let nearly = unknown("/hlep");
        assert_eq!(nearly, "/hlep is no command; did you mean /help?");
        assert!(unknown("/\u{1b}[2J").contains("/help lists them"));
        for command in COMMANDS.iter().filter(|c| !["/exit", "/help"].contains(c)) {
            assert!(HELP.contains(*command), "{command}");
        }
    }

    #[test]
    fn a_line_is_a_message_or_a_command_and_paths_are_messages() {
        let say = |text: &str| TypedLine::Say(text.to_owned());
        let table = [
            ("hello ", say("hello")),
            ("  indented", say("  indented")),
            ("/quit", TypedLine::Quit),
            (" /help ", TypedLine::Help),
            ("/continue", TypedLine::Continue),
            ("/receipt", TypedLine::Receipt),
            ("/session", TypedLine::Session),
            ("", TypedLine::Empty),
            ("  ", TypedLine::Empty),
            ("/quti", TypedLine::Unknown("/quti".into())),
            ("/undo 2 ", TypedLine::Command(ChatCommand::Undo(2))),
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
