//! Stop strings are found on the engine thread, so that nothing is sampled after one.

use crate::agent::conversation::read_reply::stops_error;
use crate::agent::values::error::AgentError;
use crate::chat::reply::RepeatWatch;
use crate::chat::stream::{StopHold, Utf8Hold};
use crate::chat::template::ReplyFormat;
use crate::ledger::Finish;
use crate::llama::Vocab;
use crate::slot::{Flow, TokenWatch};

/// The user's stop strings, and those of a format behind them.
pub(in crate::agent) fn all_stops(format: &ReplyFormat, own: &[String]) -> Vec<String> {
    own.iter().chain(&format.ends).cloned().collect()
}

/// Finds stop strings on the engine thread, so that nothing is sampled after one; with `repeats` also that a
/// reply repeats itself.
pub(in crate::agent) fn watch(
    vocab: &Vocab,
    format: &ReplyFormat,
    own: &[String],
    repeats: bool,
) -> Result<TokenWatch, AgentError> {
    let stops = &all_stops(format, own);
    if stops.is_empty() && !repeats {
        return Ok(Box::new(|_| Flow::Continue));
    }
    let mut repeats = repeats.then(RepeatWatch::new);
    let vocab = vocab.clone();
    let mut utf8 = Utf8Hold::new();
    let mut hold = StopHold::new(stops).map_err(stops_error)?;
    Ok(Box::new(move |token| {
        let text = utf8.feed(&vocab.piece(token, true));
        if hold.feed(&text).found.is_some() {
            return Flow::Stop(Finish::StopString);
        }
        match repeats.as_mut().is_some_and(|watch| watch.feed(&text)) {
            true => Flow::Stop(Finish::Repeats),
            false => Flow::Continue,
        }
    }))
}
