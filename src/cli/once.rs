//! One turn: a prompt in, an answer out.

use std::io::IsTerminal;

use super::CliContext;
use super::console::Console;
use super::engine::Start;
use super::error::{Failure, INTERRUPTED};
use super::fullness::{announcement, is_near_the_end, on_a_command_line};
use super::input;
use super::interrupt::Interrupt;
use super::output::{EventOutput, ProgressLine, TextStyle, bars, notice, say, say_rows, screen};
use super::question::ask;
use crate::agent::{self, Done, Event, Input, TurnEnd};
use crate::approve::Grant;
use crate::attach::Talking;
use crate::ledger::Finish;
use crate::service::{Events, Request};
use crate::session::{Db, SessionId};

/// Runs the turn; the exit code is 130 when Ctrl-C ended the reply.
/// With `forget` the session is removed when the turn has ended, however it ended.
pub fn run(run: &CliContext, mut start: Start, input: Input, forget: bool) -> Result<i32, Failure> {
    check(&start, &input)?;
    let interrupt = Interrupt::listen();
    let mut output = EventOutput::new(run, interrupt.flag().clone());
    let serving = match &mut output {
        EventOutput::Text(text) => start.load(&interrupt, &mut text.progress)?,
        EventOutput::Json(_) => start.load(&interrupt, &mut ProgressLine::here(false))?,
    };
    let somebody = std::io::stdin().is_terminal() && screen().looks().err && !run.json;
    let session = start.session(&serving, input::words(&input), somebody)?;
    if start.lacks_tools(&session) && bars(run) {
        say(
            "This session has no tools: it knows what you say and no file. --agent gives it tools.",
        );
    }
    let id = session.info().id;
    let flag = interrupt.flag();
    let console = somebody.then(|| Console::new(session.steer(), flag.clone()));
    output.session(&session);
    // A Ctrl-C from here on belongs to the turn: it sees the flag before it begins.
    let options = start.turn.clone();
    let compresses = options.compress.is_some();
    let events = session.ask_until(Request::Say { input, options }, flag)?;
    // The states are written whatever becomes of the turn, and whoever reads it.
    let closing = session.close();
    let (ended, closed) = std::thread::scope(|scope| {
        let stored = scope.spawn(|| {
            let closed = closing.wait();
            interrupt.only_showing();
            closed
        });
        let ended = show(events, &session, &mut output, console.as_ref());
        let closed = stored.join();
        (ended, closed.unwrap_or(Ok(())))
    });
    output.end();
    let forgotten = match forget {
        true => removed(run, SessionId(id)),
        false => Ok(()),
    };
    if output.gone()? {
        return Ok(0);
    }
    if let Ok(Done::Turn(end)) = &ended
        && bars(run)
        && !forget
    {
        let (info, limit) = (session.info(), serving.limit());
        if end.finish == Finish::Context || is_near_the_end(info.context, limit) {
            let ways = on_a_command_line(&info.name);
            let size = (info.context, limit);
            let text = announcement(size, end.finish, compresses, &ways);
            say_rows(TextStyle::PLAIN, &text);
        }
    }
    let code = match ended? {
        Done::Turn(end) => code(end)?,
        _ => 0,
    };
    closed?;
    forgotten?;
    Ok(code)
}

/// Removes the session of a run that keeps none.
///
/// # Errors
/// When it cannot be removed.
fn removed(run: &CliContext, id: SessionId) -> Result<(), Failure> {
    let db = Db::open(&run.places.db())?;
    // A compression goes on with it as another session.
    for session in db.lineage(id)? {
        for (text, hint) in agent::remove(&run.places.home, &db, session.id)? {
            notice(&text, hint.as_deref());
        }
    }
    Ok(())
}

/// Shows the events of a request as they come, and asks the questions among them; what the request came
/// to.
///
/// # Errors
/// The request's.
pub fn show(
    events: Events,
    session: &Talking,
    output: &mut EventOutput,
    console: Option<&Console>,
) -> Result<Done, Failure> {
    for event in events {
        match event {
            Event::Question(question) => {
                output.asked(&question);
                let (grant, reason) = match console {
                    Some(console) => ask(console, &question),
                    None => (Grant::No, None),
                };
                session.answer(question.id, grant, reason);
            }
            Event::Done(done) => return Ok(done),
            Event::Error {
                kind,
                message,
                hint,
                exit,
            } => {
                return Err(Failure {
                    kind: kind.into(),
                    message,
                    hint,
                    exit,
                });
            }
            event => output.event(event),
        }
    }
    Err(
        Failure::failed("engine", "the session ended without an answer")
            .hint("nothing stored is lost; start npast again"),
    )
}

/// An empty prompt or `--continue` needs a session that has something to answer.
fn check(start: &Start, input: &Input) -> Result<(), Failure> {
    match input {
        Input::Open if !start.has_open_message()? => Err(input::empty()),
        Input::Continue if start.open.is_none() => Err(Failure::usage(
            "--continue goes on with a reply, and no session was named",
            "npast --session NAME --continue, or npast -c --continue",
        )),
        _ => Ok(()),
    }
}

fn code(end: TurnEnd) -> Result<i32, Failure> {
    if end.withdrawn.is_some() {
        return Err(Failure::interrupted().hint(
            "the message was taken back; what was read of it is kept, so it costs less next time",
        ));
    }
    Ok(match end.finish {
        Finish::Interrupted => INTERRUPTED,
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_that_was_stopped_ends_in_130_and_a_withdrawn_message_is_said() {
        let end = |finish, withdrawn: Option<&str>| {
            code(TurnEnd {
                finish,
                withdrawn: withdrawn.map(str::to_owned),
                stopped: None,
            })
        };
        assert_eq!(end(Finish::Stop, None), Ok(0));
        assert_eq!(end(Finish::Length, None), Ok(0));
        assert_eq!(end(Finish::Interrupted, None), Ok(130));
        let failure = end(Finish::Interrupted, Some("hi")).unwrap_err();
        assert_eq!((&*failure.kind, failure.exit), ("interrupted", 130));
    }
}
