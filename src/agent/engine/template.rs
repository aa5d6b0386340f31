//! The chat template in force and its examination. A damaged vocabulary or template ends the process inside
//! llama.cpp, so a child process does the same with a model that is not known yet.

use crate::agent::values::error::{AgentError, ErrorKind};
use crate::agent::values::options::Options;
use crate::chat::template::{ChatError, ChatTemplate, Marks};
use crate::chat::tokenize::Tokenizer;
use crate::llama::bridge::BridgeError;
use crate::llama::{self, Apart, Model, Vocab};

/// Words, numbers, spaces, code and other scripts: what a tokenizer splits by rules of its own.
const VOCAB_TEXTS: [&str; 4] = [
    "Hello, it's 3.14 of 2026!  Two  spaces\n\n\tand a tab",
    "fn main() { log(\"{}\", a[0] + 1_000); } // \\r\r\n",
    "Grüße, Привет, 日本語の文, مرحبا, 한국어, 👩‍👩‍👧‍👦 e\u{301}",
    "<|im_start|> <s> \u{0} \u{fffd} \u{2581}",
];

/// Used when a model has no template: a role line before each text, in the vocabulary's own
/// end-of-text token.
const PLAIN_TEMPLATE: &str = "{%- for message in messages -%}\
    {{- message.role + ': ' + message.content + (eos_token or '') + '\\n' -}}\
    {%- endfor -%}{%- if add_generation_prompt -%}{{- 'assistant: ' -}}{%- endif -%}";

/// The chat template in force, and whether it is ours because the model has none.
pub(in crate::agent) fn own_template(options: &Options, model: &Model) -> (String, bool) {
    let given = options.chat_template.clone();
    match given.or_else(|| model.chat_template(None)) {
        Some(own) => (own, false),
        None => (PLAIN_TEMPLATE.to_owned(), true),
    }
}

pub(in crate::agent) fn examine(
    source: &str,
    vocab: &Vocab,
    apart: Option<&Apart>,
) -> Result<(ChatTemplate, Tokenizer), AgentError> {
    let tokenizer = Tokenizer::new(vocab.clone(), source)
        .map_err(|e| AgentError::new(ErrorKind::Template, e.to_string()))?;
    let marks = Marks::of(&tokenizer);
    let template = match apart {
        Some(apart) => ChatTemplate::apart(source, marks, apart),
        None => ChatTemplate::new(source, marks),
    };
    let template = template.map_err(|e| match e {
        ChatError::Bridge(BridgeError::Interrupted) => AgentError::from(e),
        e => AgentError::new(
            ErrorKind::Template,
            format!("the chat template is of no use: {e}"),
        )
        .hinted("give another one with --chat-template @FILE"),
    })?;
    Ok((template, tokenizer))
}

/// Does with a vocabulary what a start and a turn do with it: a damaged one ends the process, and
/// this is how a child finds out.
pub(in crate::agent) fn examine_vocab(model: &Model) -> Result<(), AgentError> {
    let tokenizer = Tokenizer::new(model.vocab().clone(), PLAIN_TEMPLATE)
        .map_err(|e| AgentError::new(ErrorKind::Template, e.to_string()))?;
    drop(Marks::of(&tokenizer));
    let failed = |e: llama::VocabError| AgentError::new(ErrorKind::Model, e.to_string());
    for text in VOCAB_TEXTS {
        let tokens = model.vocab().tokenize(text, false).map_err(failed)?;
        model.vocab().bytes(&tokens, true);
    }
    Ok(())
}
