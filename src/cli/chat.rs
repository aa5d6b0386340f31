//! The line chat on a terminal: one line, one turn, until Ctrl-D.

use std::path::PathBuf;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};

use super::Run;
use super::engine::Start;
use super::error::Failure;
use super::interrupt::Interrupt;
use super::output::{Output, count, printable, receipt};
use crate::agent::{Conversation, Engine, Input, TurnEnd};

const HELP: &str = "\
/continue  go on with a reply that ended early
/receipt   what the last turn cost, call by call
/session   name, model and size of this session
/quit      end (so does Ctrl-D)
Ctrl-C stops a reply and keeps what was written. A message that begins with / is typed with //.
An empty line answers a message that was left open.";

/// Lines kept for the arrow keys.
const HISTORY: usize = 1000;

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
    Unknown(String),
}

fn read(line: &str) -> Line {
    let trimmed = line.trim();
    if trimmed.is_empty() {
        return Line::Empty;
    }
    if let Some(text) = trimmed.strip_prefix("//") {
        return Line::Say(format!("/{text}"));
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
pub fn run(run: &Run, start: Start) -> Result<i32, Failure> {
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
    let mut chat = Chat {
        start,
        engine,
        interrupt,
        output,
        conversation: None,
        editor: editor(run.places.home.join("history"))?,
        history: run.places.home.join("history"),
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
    editor: Editor<(), FileHistory>,
    history: PathBuf,
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
        }
        let mut left = String::new();
        loop {
            let line = match self.editor.readline_with_initial("> ", (&left, "")) {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => {
                    left.clear();
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
                Line::Empty => match self.waits() {
                    true => Input::Open,
                    false => continue,
                },
                Line::Continue => Input::Continue,
                Line::Say(text) => {
                    self.remember(&line);
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
        if self.conversation.is_none() {
            if matches!(input, Input::Continue) {
                eprintln!("There is no reply yet to go on with.");
                return Ok(None);
            }
            let words = super::input::words(&input).to_owned();
            self.open(&words)?;
        }
        let Some(conversation) = self.conversation.as_mut() else {
            return Ok(None);
        };
        self.interrupt.reset();
        let output = &mut self.output;
        let ended = conversation.turn(
            input,
            &self.start.turn,
            self.start.script.as_mut(),
            self.interrupt.flag(),
            &mut |event| output.event(event),
        );
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
                if failure.kind == "poisoned" {
                    return Err(failure);
                }
                failure.print(&mut std::io::stderr());
                Ok(None)
            }
        }
    }

    fn open(&mut self, words: &str) -> Result<(), Failure> {
        let conversation = self.start.conversation(&self.engine, words)?;
        self.output.session(&conversation.info());
        self.conversation = Some(conversation);
        Ok(())
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

    fn remember(&mut self, line: &str) {
        let kept = self.editor.add_history_entry(line);
        let kept = kept.and_then(|_| self.editor.append_history(&self.history));
        if let Err(error) = kept {
            tracing::warn!(%error, "the line was not added to the history file");
        }
    }
}

fn editor(history: PathBuf) -> Result<Editor<(), FileHistory>, Failure> {
    let failed = |e: ReadlineError| {
        Failure::failed("io", format!("the terminal cannot be used: {e}"))
            .hint("give the message as PROMPT, or pipe it in")
    };
    let config = Config::builder()
        .max_history_size(HISTORY)
        .map_err(failed)?
        .build();
    let mut editor = Editor::with_config(config).map_err(failed)?;
    // Lines are private, and the file is made by us so that its mode never depends on a umask.
    if let Err(error) = private(&history) {
        tracing::warn!(%error, "no history file");
    } else if let Err(error) = editor.load_history(&history) {
        tracing::debug!(%error, "the history file was not read");
    }
    Ok(editor)
}

fn private(path: &std::path::Path) -> std::io::Result<()> {
    let mut open = std::fs::OpenOptions::new();
    open.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
    let _file = open.open(path)?;
    #[cfg(unix)]
    _file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(())
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
            ("/etc/passwd", say("/etc/passwd")),
            ("/help me", say("/help me")),
            ("//quit", say("/quit")),
        ];
        for (line, want) in table {
            assert_eq!(read(line), want, "{line:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_history_file_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        private(&path).unwrap();
        private(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
