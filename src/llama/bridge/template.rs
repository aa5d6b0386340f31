//! A template, in this process or in a child of npast.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::answer::{
    Applied, BridgeError, MAX_REQUEST_BYTES, MAX_TEMPLATE_BYTES, bounded, read, refusal,
};
use super::raw::{Op, TemplateHandle};
use super::remote::Remote;
use crate::llama::apart::Apart;

/// Processor time in which a child must examine a template; known ones take 0.1 s.
const EXAMINATION: Duration = Duration::from_secs(2);

/// A parsed chat template. Requests are JSON objects: `messages` (OpenAI form), and where wanted
/// `tools`, `tool_choice`, `parallel_tool_calls`, `add_generation_prompt`, `enable_thinking`,
/// `now_ms` (the clock the template sees), `kwargs`, `json_schema`, `add_bos`.
///
/// From its making until [`Template::examined`] it is being examined: a bound that it meets then is
/// its answer to everything that follows, since an examination renders some hundred times.
#[derive(Debug)]
pub struct Template {
    place: TemplateHome,
    /// What its examination took so far, and the bound that it met.
    examination: Mutex<(Duration, Option<BridgeError>)>,
    examining: AtomicBool,
}

/// Where a template runs.
#[derive(Debug)]
enum TemplateHome {
    Here(TemplateHandle),
    Apart(Remote),
}

impl Template {
    /// Parses a template, in this process. `bos` and `eos` are the texts of these tokens, empty
    /// without one.
    ///
    /// # Errors
    /// `TooLong`, or `Template` with the engine's reason.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Template, BridgeError> {
        bounded("chat template", source.len(), MAX_TEMPLATE_BYTES)?;
        match TemplateHandle::new(source, bos, eos) {
            Ok(handle) => Ok(Template::at(TemplateHome::Here(handle))),
            Err(answer) => Err(refusal(answer, BridgeError::Template)),
        }
    }

    /// Parses a template, in a child of npast.
    ///
    /// # Errors
    /// As [`Template::new`]; `Stopped`, `Interrupted`.
    pub fn apart(
        source: &str,
        bos: &str,
        eos: &str,
        apart: &Apart,
    ) -> Result<Template, BridgeError> {
        bounded("chat template", source.len(), MAX_TEMPLATE_BYTES)?;
        let remote = Remote::new(source, bos, eos, apart.clone())?;
        Ok(Template::at(TemplateHome::Apart(remote)))
    }

    fn at(place: TemplateHome) -> Template {
        Template {
            place,
            examination: Mutex::new((Duration::ZERO, None)),
            examining: AtomicBool::new(true),
        }
    }

    /// The examination is over. A bound that the template met in it is an error.
    ///
    /// # Errors
    /// `Stopped` or `Interrupted`.
    pub fn examined(&self) -> Result<(), BridgeError> {
        self.examining.store(false, Ordering::SeqCst);
        let found = self.examination.lock();
        let found = found.map_or_else(|poison| poison.into_inner().1.take(), |mut f| f.1.take());
        found.map_or(Ok(()), Err)
    }

    /// Renders a conversation and makes its grammar and reply parser.
    ///
    /// # Errors
    /// `Render` where the template raises, `NoParser` where no parser can be derived.
    pub fn apply(&self, request: &Value) -> Result<Applied, BridgeError> {
        self.call(Op::Apply, &request_text(request)?, render_error)
    }

    /// Renders a conversation: the same text as [`Applied::prompt`], made faster.
    ///
    /// # Errors
    /// `Render` where the template raises.
    pub fn render(&self, request: &Value) -> Result<String, BridgeError> {
        #[derive(Deserialize)]
        struct RenderedPrompt {
            prompt: String,
        }
        let made =
            self.call::<RenderedPrompt>(Op::Render, &request_text(request)?, BridgeError::Render);
        made.map(|p| p.prompt)
    }

    /// llama.cpp's own entry point, to compare with.
    #[cfg(test)]
    pub(super) fn reference(&self, request: &Value) -> Result<Applied, BridgeError> {
        self.call(Op::Reference, &request_text(request)?, render_error)
    }

    /// What the template can do, by llama.cpp's names (`supports_tools`, …).
    pub fn caps(&self) -> BTreeMap<String, bool> {
        self.call(Op::Caps, "", BridgeError::Bridge)
            .unwrap_or_default()
    }

    fn call<T: serde::de::DeserializeOwned>(
        &self,
        op: Op,
        text: &str,
        kind: impl Fn(String) -> BridgeError,
    ) -> Result<T, BridgeError> {
        self.still_examined()?;
        let (answer, took) = match &self.place {
            TemplateHome::Here(handle) => (Ok(handle.call(op, text)), Duration::ZERO),
            TemplateHome::Apart(remote) => match remote.call(op, text) {
                Ok((answer, took)) => (Ok(answer), took),
                Err(error) => (Err(error), Duration::ZERO),
            },
        };
        let read = answer.and_then(|answer| read(answer, kind));
        if let Err(error @ (BridgeError::Stopped(_) | BridgeError::Interrupted)) = &read {
            self.met(error);
        }
        self.took(took);
        read
    }

    /// The bound that was met in an examination that goes on, if one was.
    fn still_examined(&self) -> Result<(), BridgeError> {
        if !self.examining.load(Ordering::SeqCst) {
            return Ok(());
        }
        let found = self.examination.lock();
        let met = found.ok().and_then(|found| found.1.clone());
        met.map_or(Ok(()), Err)
    }

    /// Counts processor time of an examination.
    fn took(&self, time: Duration) {
        let Ok(mut found) = self.examination.lock() else {
            return;
        };
        found.0 += time;
        if self.examining.load(Ordering::SeqCst) && found.1.is_none() && found.0 > EXAMINATION {
            found.1 = Some(BridgeError::Stopped(format!(
                "some small conversations take it more than {} s of processor time",
                EXAMINATION.as_secs()
            )));
        }
    }

    fn met(&self, bound: &BridgeError) {
        if self.examining.load(Ordering::SeqCst)
            && let Ok(mut found) = self.examination.lock()
        {
            found.1.get_or_insert_with(|| bound.clone());
        }
    }
}

fn request_text(request: &Value) -> Result<String, BridgeError> {
    let text = request.to_string();
    bounded("conversation", text.len(), MAX_REQUEST_BYTES)?;
    Ok(text)
}

fn render_error(reason: String) -> BridgeError {
    match reason.strip_prefix("Unable to generate parser for this template") {
        Some(rest) => BridgeError::NoParser(rest.trim_start_matches([':', '.', ' ']).to_owned()),
        None => BridgeError::Render(reason),
    }
}
