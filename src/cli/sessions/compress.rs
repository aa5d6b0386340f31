//! `npast sessions compress`: a summary takes the place of a session's middle. The model is loaded for it.

use serde_json::json;

use super::super::Run;
use super::super::args::{CompressArgs, TalkArgs};
use super::super::engine::Start;
use super::super::error::Failure;
use super::super::interrupt::Interrupt;
use super::super::output::{self, Output, Progress, Showing};
use crate::agent::Refused;
use crate::config::Settings;
use crate::session::Db;

/// Runs the subcommand.
pub fn run(run: &Run, args: &CompressArgs, settings: Settings) -> Result<i32, Failure> {
    let path = run.places.db();
    let db = match path.is_file() {
        true => Some(Db::open(&path)?),
        false => None,
    };
    // One that does not exist would be started.
    drop(super::named(db, &args.name)?);
    let talk = TalkArgs {
        session: Some(args.name.clone()),
        script: args.script.clone(),
        ..TalkArgs::default()
    };
    let mut start = Start::new(run, &talk, settings)?;
    let interrupt = Interrupt::listen();
    let mut output = Output::new(run, interrupt.flag().clone());
    let engine = match &mut output {
        Output::Text(text) => start.load(&interrupt, &mut text.progress)?,
        Output::Json(_) => start.load(&interrupt, &mut Progress::here(false))?,
    };
    let mut conversation = start.conversation(&engine, "")?;
    output.session(&conversation.info(), None);
    let showing = Showing::default();
    let topic = args.topic.as_deref();
    let (done, closed) = showing.during(
        |event| output.event(event),
        |on| {
            let script = start.script.as_mut();
            let flag = interrupt.flag();
            let done = conversation.compress(topic, &start.turn, script, flag, on);
            (done, conversation.close())
        },
    );
    output.end();
    let done = done?;
    closed?;
    match done {
        Ok(made) if run.json => output::json::lines(&[json!({
            "type": "compressed", "name": made.session, "from": made.from, "to": made.to,
            "plain": made.plain,
        })]),
        Ok(_) => Ok(0),
        Err(Refused::Interrupted) => Err(Failure::interrupted()),
        Err(why) => Err(refused(&args.name, &why)),
    }
}

/// A refusal as a failure.
pub(in super::super) fn refused(name: &str, why: &Refused) -> Failure {
    let name = crate::harmless::line(name);
    let failure = Failure::failed("refused", format!("{name} was not compressed: {why}"));
    match why.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
