//! The commands that go back, aside, or to another session: what they do.

use super::super::error::Failure;
use super::super::output::{EventOutput, count, failed, rows, say};
use super::commands::ChatCommand;
use super::{AfterCommand, Chat};
use crate::agent::{Done, Input, WhichSession};
use crate::approve::Approve;
use crate::harmless;
use crate::service::Request;

impl Chat {
    /// Does a command. An error is printed and changes nothing; the chat goes on.
    pub(super) fn command(&mut self, command: ChatCommand) -> Result<AfterCommand, Failure> {
        match self.obey(command) {
            Ok(step) => Ok(step),
            Err(failure) if failure.kind == "engine" => Err(failure),
            Err(failure) => {
                failed(&failure);
                Ok(AfterCommand::Done)
            }
        }
    }

    fn obey(&mut self, command: ChatCommand) -> Result<AfterCommand, Failure> {
        match command {
            ChatCommand::Wrong(how) => {
                say(&format!("{how}."));
                return Ok(AfterCommand::Done);
            }
            ChatCommand::Open(name) => {
                self.switch(&name)?;
                return Ok(AfterCommand::Done);
            }
            ChatCommand::Mode(mode) => {
                self.mode(mode);
                return Ok(AfterCommand::Done);
            }
            ChatCommand::Show(number) => {
                self.show_result(number);
                return Ok(AfterCommand::Done);
            }
            _ => {}
        }
        match command {
            ChatCommand::Undo(turns) => {
                let here = self.info().map(|info| info.name);
                if let Done::Undone(taken) = self.ask(Request::Undo { turns })? {
                    let there = match here.as_deref() == Some(&taken.session) {
                        true => String::new(),
                        false => format!(
                            " in {}, before its compression",
                            harmless::line(&taken.session)
                        ),
                    };
                    say(&format!(
                        "Taken back{there}: {} messages, {} tokens. /redo puts them back.",
                        count(taken.messages),
                        count(taken.tokens)
                    ));
                    self.show_last_exchange()?;
                }
            }
            ChatCommand::Redo(branch) => {
                if let Done::Redone { tokens } = self.ask(Request::Redo { branch })? {
                    say(&format!("Put back: {} tokens now.", count(tokens)));
                    self.show_last_exchange()?;
                }
            }
            ChatCommand::Edit(Some(text)) => {
                self.ask(Request::Edit)?;
                return Ok(AfterCommand::Say(Input::Text(text)));
            }
            // Taken back only when another text was typed.
            ChatCommand::Edit(None) => match self.ask(Request::Info)? {
                Done::Info {
                    last_text: Some(text),
                    ..
                } => return Ok(AfterCommand::Edit(text)),
                _ => {
                    return Err(Failure::usage(
                        "there is no message to edit",
                        "say something first",
                    ));
                }
            },
            ChatCommand::Fork(name) => {
                let request = Request::Fork { name, keep: None };
                if let Done::Forked { name } = self.ask(request)? {
                    self.switch(&name)?;
                }
            }
            ChatCommand::Retry => {
                if self.session.is_none() {
                    self.ask(Request::Info)?;
                }
                let options = self.start.turn.clone();
                self.reply(Request::Retry { options })?;
            }
            ChatCommand::Compress(topic) => self.compress(topic.as_deref())?,
            ChatCommand::Aside(question) => {
                let options = self.start.turn.clone();
                self.reply(Request::Aside { question, options })?;
            }
            ChatCommand::Prune => self.prune()?,
            ChatCommand::Open(_)
            | ChatCommand::Mode(_)
            | ChatCommand::Show(_)
            | ChatCommand::Wrong(_) => {}
        }
        Ok(AfterCommand::Done)
    }

    /// From the next message on calls are judged so; without a mode it says how they are judged.
    fn mode(&mut self, mode: Option<Approve>) {
        if mode.is_some() {
            self.start.turn.approve = mode;
        }
        let mode = self.start.policy();
        let means = match mode {
            Approve::Ask => "npast asks about what no rule of yours allows",
            Approve::Edits => {
                "files of this folder are changed without a question, all else is asked"
            }
            Approve::Auto => "what no rule forbids runs; what cannot be judged is asked",
            Approve::Deny => "what no rule of yours allows is refused",
        };
        say(&format!("Mode {}: {means}.", mode.as_str()));
    }

    /// Shows a result of a tool whole.
    fn show_result(&self, number: Option<usize>) {
        if let EventOutput::Text(text) = &self.output {
            match text.steps.whole(number) {
                Ok(shown) => rows(&shown),
                Err(why) => say(&why),
            }
        }
    }

    /// Compresses the conversation now.
    fn compress(&mut self, topic: Option<&str>) -> Result<(), Failure> {
        let done = self.ask(Request::Compress {
            topic: topic.map(str::to_owned),
            options: self.start.turn.clone(),
        });
        self.output.end();
        done.map(drop)
    }

    /// Replaces old long results by a line each.
    fn prune(&mut self) -> Result<(), Failure> {
        let options = self.start.turn.clone();
        let done = self.ask(Request::Prune { options });
        self.output.end();
        done.map(drop)
    }

    /// Takes the last message back for the text that was typed in its place.
    pub(super) fn replace(&mut self) -> Result<bool, Failure> {
        if self.session.is_none() {
            return Ok(false);
        }
        match self.ask(Request::Edit) {
            Ok(_) => Ok(true),
            Err(failure) => {
                failed(&failure);
                Ok(false)
            }
        }
    }

    /// Goes on in another session; the present one stays when that cannot be had.
    fn switch(&mut self, name: &str) -> Result<(), Failure> {
        if self.info().is_some_and(|info| info.name == name) {
            return Err(Failure::usage(
                format!("session {} is open already", harmless::line(name)),
                "`npast sessions list` shows the others",
            ));
        }
        let open = WhichSession::Named(name.to_owned());
        let next = self.start.named(&self.serving, open, true)?;
        self.leave()?;
        self.take(next);
        self.show_session();
        self.show_last_exchange()?;
        self.answer_open()
    }
}
