//! What the commands do that go back, aside, or to another session.

use super::super::error::Failure;
use super::super::output::{count, failed, say};
use super::super::sessions::refused;
use super::commands::Command;
use super::{Asked, Chat, Step};
use crate::agent::{Conversation, Input, Open};
use crate::harmless;

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
        let Some(conversation) = self.conversation.as_mut() else {
            return Err(Failure::usage(
                "the session has not begun",
                "say something first, or open another one with /open NAME",
            ));
        };
        match command {
            Command::Undo(turns) => {
                let here = conversation.info().name;
                let taken = conversation.undo(turns)?;
                let there = match taken.session == here {
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
            Command::Redo(branch) => {
                let tokens = conversation.redo(branch)?;
                say(&format!("Put back: {} tokens now.", count(tokens)));
            }
            Command::Edit(Some(text)) => {
                conversation.edit()?;
                return Ok(Step::Say(Input::Text(text)));
            }
            // Taken back only when another text was typed.
            Command::Edit(None) => match conversation.last_text() {
                Some(text) => return Ok(Step::Edit(text)),
                None => {
                    return Err(Failure::usage(
                        "there is no message to edit",
                        "say something first",
                    ));
                }
            },
            Command::Fork(name) => {
                let child = conversation.fork(name.as_deref(), None)?;
                self.switch(&child.name)?;
            }
            Command::Retry => {
                self.ask(Asked::Again)?;
            }
            Command::Compress(topic) => self.compress(topic.as_deref())?,
            Command::Prune => self.prune()?,
            Command::Open(_) | Command::Wrong(_) => {}
        }
        Ok(Step::Done)
    }

    /// Compresses the conversation now.
    fn compress(&mut self, topic: Option<&str>) -> Result<(), Failure> {
        let Some(conversation) = self.conversation.as_mut() else {
            return Ok(());
        };
        let name = conversation.info().name;
        let (output, showing) = (&mut self.output, &self.showing);
        let (turn, script) = (&self.start.turn, self.start.script.as_mut());
        let cancel = self.interrupt.flag();
        let done = showing.during(
            |event| output.event(event),
            |on| conversation.compress(topic, turn, script, cancel, on),
        );
        self.output.end();
        match done? {
            Ok(_) => Ok(()),
            Err(why) => Err(refused(&name, &why)),
        }
    }

    /// Replaces old long results by a line each.
    fn prune(&mut self) -> Result<(), Failure> {
        let Some(conversation) = self.conversation.as_mut() else {
            return Ok(());
        };
        let (output, showing) = (&mut self.output, &self.showing);
        let (turn, cancel) = (&self.start.turn, self.interrupt.flag());
        let done = showing.during(
            |event| output.event(event),
            |on| conversation.prune(turn, cancel, on),
        );
        self.output.end();
        match done? {
            Ok(_) => Ok(()),
            Err(_) => Err(Failure::failed(
                "refused",
                "there is no long result of a tool before the last turns",
            )),
        }
    }

    /// Takes the last message back for the text that was typed in its place.
    pub(super) fn replace(&mut self) -> Result<bool, Failure> {
        let Some(conversation) = self.conversation.as_mut() else {
            return Ok(false);
        };
        match conversation.edit() {
            Ok(_) => Ok(true),
            Err(error) => {
                failed(&Failure::from(error));
                Ok(false)
            }
        }
    }

    /// Goes on in another session; the present one stays when that cannot be had.
    fn switch(&mut self, name: &str) -> Result<(), Failure> {
        let here = self.conversation.as_ref().map(Conversation::info);
        if here.is_some_and(|info| info.name == name) {
            return Err(Failure::usage(
                format!("session {} is open already", harmless::line(name)),
                "`npast sessions list` shows the others",
            ));
        }
        let open = Open::Named(name.to_owned());
        let next = self.start.named(&self.engine, open)?;
        self.tools = self.served(&next)?;
        if let Some(last) = self.conversation.replace(next) {
            last.close()?;
        }
        self.show_session();
        self.answer_open()
    }
}
