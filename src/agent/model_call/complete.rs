//! Completions: the model goes on with a text or with tokens as they are. No template is laid over them, and
//! nothing of them is a conversation: npast.db has nothing of it. The slot and the store know tokens, so what
//! was read or written once is not read again, in this process and in the next one. This process remembers
//! the tokens of its last completions: a text that goes on from one of them goes on from those tokens.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::mpsc::unbounded_channel;

use crate::agent::conversation::read_reply::stops_error;
use crate::agent::engine::completed::{Completions, FinishedCompletion};
use crate::agent::engine::handle::Engine;
use crate::agent::engine::pass::{Passes, Rank, Want};
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::agent::values::event::{Event, On};
use crate::agent::values::odds::Weighed;
use crate::agent::values::options::TurnOptions;
use crate::agent::values::outcome::TurnEnd;
use crate::chat::ReplyScript;
use crate::chat::script::LineContent;
use crate::chat::stream::{StopHold, Utf8Hold};
use crate::chat::template::ReplyFormat;
use crate::chat::tokenize::Authored;
use crate::ledger::{Finish, Token};
use crate::llama::{Sampling, Vocab};
use crate::slot::{self, CallKind, Odds, ReplyOptions, SlotCall, Target, TokenChoice};

use super::reason;
use super::receipt::receipt_of;
use super::sum::RunningSum;
use super::unshown::Unshown;
use super::watch::watch;

/// What the model goes on with.
#[derive(Clone, PartialEq, Debug)]
pub enum RawPrompt {
    /// A text. Control text in it becomes control tokens; the vocabulary's first token is put before it
    /// where it wants one.
    Text(String),
    /// Tokens, and nothing before them.
    Tokens(Vec<Token>),
}

/// A completion's tokens on their way to text.
struct Written {
    vocab: Vocab,
    utf8: Utf8Hold,
    stops: StopHold,
    stopped: bool,
    odds: Unshown,
    text: String,
}

impl Written {
    fn weigh(&mut self, odds: &Odds) {
        if !self.stopped && !self.vocab.is_end(odds.token) {
            self.odds.push(Weighed::of(odds, &self.vocab, false));
        }
    }

    fn push(&mut self, token: Token, on: On<'_>) {
        if self.stopped || self.vocab.is_end(token) {
            return;
        }
        let text = self.utf8.feed(&self.vocab.piece(token, false));
        let emitted = self.stops.feed(&text);
        self.stopped = emitted.found.is_some();
        self.show(&emitted.text, on);
    }

    fn finish(&mut self, on: On<'_>) {
        if self.stopped {
            return;
        }
        let rest = self.utf8.finish();
        let emitted = self.stops.feed(&rest);
        self.show(&emitted.text, &mut *on);
        if emitted.found.is_none() {
            let held = self.stops.finish();
            self.show(&held, on);
        }
    }

    fn show(&mut self, text: &str, on: On<'_>) {
        if text.is_empty() {
            return;
        }
        let tokens = self.odds.take(text);
        if !tokens.is_empty() {
            on(Event::Odds { tokens });
        }
        self.text.push_str(text);
        on(Event::Text {
            text: text.to_owned(),
        });
    }

    /// How many of these tokens are exactly the text that was shown.
    fn shown(&self, tokens: &[Token]) -> Option<usize> {
        let mut bytes = Vec::with_capacity(self.text.len());
        let mut at = 0;
        while bytes.len() < self.text.len() {
            bytes.extend(self.vocab.piece(*tokens.get(at)?, false));
            at += 1;
        }
        (bytes == self.text.as_bytes()).then_some(at)
    }
}

impl Engine {
    /// Goes on with a prompt; `seed` is that of its sampling, drawn where there is none. What happens
    /// comes as events: progress, text, one receipt.
    ///
    /// # Errors
    /// When the prompt has no token, has one that is none of this vocabulary, or does not fit; when
    /// decoding fails.
    #[allow(clippy::too_many_arguments)]
    pub fn complete(
        &self,
        passes: &dyn Passes,
        prompt: &RawPrompt,
        options: &TurnOptions,
        seed: Option<u64>,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<TurnEnd, AgentError> {
        let vocab = self.vocab().clone();
        if let RawPrompt::Tokens(tokens) = prompt
            && let Some(wrong) = tokens.iter().find(|token| !vocab.has(**token))
        {
            return Err(AgentError::new(
                ErrorKind::Input,
                format!("{} is no token of this model", wrong.0),
            )
            .hinted(format!("its tokens are 0 to {}", vocab.size() - 1)));
        }
        let completions = self.completions();
        let tokens = match prompt {
            RawPrompt::Text(text) => self.tokens_of(completions, text)?,
            RawPrompt::Tokens(tokens) => tokens.clone(),
        };
        self.fits(tokens.len())?;
        let place = completions.place(&tokens);
        let reply = ReplyOptions {
            choice: self.choice(&tokens, options, seed, script)?,
            max_tokens: options.max_tokens.unwrap_or(usize::MAX),
            watch: watch(&vocab, &ReplyFormat::plain(), &options.stop, false)?,
            observe: None,
            odds: options.odds,
        };
        let owner = format!("completion-{}", place.owner);
        let want = Want {
            owner: &owner,
            rank: Rank::Interactive,
            cancel,
        };
        let pass = passes.take(&want, &mut |place| on(Event::Queued { place }));
        let pass =
            pass.ok_or_else(|| AgentError::new(ErrorKind::Interrupted, "it was interrupted"))?;
        let tokens = Arc::new(tokens);
        let (events, mut inbox) = unbounded_channel();
        let answer = pass.slot().call(SlotCall {
            kind: CallKind::Turn,
            owner: owner.clone(),
            target: Target::whole(tokens.clone()),
            head: 0,
            common: 0,
            decoded: place.decoded,
            moved: None,
            reply: Some(reply),
            step: false,
            cancel: cancel.clone(),
            events,
        })?;
        let mut written = Written {
            vocab,
            utf8: Utf8Hold::new(),
            stops: StopHold::new(&options.stop).map_err(stops_error)?,
            stopped: false,
            odds: Unshown::default(),
            text: String::new(),
        };
        while let Some(event) = inbox.blocking_recv() {
            match event {
                slot::SlotEvent::Restoring { tokens } => on(Event::Restoring { tokens }),
                slot::SlotEvent::Prefill { done, total } => on(Event::Prefill { done, total }),
                slot::SlotEvent::Odds(odds) => written.weigh(&odds),
                slot::SlotEvent::Sampled(token) => written.push(token, &mut *on),
            }
        }
        let mut outcome = answer.wait()?;
        drop(pass);
        written.finish(&mut *on);
        let error = outcome.error.take();
        let miss = outcome.miss.as_ref();
        let miss = miss.map(|miss| reason::note(miss, &[], 0, &written.vocab, None));
        let receipt = receipt_of(&outcome, completions.count(), outcome.finish, miss);
        let mut sum = RunningSum::begin();
        sum.add(&receipt);
        on(Event::Receipt(Box::new(receipt)));
        sum.show(None, on);

        let said = written.shown(&outcome.tokens);
        let text = match (prompt, said) {
            (RawPrompt::Text(text), Some(_)) => Some(text.clone() + &written.text),
            _ => None,
        };
        let mut all = Arc::unwrap_or_clone(tokens);
        let prompt = all.len();
        all.extend_from_slice(&outcome.tokens[..said.unwrap_or(outcome.tokens.len())]);
        completions.remember(FinishedCompletion {
            owner: place.owner,
            text,
            prompt,
            decoded: outcome.context().min(all.len()),
            tokens: all,
        });
        match error {
            Some(error) => Err(error.into()),
            None => Ok(TurnEnd {
                finish: outcome.finish,
                withdrawn: None,
                stopped: None,
            }),
        }
    }

    /// The tokens of a text: behind a completion that it goes on from, those of what follows.
    fn tokens_of(&self, completions: &Completions, text: &str) -> Result<Vec<Token>, AgentError> {
        let tokenizer = &self.shared().tokenizer;
        let piece = |text: &str| Authored::Template(text.to_owned());
        Ok(match completions.before(text) {
            Some((mut tokens, rest)) => {
                tokens.extend(tokenizer.continuation(&tokens, &[piece(rest)])?);
                tokens
            }
            None => tokenizer.tokenize(&[piece(text)], true)?,
        })
    }

    /// Whether a prompt can be read, and a token be written behind it.
    fn fits(&self, tokens: usize) -> Result<(), AgentError> {
        let limit = self.shared().limit;
        if tokens == 0 {
            return Err(AgentError::new(
                ErrorKind::Input,
                "the prompt has no token: there is nothing to go on with",
            ));
        }
        if tokens + 1 > limit {
            return Err(AgentError::new(
                ErrorKind::TooLong,
                format!("the prompt has {tokens} tokens, the context has {limit}"),
            )
            .hinted(self.shared().room_hint("shorten it")));
        }
        Ok(())
    }

    /// How tokens are chosen: by the model, or as they were prepared.
    fn choice(
        &self,
        prompt: &[Token],
        options: &TurnOptions,
        seed: Option<u64>,
        script: Option<&mut ReplyScript>,
    ) -> Result<TokenChoice, AgentError> {
        let Some(script) = script else {
            let window = options.sampling.penalty_window;
            let drawn = || getrandom::u64().unwrap_or_default();
            return Ok(TokenChoice::Sample {
                sampling: Sampling {
                    seed: seed.unwrap_or_else(drawn),
                    ..options.sampling.clone()
                },
                grammar: None,
                recent: prompt[prompt.len().saturating_sub(window)..].to_vec(),
            });
        };
        let scripted =
            |e: &dyn std::fmt::Display| AgentError::new(ErrorKind::Script, e.to_string());
        let line = script.next_main().map_err(|e| scripted(&e))?;
        let text = match line.said {
            LineContent::Raw(text) => text,
            LineContent::Message(message) => message.text,
        };
        let tokenizer = &self.shared().tokenizer;
        let mut tokens = tokenizer.continuation(prompt, &[Authored::Template(text)])?;
        if line.finish.is_none() {
            tokens.extend(self.vocab().eos());
        }
        Ok(TokenChoice::Script {
            tokens,
            finish: line.finish.unwrap_or(Finish::Stop),
        })
    }
}
