//! One turn: a prompt in, an answer out.

use std::io::IsTerminal;
use std::sync::Arc;

use super::Run;
use super::console::Console;
use super::engine::Start;
use super::error::{Failure, INTERRUPTED};
use super::input;
use super::interrupt::Interrupt;
use super::output::{Output, Progress, Showing, screen};
use crate::agent::{Input, Steering, TurnEnd};
use crate::ledger::Finish;

/// Runs the turn; the exit code is 130 when Ctrl-C ended the reply.
pub fn run(run: &Run, mut start: Start, input: Input) -> Result<i32, Failure> {
    check(&start, &input)?;
    let interrupt = Interrupt::listen();
    let mut output = Output::new(run, interrupt.flag().clone());
    let engine = match &mut output {
        Output::Text(text) => start.load(&interrupt, &mut text.progress)?,
        Output::Json(_) => start.load(&interrupt, &mut Progress::here(false))?,
    };
    let mut conversation = start.conversation(&engine, input::words(&input))?;
    let somebody = std::io::stdin().is_terminal() && screen().looks().err && !run.json;
    let showing = Showing::default();
    let console = || {
        let flag = interrupt.flag().clone();
        Arc::new(Console::new(Steering::default(), flag, showing.clone()))
    };
    let mut tools = start.toolset(&conversation, somebody.then(console))?;
    output.session(&conversation.info(), start.held_back());
    // A Ctrl-C from here on belongs to the turn: it sees the flag before it begins.
    let (ended, closed) = showing.during(
        |event| output.event(event),
        |on| {
            let ended = conversation.work(
                input,
                &start.turn,
                tools.as_mut(),
                start.script.as_mut(),
                interrupt.flag(),
                on,
            );
            // The states are written whatever became of the turn, and whoever reads it.
            let closed = conversation.close();
            interrupt.only_showing();
            (ended, closed)
        },
    );
    output.end();
    if output.gone()? {
        return Ok(0);
    }
    let code = code(ended?)?;
    closed?;
    Ok(code)
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
        assert_eq!((failure.kind, failure.exit), ("interrupted", 130));
    }
}
