//! What a prompt costs: the exact tokens of a frozen head, and its parts, without loading weights.

use std::sync::Arc;

use crate::agent::engine::probe;
use crate::agent::engine::template::{examine, own_template};
use crate::agent::prompt::build::PromptPart;
use crate::agent::values::error::AgentError;
use crate::agent::values::notice::Notice;
use crate::agent::values::options::{AgentSetup, Options};
use crate::chat::template::TemplateFrame;
use crate::ledger::Token;
use crate::llama::{Model, gguf};

use super::head::{head_of, placed};
use super::maker::Maker;

/// What a frozen head is made of.
#[derive(Clone, Debug)]
pub struct HeadCost {
    /// The head, exactly.
    pub tokens: Vec<Token>,
    /// Its text, control tokens as their text.
    pub text: String,
    /// Its parts in the order in which a session gets them, the tools between them.
    pub parts: Vec<PartCost>,
    /// Tools that were loosened or left out, and why.
    pub notices: Vec<Notice>,
}

/// What one part of a frozen head costs.
#[derive(Clone, Copy, Debug)]
pub struct PartCost {
    /// The part's name; the tools are `tools`.
    pub name: &'static str,
    /// Tokens: of the text read alone, or those that the tools add.
    pub tokens: usize,
    /// It stands in the first user message, before the user's words.
    pub in_message: bool,
}

/// A model's vocabulary and metadata, without its weights.
///
/// # Errors
/// When the model file cannot be read.
pub fn vocabulary(options: &Options) -> Result<Model, AgentError> {
    let mut options = options.clone();
    options.weights.vocab_only = true;
    // What is wrong with the file itself is known at once.
    gguf::facts(&options.model)?;
    probe::check(&options, &mut |_| true)?;
    Ok(Model::load(&options.model, &options.weights, &mut |_| {
        true
    })?)
}

/// The cost of a prompt under a model's vocabulary and chat template. Reads no weights.
///
/// # Errors
/// When the model file cannot be read or its template is of no use.
pub fn cost(
    options: &Options,
    setup: &AgentSetup,
    parts: &[PromptPart],
) -> Result<HeadCost, AgentError> {
    let model = vocabulary(options)?;
    let source = own_template(options, &model).0;
    let (template, tokenizer) = examine(&source, model.vocab(), options.apart.as_ref())?;
    let template = Arc::new(template);
    let mut frame = TemplateFrame {
        system: Some(setup.system.clone()),
        tools: Some(setup.tools.clone()),
        thinking: options.thinks(),
        ..TemplateFrame::default()
    };
    let (tools, notices) = Maker::new(template.clone(), model.vocab().clone()).freeze(&frame);
    (frame.tools, frame.preface) = (tools, setup.preface.clone());
    let frame = placed(&template, &tokenizer, frame);
    let tokens = head_of(&template, &tokenizer, &frame)?;
    let has_preface = frame.preface.is_some();
    let bare = TemplateFrame {
        tools: None,
        ..frame
    };
    let bare = head_of(&template, &tokenizer, &bare)?;
    let count = |part: &PromptPart| {
        let tokens = model.vocab().tokenize(&part.text, false);
        PartCost {
            name: part.name,
            tokens: tokens.map_or(0, |t| t.len()),
            in_message: part.differs && has_preface,
        }
    };
    let (later, mut costs): (Vec<PartCost>, Vec<PartCost>) =
        parts.iter().map(count).partition(|part| part.in_message);
    costs.push(PartCost {
        name: "tools",
        tokens: tokens.len().saturating_sub(bare.len()),
        in_message: false,
    });
    costs.extend(later);
    Ok(HeadCost {
        text: String::from_utf8_lossy(&model.vocab().bytes(&tokens, true)).into_owned(),
        parts: costs,
        notices,
        tokens,
    })
}
