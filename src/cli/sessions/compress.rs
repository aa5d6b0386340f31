//! `npast sessions compress`: a summary takes the place of a session's middle. The model is loaded for it.

use serde_json::json;

use super::super::CliContext;
use super::super::args::{CompressArgs, TalkArgs};
use super::super::engine::Start;
use super::super::error::Failure;
use super::super::interrupt::Interrupt;
use super::super::once::show;
use super::super::output::{self, EventOutput, ProgressLine};
use crate::agent::Done;
use crate::config::Settings;
use crate::service::Request;
use crate::session::Db;

/// Runs the subcommand.
pub fn run(run: &CliContext, args: &CompressArgs, settings: Settings) -> Result<i32, Failure> {
    let path = run.places.db();
    let db = match path.is_file() {
        true => Some(Db::open(&path)?),
        false => None,
    };
    // Opening a session that does not exist would start it.
    drop(super::named(db, &args.name)?);
    let talk = TalkArgs {
        session: Some(args.name.clone()),
        script: args.script.clone(),
        alone: args.alone,
        ..TalkArgs::default()
    };
    let mut start = Start::new(run, &talk, settings)?;
    let interrupt = Interrupt::listen();
    let mut output = EventOutput::new(run, interrupt.flag().clone());
    let serving = match &mut output {
        EventOutput::Text(text) => start.load(&interrupt, &mut text.progress)?,
        EventOutput::Json(_) => start.load(&interrupt, &mut ProgressLine::here(false))?,
    };
    let session = start.session(&serving, "", false)?;
    output.session(&session);
    let request = Request::Compress {
        topic: args.topic.clone(),
        options: start.turn.clone(),
    };
    let events = session.ask_until(request, interrupt.flag())?;
    let closing = session.close();
    let done = show(events, &session, &mut output, None);
    output.end();
    let done = done?;
    closing.wait()?;
    match done {
        Done::Compressed(made) if run.json => output::json::lines(&[json!({
            "type": "compressed", "name": made.session, "from": made.from, "to": made.to,
            "plain": made.plain,
        })]),
        _ => Ok(0),
    }
}
