//! Reading a request for a completion.

use serde_json::Value;

use super::super::fields::{MOST_ODDS, RequestFields, kind};
use super::super::{Ask, RequestRefusal, Show};
use super::Look;
use crate::agent::RawPrompt;
use crate::ledger::Token;

/// A request as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Raw {
    /// How the model goes on. It has no history.
    pub ask: Ask,
    /// With what.
    pub prompt: RawPrompt,
    /// Whether the prompt's text stands before the answer's.
    pub echo: bool,
    /// How the answer is written; the text of an echo is still to be put in.
    pub look: Look,
}

/// Reads the body of a request.
///
/// # Errors
/// A sentence with the field that is wrong, or that this server cannot do.
pub fn read(body: &Value) -> Result<Raw, RequestRefusal> {
    let fields = RequestFields::of("the request", body)?;
    let mut ask = Ask {
        model: fields.text("model")?.map(str::to_owned),
        stop: fields.stops("stop")?,
        // As OpenAI has it.
        max_tokens: match fields.max_tokens(&["max_tokens", "n_predict"])? {
            None if fields.get("max_tokens").is_none() && fields.get("n_predict").is_none() => {
                Some(16)
            }
            most => most,
        },
        show: Show {
            stream: fields.flag("stream")?,
            usage: match fields.object("stream_options")? {
                Some(options) => options.flag("include_usage")?,
                None => false,
            },
            progress: fields.flag("return_progress")?,
        },
        ..Ask::default()
    };
    ask.sampling = super::super::openai::sampling(fields, &mut ask)?;
    for name in ["n", "best_of"] {
        if fields.whole(name, 1, 1_000)?.is_some_and(|n| n > 1) {
            return Err(RequestRefusal::field(
                name,
                format!("{name} must be 1: this server gives one reply to a request"),
            ));
        }
    }
    let text = |name: &str| fields.text(name).map(|t| t.is_some_and(|t| !t.is_empty()));
    if text("suffix")? {
        return Err(RequestRefusal::field(
            "suffix",
            "suffix is not read by this server: write the model's fill-in-the-middle tokens into prompt",
        ));
    }
    let echo = fields.flag("echo")?;
    let logprobs = logprobs(fields)?;
    if echo && logprobs.is_some() {
        return Err(RequestRefusal::field(
            "echo",
            "echo is not done together with logprobs by this server: the prompt's own are not computed",
        ));
    }
    let tokens = fields.flag("return_tokens")?;
    ask.odds = logprobs.or(tokens.then_some(0));
    Ok(Raw {
        prompt: prompt(fields.get("prompt"))?,
        echo,
        look: Look {
            show: ask.show,
            echo: String::new(),
            logprobs: logprobs.is_some(),
            tokens,
        },
        ask,
    })
}

/// `logprobs`: how many of the likeliest tokens are told in the place of each. Some clients send
/// `false`.
fn logprobs(fields: RequestFields<'_>) -> Result<Option<usize>, RequestRefusal> {
    if fields.get("logprobs") == Some(&Value::Bool(false)) {
        return Ok(None);
    }
    let most = fields.whole("logprobs", 0, MOST_ODDS)?;
    Ok(most.and_then(|most| usize::try_from(most).ok()))
}

fn prompt(value: Option<&Value>) -> Result<RawPrompt, RequestRefusal> {
    let refuse = |found: String| {
        RequestRefusal::field(
            "prompt",
            format!("prompt must be one text or one list of token ids, not {found}"),
        )
    };
    let list = match value {
        None => return Err(refuse("nothing".to_owned())),
        Some(Value::String(text)) => return Ok(RawPrompt::Text(text.clone())),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(refuse(kind(other).to_owned())),
    };
    match list.as_slice() {
        [] => Err(refuse("an empty list".to_owned())),
        [Value::String(text)] => Ok(RawPrompt::Text(text.clone())),
        [one @ Value::Array(_)] => prompt(Some(one)),
        [Value::String(_) | Value::Array(_), ..] => Err(refuse(format!("{} of them", list.len()))),
        ids => {
            let ids: Option<Vec<Token>> = ids
                .iter()
                .map(|id| Some(Token(i32::try_from(id.as_i64()?).ok()?)))
                .collect();
            let ids = ids.filter(|ids| ids.iter().all(|id| id.0 >= 0));
            ids.map(RawPrompt::Tokens)
                .ok_or_else(|| refuse("a list that holds something else".to_owned()))
        }
    }
}
