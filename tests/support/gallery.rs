//! Chat templates for conversations on tiny models: our own, and those of the folder
//! `../shared/chat-templates` beside the checkout where it exists. Each gets a vocabulary in which
//! its marks are control tokens.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use npast::chat::pieces::Piece;
use npast::chat::template::{ChatTemplate, Marks};
use npast::chat::tokenize::{self, Tokenizer};
use npast::ledger::Token;
use npast::llama::{Model, ModelOptions, Vocab};

use crate::model::{self, CHATML, Class};

/// Thinks after each generation prompt, and leaves earlier thinking out of history.
pub const THINKER: &str = include_str!("model/thinker.jinja");

/// A template and what its vocabulary must have.
pub struct Sample {
    pub name: String,
    pub source: String,
    /// Marks that are control tokens.
    control: Vec<String>,
    bos: String,
    eos: String,
    examined: OnceCell<(Arc<ChatTemplate>, Vocab)>,
}

/// Ends of turns by which llama.cpp knows a vocabulary's end, the surest first.
const ENDS: &[&str] = &[
    "<|return|>",
    "<|eot_id|>",
    "<|im_end|>",
    "<turn|>",
    "<end_of_turn>",
    "<|END_OF_TURN_TOKEN|>",
    "<|end_of_text|>",
    "<｜end▁of▁sentence｜>",
    "<|end_of_msg|>",
    "<|end|>",
    "[e~[",
    "<|assistant_end|>",
    "<|eot|>",
    "<|message_sep|>",
    "<seed:eos>",
    "<end_of_sentence>",
    "<SPECIAL_12>",
    "</assistant>",
    "<sep>",
    "</s>",
];

impl Sample {
    /// A template, its vocabulary guessed from its marks.
    pub fn of(name: &str, source: &str) -> Sample {
        let eos = ENDS.iter().find(|end| source.contains(**end));
        let eos = (*eos.unwrap_or(&"</s>")).to_owned();
        let bos = match source.contains("<turn|>") || source.contains("<start_of_turn>") {
            true => "<bos>",
            false => "<|endoftext|>",
        };
        let mut control = marks_in(source);
        control.push(eos.clone());
        Sample {
            name: name.to_owned(),
            source: source.to_owned(),
            control,
            bos: bos.to_owned(),
            eos,
            examined: OnceCell::new(),
        }
    }

    /// A tiny model with this template.
    pub fn model(&self, class: Class) -> PathBuf {
        let control: Vec<&str> = self.control.iter().map(String::as_str).collect();
        let foreign = ["<|return|>", "<|call|>", "<|tool_response>"];
        let without: Vec<&str> = foreign
            .into_iter()
            .filter(|mark| !self.source.contains(mark.trim_end_matches('>')))
            .collect();
        model::tiny_model(
            class,
            &model::Options {
                chat_template: Some(&self.source),
                control: &control,
                without: &without,
                bos: &self.bos,
                eos: &self.eos,
                ..model::Options::default()
            },
        )
    }

    /// The template as an engine on this model examines it, and the vocabulary.
    pub fn examined(&self) -> (Arc<ChatTemplate>, Vocab) {
        self.examined.get_or_init(|| self.examine()).clone()
    }

    fn examine(&self) -> (Arc<ChatTemplate>, Vocab) {
        let options = ModelOptions {
            vocab_only: true,
            ..ModelOptions::default()
        };
        let model =
            Model::load(&self.model(Class::Dense), &options, &mut |_| true).expect("a tiny model");
        let vocab = model.vocab().clone();
        let text = |t| String::from_utf8_lossy(&vocab.piece(t, true)).into_owned();
        let marks = Marks {
            bos: vocab.bos().map(text).unwrap_or_default(),
            eos: vocab.eos().map(text).unwrap_or_default(),
            eog: vocab
                .tokens()
                .filter(|t| vocab.is_end(*t))
                .map(text)
                .collect(),
            control: vocab
                .tokens()
                .filter(|t| vocab.is_control(*t))
                .map(text)
                .collect(),
        };
        let template = ChatTemplate::new(&self.source, marks).expect("a template");
        (Arc::new(template), vocab)
    }
}

/// The tokens of a rendering from a ledger's start.
pub fn tokens(sample: &Sample, pieces: Vec<Piece>) -> Vec<Token> {
    let (_, vocab) = sample.examined();
    let tokenizer = Tokenizer::new(vocab, &sample.source).expect("a tokenizer");
    let rights = pieces.into_iter().map(|piece| match piece {
        Piece::Template(text) => tokenize::Authored::Template(text),
        Piece::Content { text, .. } => tokenize::Authored::Content(text),
    });
    let rights: Vec<tokenize::Authored> = rights.collect();
    tokenizer.tokenize(&rights, true).expect("tokens")
}

/// Our own templates.
pub fn own() -> Vec<Sample> {
    vec![
        Sample::of("own: chatml", CHATML),
        Sample::of("own: thinker", THINKER),
    ]
}

/// One of the shared templates; says that it skips where the folder is absent.
pub fn shared(name: &str) -> Option<Sample> {
    let path = folder().join(format!("{name}.jinja"));
    match std::fs::read_to_string(&path) {
        Ok(source) => Some(Sample::of(name, &source)),
        Err(_) => {
            println!("skipped: no template {name} beside the checkout");
            None
        }
    }
}

/// All of the shared templates, by name.
pub fn all_shared() -> Vec<Sample> {
    let Ok(entries) = std::fs::read_dir(folder()) else {
        println!("skipped: no folder of chat templates beside the checkout");
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|e| {
            e.file_name()
                .to_str()?
                .strip_suffix(".jinja")
                .map(str::to_owned)
        })
        .collect();
    names.sort();
    names.iter().filter_map(|name| shared(name)).collect()
}

fn folder() -> PathBuf {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/chat-templates"
    ))
    .to_owned()
}

/// Texts of the form `<|…|>`, `<｜…｜>` and some others, as control tokens are written.
fn marks_in(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (open, close) in [("<|", "|>"), ("<｜", "｜>")] {
        for (at, _) in source.match_indices(open) {
            let rest = &source[at..];
            let Some(end) = rest.find(close).map(|n| n + close.len()) else {
                continue;
            };
            let inner = &rest[open.len()..end - close.len()];
            if inner
                .chars()
                .all(|c| c.is_alphanumeric() || "_▁".contains(c))
                && inner.len() < 40
            {
                found.push(rest[..end].to_owned());
            }
        }
    }
    let others = ["<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[e~["];
    found.extend(
        others
            .iter()
            .filter(|o| source.contains(**o))
            .map(|o| (*o).to_owned()),
    );
    found.sort();
    found.dedup();
    found
}
