//! A byte-level BPE vocabulary with the control tokens of the template families under test.
//!
//! Ids 0..256 are the bytes by value; then what the merges make; then user-defined and control
//! tokens. So every text has a tokenization and `tokens()[b]` is the byte `b`.

use npast::llama::gguf::{GgufError, GgufWriter};

use super::Options;

/// What llama.cpp is told about a token: `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Normal = 1,
    /// Written by templates only; not part of a reply's text.
    Control = 3,
    /// Whole wherever its text occurs, and part of a reply's text.
    UserDefined = 4,
}

/// Pairs in order of rank, in readable form (a space is a space here). Each makes a token.
const MERGES: &[(&str, &str)] = &[
    (" ", "t"),
    ("h", "e"),
    ("i", "n"),
    (" ", "a"),
    ("r", "e"),
    ("o", "n"),
    (" t", "he"),
    ("e", "r"),
    (" ", "s"),
    ("a", "t"),
    (" ", "w"),
    ("o", "u"),
    ("e", "n"),
    ("i", "s"),
    ("o", "r"),
    (" ", "c"),
    ("in", "g"),
    ("e", "s"),
    ("l", "l"),
    (" ", "o"),
    (" ", "f"),
    ("a", "n"),
    ("e", "d"),
    (" a", "n"),
    (" an", "d"),
    ("i", "t"),
    (" ", "m"),
    ("s", "t"),
    ("l", "e"),
    (" ", "p"),
    (" o", "f"),
    (" t", "o"),
    ("\n", "\n"),
    (" ", " "),
    ("\"", ":"),
    ("{", "\""),
];

/// As their models' own files have them. llama.cpp makes `<|tool_response>` a control token, and
/// `<|start|> <|message|> <|channel|> <|constrain|> <|end|>` user-defined ones, by their names.
const SPECIAL: &[(&str, Kind)] = &[
    ("<think>", Kind::UserDefined),
    ("</think>", Kind::UserDefined),
    ("<tool_call>", Kind::UserDefined),
    ("</tool_call>", Kind::UserDefined),
    ("<tool_response>", Kind::UserDefined),
    ("</tool_response>", Kind::UserDefined),
    ("<|endoftext|>", Kind::Control),
    ("<|im_start|>", Kind::Control),
    ("<|im_end|>", Kind::Control),
    ("<|vision_start|>", Kind::Control),
    ("<|vision_end|>", Kind::Control),
    ("<|image_pad|>", Kind::Control),
    ("<|video_pad|>", Kind::Control),
    ("<|start|>", Kind::Control),
    ("<|end|>", Kind::Control),
    ("<|message|>", Kind::Control),
    ("<|channel|>", Kind::Control),
    ("<|return|>", Kind::Control),
    ("<|call|>", Kind::Control),
    ("<|constrain|>", Kind::Control),
    ("<bos>", Kind::Control),
    ("<eos>", Kind::Control),
    ("<start_of_turn>", Kind::Control),
    ("<end_of_turn>", Kind::Control),
    ("<|turn>", Kind::Control),
    ("<turn|>", Kind::Control),
    ("<|think|>", Kind::Control),
    ("<|tool>", Kind::Control),
    ("<tool|>", Kind::Control),
    ("<|image|>", Kind::Control),
    ("<|audio|>", Kind::Control),
    ("<|video|>", Kind::Control),
    ("<|channel>", Kind::UserDefined),
    ("<channel|>", Kind::UserDefined),
    ("<|tool_call>", Kind::UserDefined),
    ("<tool_call|>", Kind::UserDefined),
    ("<|tool_response>", Kind::UserDefined),
    ("<tool_response|>", Kind::UserDefined),
    ("<|\"|>", Kind::UserDefined),
];

/// All tokens in the order of their ids: readable bytes and what llama.cpp is told of them.
pub fn tokens() -> Vec<(Vec<u8>, Kind)> {
    let bytes = (0..=255u8).map(|byte| (vec![byte], Kind::Normal));
    let merged = MERGES
        .iter()
        .map(|(left, right)| (format!("{left}{right}").into_bytes(), Kind::Normal));
    let special = SPECIAL
        .iter()
        .map(|&(text, kind)| (text.as_bytes().to_vec(), kind));
    bytes.chain(merged).chain(special).collect()
}

/// The tokens of a model with these options: without some, and with further control tokens last.
pub fn tokens_of(options: &Options) -> Vec<(Vec<u8>, Kind)> {
    let mut all = tokens();
    all.retain(|(bytes, _)| options.without.iter().all(|text| text.as_bytes() != bytes));
    for text in options.control {
        if all.iter().all(|(bytes, _)| bytes != text.as_bytes()) {
            all.push((text.as_bytes().to_vec(), Kind::Control));
        }
    }
    all
}

/// The id of the token with this text.
pub fn id(text: &str) -> Option<u32> {
    place(&tokens(), text)
}

fn place(tokens: &[(Vec<u8>, Kind)], text: &str) -> Option<u32> {
    let found = tokens
        .iter()
        .position(|(bytes, _)| bytes == text.as_bytes());
    found.map(|id| id as u32)
}

/// The `tokenizer.*` keys.
pub fn write(writer: &mut GgufWriter, options: &Options) -> Result<(), GgufError> {
    let tokens = tokens_of(options);
    let texts: Vec<String> = tokens
        .iter()
        .map(|(bytes, kind)| match kind {
            Kind::Normal => visible(bytes),
            _ => String::from_utf8_lossy(bytes).into_owned(),
        })
        .collect();
    let kinds: Vec<i32> = tokens.iter().map(|&(_, kind)| kind as i32).collect();
    let merges: Vec<String> = MERGES
        .iter()
        .map(|(left, right)| format!("{} {}", visible(left.as_bytes()), visible(right.as_bytes())))
        .collect();
    let known = |text: &str| {
        place(&tokens, text)
            .unwrap_or_else(|| panic!("{text:?} is not in the tiny models' vocabulary"))
    };

    writer.set_str("tokenizer.ggml.model", "gpt2")?;
    writer.set_str("tokenizer.ggml.pre", "qwen2")?;
    writer.set_arr_str("tokenizer.ggml.tokens", &texts)?;
    writer.set_arr_i32("tokenizer.ggml.token_type", &kinds)?;
    writer.set_arr_str("tokenizer.ggml.merges", &merges)?;
    writer.set_u32("tokenizer.ggml.bos_token_id", known(options.bos))?;
    writer.set_u32("tokenizer.ggml.eos_token_id", known(options.eos))?;
    if let Some(eot) = options.eot {
        writer.set_u32("tokenizer.ggml.eot_token_id", known(eot))?;
    }
    writer.set_u32("tokenizer.ggml.padding_token_id", known("<|endoftext|>"))?;
    writer.set_bool("tokenizer.ggml.add_bos_token", options.add_bos)?;
    if let Some(template) = options.chat_template {
        writer.set_str("tokenizer.chat_template", template)?;
    }
    Ok(())
}

/// GPT-2's way to write bytes as printable characters: printable Latin-1 stands for itself, the
/// other bytes follow from U+0100 on, in order.
fn visible(bytes: &[u8]) -> String {
    let plain = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let char_of = |byte: u8| {
        if plain(byte) {
            return char::from(byte);
        }
        let rank = (0..byte).filter(|&lower| !plain(lower)).count() as u32;
        char::from_u32(0x100 + rank).expect("68 code points from U+0100 on are characters")
    };
    bytes.iter().copied().map(char_of).collect()
}
