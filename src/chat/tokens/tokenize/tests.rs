//! On real vocabularies, and on copies of them with other special tokens. Where the folder
//! `../shared/vocab` is absent the tests say that they skip.

use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;
use crate::chat::template::Marks;
use crate::llama::{Model, ModelOptions};

mod edit;
mod templates;
use edit::Edit;

const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// A tokenizer and two control tokens that a template of it might write.
struct Case {
    name: &'static str,
    tokenizer: Tokenizer,
    open: &'static str,
    close: &'static str,
}

const SOURCE: &str = "{{ '<think>' }}{{ '</think>' + '<tool_call>' }}   {{ '\n\n' }}";

fn load(file: &str, edit: Option<Edit<'_>>) -> Option<Tokenizer> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/vocab")).join(file);
    let bytes = std::fs::read(&path).ok()?;
    let mut copy = tempfile::NamedTempFile::new().expect("a temporary file");
    copy.write_all(&edit.map_or(bytes.clone(), |edit| edit.apply(&bytes)))
        .expect("a copy");
    let options = ModelOptions {
        vocab_only: true,
        ..ModelOptions::default()
    };
    let model = Model::load(copy.path(), &options, &mut |_| true).expect("a vocabulary");
    Some(Tokenizer::new(model.vocab().clone(), SOURCE).expect("a tokenizer"))
}

fn cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| {
        let chatml = [
            (151646, "<think>", USER_DEFINED),
            (151647, "</think>", USER_DEFINED),
            (151648, "<tool_call>", USER_DEFINED),
            (151649, "   ", USER_DEFINED),
            (151650, "\n\n", USER_DEFINED),
            (151651, "<|tool_response>", USER_DEFINED),
            (151652, "end|><", USER_DEFINED),
        ];
        let phi = [
            (31990, "<|endoftext|>", CONTROL),
            (31991, "<|user|>", CONTROL),
            (31992, "<|end|>", CONTROL),
            (31993, "<think>", USER_DEFINED),
            (31994, "\n\n", USER_DEFINED),
            (31995, "▁of▁the", CONTROL),
        ];
        let mask = [
            (31990, "<mask>", CONTROL),
            (31991, "<think>", USER_DEFINED),
            (31992, "  ", USER_DEFINED),
        ];
        // SentencePiece merges `the` and `end`, ` of` and ` the` to these control tokens.
        let marks = [
            (31990, "theend", CONTROL),
            (31991, "<think>", USER_DEFINED),
            (31992, "<tool_call>", USER_DEFINED),
            (31993, "▁of▁the", CONTROL),
        ];
        // Words that stand in this vocabulary are not merged but looked up: ` theend`.
        let words = [(128010, "Ġtheend", CONTROL)];
        let edit = |name, pre, tokens| Some(Edit { name, pre, tokens });
        let (spm, bpe, qwen) = (
            "ggml-vocab-llama-spm.gguf",
            "ggml-vocab-llama-bpe.gguf",
            "ggml-vocab-qwen35.gguf",
        );
        let table = [
            ("SPM", spm, None, "<s>", "</s>"),
            ("BPE", bpe, None, "<|start_header_id|>", "<|eot_id|>"),
            (
                "BPE with words",
                bpe,
                edit(None, None, &words),
                "<|start_header_id|>",
                "<|eot_id|>",
            ),
            ("Qwen", qwen, None, "<|im_start|>", "<|im_end|>"),
            (
                "BPE with marks",
                qwen,
                edit(None, None, &chatml),
                "<|im_start|>",
                "<|im_end|>",
            ),
            (
                "SPM with marks",
                spm,
                edit(None, None, &marks),
                "<s>",
                "</s>",
            ),
            (
                "strips right",
                spm,
                edit(Some("phi-3"), None, &phi),
                "<|user|>",
                "<|end|>",
            ),
            (
                "strips left",
                spm,
                edit(None, Some("jina-v2-de"), &mask),
                "<s>",
                "<mask>",
            ),
        ];
        let mut cases = Vec::new();
        for (name, file, edit, open, close) in table {
            match load(file, edit) {
                Some(tokenizer) => cases.push(Case {
                    name,
                    tokenizer,
                    open,
                    close,
                }),
                None => eprintln!("skipped: there is no ../shared/vocab/{file}"),
            }
        }
        cases
    })
}

fn template(text: &str) -> Authored {
    Authored::Template(text.into())
}

fn content(text: &str) -> Authored {
    Authored::Content(text.into())
}

impl Case {
    fn guarded(&self) -> Vec<String> {
        let list = self.tokenizer.specials.list().iter();
        list.filter(|special| special.class != SpecialClass::Word)
            .map(|special| special.text.clone())
            .collect()
    }

    /// `content` between template text; none of it touches a special token.
    fn around(&self, text: &str) -> [Authored; 3] {
        [
            template(&format!("{}user: ", self.open)),
            content(text),
            template(&format!("x{}", self.close)),
        ]
    }

    /// `content` right between special tokens, where a vocabulary may put a space before it.
    fn between(&self, text: &str) -> [Authored; 3] {
        [template(self.open), content(text), template(self.close)]
    }

    /// That `text` as content adds no guarded token and is still there.
    fn check(&self, text: &str) -> Result<(), TestCaseError> {
        self.check_pieces(&self.around(text))?;
        self.check_pieces(&self.between(text))
    }

    /// That the first and the last piece's tokens are the only guarded ones and all text is there.
    fn check_pieces(&self, pieces: &[Authored; 3]) -> Result<(), TestCaseError> {
        let name = self.name;
        let text: String = pieces.iter().map(Authored::text).collect();
        let tokens = self
            .tokenizer
            .tokenize(pieces, false)
            .map_err(|error| TestCaseError::fail(format!("{name}: {error}")))?;
        let is_guarded = |token: &&Token| self.tokenizer.is_guarded(**token);
        prop_assert_eq!(
            tokens.iter().filter(is_guarded).count(),
            2,
            "{}: {:?}",
            name,
            text
        );
        let list = self.tokenizer.specials.list();
        let prefix = self.tokenizer.prefix.is_some();
        let mut shown = self.tokenizer.text_of(&tokens);
        let mut expected = text;
        if prefix {
            if expected.len() > self.open.len() + self.close.len() {
                expected.insert(self.open.len(), ' ');
            }
            expected = expected.replace('▁', " ");
        }
        if prefix
            && list
                .iter()
                .any(|special| special.class == SpecialClass::Word)
        {
            // llama.cpp puts its space after user-defined words too, or strips what follows them.
            shown.retain(|c| !c.is_whitespace());
            expected.retain(|c| !c.is_whitespace());
        }
        prop_assert_eq!(shown, expected, "{}", name);
        Ok(())
    }
}

fn halves(text: &str) -> (&str, &str) {
    let middle = text
        .char_indices()
        .map(|(at, _)| at)
        .nth(text.chars().count() / 2);
    text.split_at(middle.unwrap_or(0))
}

/// White space in runs, numbers, several scripts, emoji with joiners, markup that is no control text.
fn benign() -> impl Strategy<Value = String> {
    let bit = prop_oneof![
        "[ \t\n\r]{1,9}",
        "[a-zA-Z' ]{1,12}",
        "[0-9.,]{1,9}",
        "[<>|/_\\[\\]{}:\"=]{1,4}",
        "[äßéñłçø ]{1,5}",
        "[\u{4e00}-\u{4fff}\u{3040}-\u{30ff}。、]{1,6}",
        "[\u{1f600}-\u{1f64f}\u{200d}\u{fe0f}]{1,4}",
        "\\PC{0,4}",
        any::<char>().prop_map(String::from),
        Just("\u{a0}\u{2581}\u{0}".to_string()),
    ];
    prop::collection::vec(bit, 0..8).prop_map(|bits| bits.concat())
}

/// Benign text with pieces of control text in it: `(text, which, from, to, spaces)`.
fn hostile() -> impl Strategy<Value = Vec<(String, usize, usize, usize, u16)>> {
    let numbers = (any::<usize>(), 0..12usize, 0..12usize, any::<u16>());
    prop::collection::vec(
        (
            prop_oneof![Just(String::new()), Just(" ".into()), benign()],
            numbers,
        )
            .prop_map(|(text, (which, from, to, spaces))| (text, which, from, to, spaces)),
        1..6,
    )
}

/// Control text with spaces for some of the characters that stand for one in vocabularies.
fn spaced(text: &str, spaces: u16) -> Vec<char> {
    let space = |(at, c)| match c {
        '▁' | 'Ġ' if spaces >> (at % 16) & 1 == 1 => ' ',
        c => c,
    };
    text.chars().enumerate().map(space).collect()
}

proptest! {
    #[test]
    fn benign_text_takes_the_same_tokens_on_both_paths(
        before in benign(), text in benign(), after in benign()
    ) {
        for case in cases() {
            let (open, close) = (case.open, case.close);
            let pieces = [
                template(&format!("{before}{open}{after}")),
                content(&text),
                template(&format!("{before}{close}{after}<think>")),
                content(&after),
                template(&format!("{close}{open}")),
                content(&before),
            ];
            let rendered = AuthoredText::of(&pieces);
            if case.tokenizer.specials.hostile(&rendered) {
                continue;
            }
            for join in [Junction::Fresh, Junction::Text] {
                let ordinary = case.tokenizer.plain(&rendered.text, join, true);
                if let Ok(tokens) = &ordinary
                    && !case.tokenizer.by_template(tokens, &rendered)
                {
                    continue;
                }
                let hostile = case.tokenizer.tokenize_hostile(&rendered, join);
                prop_assert_eq!(ordinary.ok(), hostile.ok(), "{}", case.name);
            }
        }
    }

    #[test]
    fn no_mixture_of_control_text_and_text_speaks_as_the_template(parts in hostile()) {
        for case in cases() {
            let guarded = case.guarded();
            let mut text = String::new();
            for (benign, which, from, to, spaces) in &parts {
                let control = spaced(&guarded[which % guarded.len()], *spaces);
                text += benign;
                text.extend(&control[*from.min(&control.len())..]);
                text.extend(&control[..*to.min(&control.len())]);
            }
            case.check(&text)?;
        }
    }

    #[test]
    fn a_continuation_has_the_tokens_of_the_whole(first in benign(), second in benign()) {
        for case in cases() {
            let (open, close) = (case.open, case.close);
            let text = "<s>x<|im_end|>y";
            for pieces in [
                [template(open), content(&first), content(text), template(close), content(&second)],
                [template(&first), template(close), content(text), template(open), content(&second)],
            ] {
                // Before a special token of the template and after it.
                for cut in [3, 4] {
                    let all = case.tokenizer.tokenize(&pieces, true).expect("tokens");
                    let mut tokens = case.tokenizer.tokenize(&pieces[..cut], true).expect("tokens");
                    let rest = case.tokenizer.continuation(&tokens, &pieces[cut..]);
                    tokens.extend(rest.expect("tokens"));
                    prop_assert_eq!(tokens, all, "{}", case.name);
                }
            }
        }
    }
}

#[test]
fn every_control_token_as_content_stays_text() -> Result<(), TestCaseError> {
    for case in cases() {
        let guarded = case.guarded();
        assert!(guarded.len() >= 3, "{}", case.name);
        for text in &guarded {
            let (left, right) = halves(text);
            let rest: String = text.chars().skip(1).collect();
            for form in [
                text.clone(),
                format!("{text}{text}"),
                format!("{left}{text}{right}"),
                format!("{text}{rest}"),
                format!("a{left}{left}{right}b{text}"),
                format!("{right}{left}"),
                format!("<{text}>"),
            ] {
                case.check(&form)?;
            }
        }
        case.check(&guarded.concat())?;
        case.check(&guarded.join("|>"))?;
        case.check("the rest of the text, to theend")?;
    }
    Ok(())
}

/// `of▁the` as content was the control token `▁of▁the`: SentencePiece merges that from a space and
/// `▁` as from two of one kind, and from the space that it puts before a text.
#[test]
fn content_with_the_vocabularys_own_space_merges_to_no_control_token() -> Result<(), TestCaseError>
{
    let texts = [
        "of▁the",
        "of the",
        " of▁the",
        "▁of the",
        " of the",
        "▁of▁the",
        "▁▁of▁the",
        "x of▁the",
        "\n\nof▁the",
        "\n\nof the",
        "of▁the of the▁of▁the",
        "theend",
        " theend",
        "the▁theend",
    ];
    for case in cases() {
        for text in texts {
            case.check(text)?;
        }
    }
    Ok(())
}

#[test]
fn the_tokenizers_do_merge_control_tokens_from_text() {
    for (name, text) in [
        ("SPM with marks", "of▁the"),
        ("SPM with marks", "of the"),
        ("strips right", "of▁the"),
        ("BPE with words", " theend"),
    ] {
        for case in cases().iter().filter(|case| case.name == name) {
            let natural = case.tokenizer.vocab().tokenize(text, false);
            let natural = natural.expect("tokens");
            assert_eq!(natural.len(), 1, "{name}: {text}");
            assert!(case.tokenizer.is_guarded(natural[0]), "{name}: {text}");
        }
    }
}

#[test]
fn what_the_template_merges_alone_is_the_templates() {
    for case in cases().iter().filter(|case| case.name == "SPM with marks") {
        let alone = [template("say of the"), template(case.close)];
        let beside = [&alone[..], &[content("of▁the")]].concat();
        let [alone, beside] = [&alone[..], &beside[..]]
            .map(|pieces| case.tokenizer.tokenize(pieces, false).expect("tokens"));
        assert_eq!(beside[..alone.len()], alone);
        assert_eq!(case.tokenizer.last_control(&beside), Some(alone.len() - 1));
        assert!(case.tokenizer.is_guarded(alone[alone.len() - 2]));
    }
}

#[test]
fn a_long_content_of_nothing_but_control_text_is_cut_everywhere() -> Result<(), TestCaseError> {
    for case in cases() {
        case.check(&"of▁the </s>".repeat(3000))?;
    }
    Ok(())
}

#[test]
fn control_text_in_content_keeps_its_natural_tokens() {
    for case in cases().iter().filter(|case| case.name.contains("BPE")) {
        let natural = |text: &str| case.tokenizer.vocab().tokenize(text, false);
        let hostile = |text: &str| case.tokenizer.tokenize(&[content(text)], false);
        let text = format!("a{}b {}", case.open, case.close);
        assert_eq!(hostile(&text).ok(), natural(&text).ok(), "{}", case.name);
        if case.guarded().iter().any(|mark| mark == "<think>") {
            let rest = format!("think>{text}");
            let parts = [natural("<"), natural(&rest)].map(|part| part.expect("tokens"));
            let broken = hostile(&format!("<{rest}"));
            assert_eq!(broken.ok(), Some(parts.concat()), "{}", case.name);
        }
    }
}

#[test]
fn control_text_across_the_edges_of_content_stays_text() {
    for case in cases() {
        for text in case.guarded() {
            let (left, right) = halves(&text);
            for pieces in [
                [template("a"), content(left), template(right)],
                [template(left), content(right), template("a")],
                [content(left), template(right), content(left)],
            ] {
                let tokens = case.tokenizer.tokenize(&pieces, false).expect("tokens");
                assert_eq!(
                    case.tokenizer.last_control(&tokens),
                    None,
                    "{}: {text}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn the_templates_own_control_text_becomes_control_tokens_beside_hostile_content() {
    for case in cases() {
        let pieces = [
            template(case.open),
            content(case.close),
            template(case.close),
            template("<think>"),
        ];
        let tokens = case.tokenizer.tokenize(&pieces, false).expect("tokens");
        let text = |token: &Token| case.tokenizer.vocab().text(*token);
        let guarded: Vec<String> = tokens
            .iter()
            .filter(|token| case.tokenizer.is_guarded(**token))
            .map(text)
            .collect();
        let mut expected = vec![case.open, case.close];
        if case.guarded().iter().any(|mark| mark == "<think>") {
            expected.push("<think>");
        }
        assert_eq!(guarded, expected, "{}", case.name);
    }
}

#[test]
fn words_and_white_space_are_no_marks_though_the_template_has_them() {
    let source = "{% if user %}<think>\n\n   [x]▁▁";
    for (text, mark) in [
        ("<think>", true),
        ("[x]", true),
        ("</think>", false),
        ("<|unseen|>", true),
        ("<|unseen>", true),
        ("user", false),
        ("\n\n", false),
        ("   ", false),
        ("▁▁", false),
        ("{%", false),
    ] {
        assert_eq!(is_mark(text, source), mark, "{text:?}");
    }
}

#[test]
fn tool_texts_are_searched_for_marks_that_are_user_defined_tokens() {
    for case in cases().iter().filter(|case| case.name.contains("marks")) {
        let control = Marks::of(&case.tokenizer).control;
        for (text, known) in [("<think>", true), (case.close, true), ("\n\n", false)] {
            let found = control.iter().any(|mark| mark == text);
            assert_eq!(found, known, "{}: {text:?}", case.name);
        }
    }
}

#[test]
fn bos_is_put_once_and_only_at_the_start() {
    for case in cases() {
        let tokenizer = &case.tokenizer;
        let Some(bos) = tokenizer
            .vocab()
            .bos()
            .filter(|_| tokenizer.vocab().adds_bos())
        else {
            continue;
        };
        let written = tokenizer.text_of(&[bos]);
        let count = |pieces: &[Authored], at_start| {
            let tokens = tokenizer.tokenize(pieces, at_start).expect("tokens");
            tokens.iter().filter(|token| **token == bos).count()
        };
        assert_eq!(count(&[template("hi")], true), 1);
        assert_eq!(count(&[template(&written), template("hi")], true), 1);
        assert_eq!(count(&[content(&written), template("hi")], true), 1);
        assert_eq!(count(&[template("hi")], false), 0);
        let start = tokenizer.continuation(&[], &[template("hi")]);
        assert_eq!(start.expect("tokens").first(), Some(&bos));
    }
}

#[test]
fn text_after_text_gets_no_space() {
    for case in cases() {
        let tokenizer = &case.tokenizer;
        let mut tokens = tokenizer
            .tokenize(&[template("Hel")], false)
            .expect("tokens");
        let before = tokenizer.text_of(&tokens);
        for text in ["lo", " you", "</s>"] {
            tokens.extend(
                tokenizer
                    .continuation(&tokens, &[content(text)])
                    .expect("tokens"),
            );
        }
        assert_eq!(tokenizer.text_of(&tokens), format!("{before}lo you</s>"));
        assert_eq!(tokenizer.last_control(&tokens), None);
        assert_eq!(tokenizer.continuation(&tokens, &[]).ok(), Some(Vec::new()));
    }
}

#[test]
fn a_control_token_of_one_character_that_cannot_be_text_is_refused() {
    let edit = Edit {
        name: None,
        pre: None,
        tokens: &[(31990, "⛄", CONTROL)],
    };
    let Some(tokenizer) = load("ggml-vocab-llama-spm.gguf", Some(edit)) else {
        eprintln!("skipped: there is no ../shared/vocab");
        return;
    };
    let refused = tokenizer.tokenize(&[content("a ⛄ b")], false);
    assert_eq!(
        refused.map_err(|error| error.to_string()),
        Err(
            "a content holds \"⛄\", which this vocabulary can only read as a control token".into()
        )
    );
    assert_eq!(
        tokenizer
            .tokenize(&[template("⛄")], false)
            .map(|tokens| tokens.len())
            .ok(),
        Some(1)
    );
}

#[test]
fn the_last_control_token_is_where_a_text_can_be_cut() {
    for case in cases() {
        let pieces = case.around("some words");
        let tokens = case.tokenizer.tokenize(&pieces, false).expect("tokens");
        assert_eq!(case.tokenizer.last_control(&tokens), Some(tokens.len() - 1));
        let inner = &tokens[..tokens.len() - 1];
        assert_eq!(case.tokenizer.last_control(inner), Some(0));
        assert!(case.tokenizer.control_tokens().any(|t| t == tokens[0]));
    }
}
