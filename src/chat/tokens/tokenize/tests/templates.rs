//! Every template on real vocabularies: what is tokenized piece by piece has llama.cpp's own tokens.

use super::{AuthoredText, Junction, load};
use crate::chat::Message;
use crate::chat::battery::tests::templates;
use crate::chat::pieces::{for_tokenizer, join};
use crate::chat::template::TemplateFrame;

#[test]
fn benign_conversations_of_every_template_take_llama_cpps_own_tokens_on_both_paths() {
    let files = [
        "ggml-vocab-llama-bpe.gguf",
        "ggml-vocab-llama-spm.gguf",
        "ggml-vocab-qwen35.gguf",
    ];
    for file in files {
        let Some(tokenizer) = load(file, None) else {
            eprintln!("skipped: there is no ../shared/vocab/{file}");
            continue;
        };
        let vocab = tokenizer.vocab().clone();
        for (name, chat) in templates() {
            let frame = TemplateFrame::default();
            let first = [Message::user(
                "Where is the build file?\n\nAnd  its tests, 123?",
            )];
            let opening = chat.opening(&frame, &first).expect(name).pieces;
            let reply = Message::assistant("It is build.rs.");
            let next = [Message::user("Thanks!\n")];
            let delta = chat.delta(&frame, &reply, &next).expect(name).pieces;

            let ordinary = |text: &str| vocab.tokenize(text, true).expect("tokens");
            let mut expected = ordinary(&join(&opening));
            if vocab.adds_bos() && expected.first() != vocab.bos().as_ref() {
                expected.splice(0..0, vocab.bos());
            }
            let opening = for_tokenizer(opening);
            let own = tokenizer.tokenize(&opening, true).expect("tokens");
            assert_eq!(own, expected, "{file} {name}: opening");
            let hostile = tokenizer.tokenize_hostile(&AuthoredText::of(&opening), Junction::Fresh);
            let without_bos = &expected[expected.len() - hostile.as_ref().map_or(0, Vec::len)..];
            assert_eq!(
                hostile.expect("tokens"),
                without_bos,
                "{file} {name}: hostile path"
            );

            // After a reply that ends in text; a template of another vocabulary begins with text.
            let expected = ordinary(&join(&delta));
            let begins_special = expected
                .first()
                .is_some_and(|t| tokenizer.cutting.contains(t));
            if begins_special || !vocab.is_spm() {
                let said = [&own[..], &ordinary(&reply.text)].concat();
                let added = tokenizer.continuation(&said, &for_tokenizer(delta));
                assert_eq!(added.expect("tokens"), expected, "{file} {name}: delta");
            }
        }
    }
}
