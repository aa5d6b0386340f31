//! What the commands do that go back, aside, or to another session.

use super::super::error::Failure;
use super::super::output::{count, failed, say};
use super::commands::Command;
use super::{Chat, Step};
use crate::agent::{Done, Input, Open};
use crate::harmless;
use crate::service::Request;

impl Chat {
    /// Does a command. What goes wrong is said and changes nothing; the chat goes on.
    pub(super) fn command(&mut self, command: Command) -> Result<Step, Failure> {
        match self.obey(command) {
            Ok(step) => Ok(step),
            Err(failure) if failure.kind == "engine" => Err(failure),
            Err(failure) => {
                failed(&failure);
                Ok(Step::Done)
            }
        }
    }

    fn obey(&mut self, command: Command) -> Result<Step, Failure> {
        match command {
            Command::Wrong(how) => {
                say(&format!("{how}."));
                return Ok(Step::Done);
            }
            Command::Open(name) => {
                self.switch(&name)?;
                return Ok(Step::Done);
            }
            _ => {}
        }
        match command {
            Command::Undo(turns) => {
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
                }
            }
            Command::Redo(branch) => {
                if let Done::Redone { tokens } = self.ask(Request::Redo { branch })? {
                    say(&format!("Put back: {} tokens now.", count(tokens)));
                }
            }
            Command::Edit(Some(text)) => {
                self.ask(Request::Edit)?;
                return Ok(Step::Say(Input::Text(text)));
            }
            // Taken back only when another text was typed.
            Command::Edit(None) => match self.ask(Request::Info)? {
                Done::Info {
                    last_text: Some(text),
                    ..
                } => return Ok(Step::Edit(text)),
                _ => {
                    return Err(Failure::usage(
                        "there is no message to edit",
                        "say something first",
                    ));
                }
            },
            Command::Fork(name) => {
                let request = Request::Fork { name, keep: None };
                if let Done::Forked { name } = self.ask(request)? {
                    self.switch(&name)?;
                }
            }
            Command::Retry => {
                if self.session.is_none() {
                    self.ask(Request::Info)?;
                }
                let options = self.start.turn.clone();
                self.reply(Request::Retry { options })?;
            }
            Command::Compress(topic) => self.compress(topic.as_deref())?,
            Command::Aside(question) => {
                let options = self.start.turn.clone();
                self.reply(Request::Aside { question, options })?;
            }
            Command::Prune => self.prune()?,
            Command::Open(_) | Command::Wrong(_) => {}
        }
        Ok(Step::Done)
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
        let open = Open::Named(name.to_owned());
        let next = self.start.named(&self.serving, open, true)?;
        self.leave()?;
        self.take(next);
        self.show_session();
        self.answer_open()
    }
}
