//! What is a loop, and what only looks like one.

use std::path::Path;
use std::time::Instant;

use proptest::prelude::*;

use super::*;

/// The character at which a text is a loop.
fn stopped(text: &str) -> Option<usize> {
    let mut watch = RepeatWatch::new();
    text.chars().position(|c| watch.take(c))
}

#[test]
fn a_phrase_that_comes_again_and_again_is_a_loop() {
    let phrases = [
        "I am sorry, but I cannot do that. ",
        "The file is not there.\n\nLet me look again.\n\n",
        "Wait, I should check the other folder first. But then I would have to read it. ",
        "- not available in this version\n",
        "and then he said that ",
        "Ich weiß es nicht, aber ich denke es. ",
        "我不知道这个文件在哪里。",
        "Не знаю, где этот файл. ",
        "ฉันไม่รู้ว่าไฟล์อยู่ที่ไหน ",
        "a b c d x a b c d y then so on ",
    ];
    for phrase in phrases {
        let before = "It begins in another way, with words of its own. ";
        let text = format!("{before}{}", phrase.repeat(200));
        let at = stopped(&text).unwrap_or_else(|| panic!("no loop: {phrase}"));
        let said = at - before.chars().count();
        let length = phrase.chars().count();
        // As soon as both are reached: the characters, and the times.
        let most = SENTENCE_CHARS.max(SENTENCE_TIMES * length) + 3 * length;
        assert!(
            (SENTENCE_CHARS / 2..=most).contains(&said),
            "{phrase}: {said}"
        );
        let (found, times) = RepeatWatch::find(&text).expect("a loop");
        let words = |text: &str| text.split_whitespace().count();
        assert_eq!(words(&found), words(phrase), "{found}");
        assert!(times >= SENTENCE_TIMES, "{found}: {times}");
    }
    // A paragraph of 150 words is one too, when it comes the eighth time.
    let paragraph: String = (0..150).map(|n| format!("{} ", word(n))).collect();
    assert!(stopped(&paragraph.repeat(7)).is_none());
    assert!(stopped(&paragraph.repeat(10)).is_some());
}

/// A word of letters for a number.
fn word(n: usize) -> String {
    let digits = format!("{n:03}");
    digits
        .bytes()
        .map(|b| char::from(b'k' + b - b'0'))
        .collect()
}

#[test]
fn a_fence_is_one_at_the_beginning_of_its_line_only() {
    let line = "The same sentence stands here. ".repeat(4) + "\n";
    let looped = |before: &str| stopped(&format!("{before}{}", line.repeat(60))).is_some();
    for (before, fenced) in [
        ("", false),
        ("```text\n", true),
        ("~~~\n", true),
        ("  ```\n", true),
        ("Write ``` before code.\n", false),
        ("```\nx\n```\n", false),
        ("````\n```\nx\n```\n", true),
        ("~~~\n```\n", true),
    ] {
        assert_eq!(looped(before), !fenced, "{before:?}");
    }
}

#[test]
fn white_space_without_end_is_a_loop() {
    assert_eq!(stopped(&"\n".repeat(FORM_CHARS + 1)), Some(FORM_CHARS - 1));
    assert!(RepeatWatch::find(&"\n".repeat(FORM_CHARS)).is_none());
    assert!(stopped(&format!("a{}b", " ".repeat(FORM_CHARS - 1)).repeat(2)).is_none());
}

#[test]
fn what_is_no_sentence_is_a_loop_only_when_it_is_very_long() {
    for unit in [
        "0, ",
        "0",
        "ha",
        "- ",
        "| a | b |\n",
        "x = x + 1;\n",
        "=== ",
    ] {
        let text = unit.repeat(20_000);
        let at = stopped(&text).unwrap_or_else(|| panic!("no loop: {unit:?}"));
        assert!(
            (FORM_CHARS - 64..4 * FORM_CHARS).contains(&at),
            "{unit:?}: {at}"
        );
    }
}

#[test]
fn code_tables_lists_json_and_numbers_are_no_loops() {
    let rows = |row: &str, times: usize| row.repeat(times);
    let table = [
        (
            "a zero matrix",
            format!("[{}]", rows(&format!("[{}],\n", rows("0, ", 64)), 64)),
        ),
        (
            "equal rows",
            rows("| yes it is | no it is not | maybe later |\n", 300),
        ),
        (
            "equal objects",
            rows("  {\"name\": \"an equal name here\", \"value\": 0},\n", 250),
        ),
        (
            "equal lines of code",
            rows("    assert_eq!(left_hand_side, right_hand_side);\n", 250),
        ),
        (
            "a fence",
            format!(
                "```\n{}\n```\n",
                rows("the same line of an output here\n", 250)
            ),
        ),
        ("a rule", rows("-", 5_000)),
        ("digits of a third", format!("0.{}", rows("3", 8_000))),
        (
            "digits of a seventh",
            format!("0.{}", rows("142857", 2_000)),
        ),
        (
            "a counted list",
            (1..500)
                .map(|n| format!("{n}. The same words again.\n"))
                .collect(),
        ),
        (
            "a poem",
            rows("Row, row, row your boat, gently down the stream. ", 7),
        ),
        ("base64", rows("QUFBQUFBQUFBQUFB", 500)),
        (
            "hex",
            rows("00 00 00 00 00 00 00 00  ................\n", 250),
        ),
        (
            "diff",
            rows(
                "-    old line of the file;\n+    new line of the file;\n",
                150,
            ),
        ),
        ("todo", rows("- [ ] not done yet, see below\n", 200)),
        (
            "refrain",
            (0..40)
                .map(|n| format!("Verse {} of it.\nAnd so we sing it all again.\n", word(n)))
                .collect(),
        ),
    ];
    for (name, text) in table {
        assert_eq!(stopped(&text), None, "{name}");
    }
}

/// All text that this project has, and the book of the tests.
#[test]
fn no_text_of_this_project_is_a_loop() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "docs", "scripts"] {
        collect(&root.join(folder), &mut files);
    }
    files.extend(["README.md", "Cargo.toml", "Cargo.lock"].map(|name| root.join(name)));
    let (mut bytes, mut read) = (0, 0);
    let begun = Instant::now();
    for path in files {
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        bytes += text.len();
        read += 1;
        assert_eq!(RepeatWatch::find(&text), None, "{}", path.display());
    }
    println!("{read} files, {bytes} bytes in {:?}", begun.elapsed());
    assert!(
        read > 300 && bytes > 2_000_000,
        "{read} files, {bytes} bytes"
    );
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => collect(&path, files),
            false => files.push(path),
        }
    }
}

#[test]
fn reading_costs_the_same_for_each_character_of_a_long_reply() {
    let cost = |words: usize| {
        let text: String = (0..words)
            .map(|n| format!("{} ", word(n * 7 % 1000)))
            .collect();
        let mut watch = RepeatWatch::new();
        let mut kept = 0;
        for c in text.chars() {
            watch.take(c);
            kept = kept.max(watch.places.len() + watch.units.len());
        }
        kept
    };
    assert!(cost(100_000) <= 4 * MOST_UNITS + 2 * GRAM + 2);
}

proptest! {
    /// Wherever a text is cut into pieces, it is a loop at the same character.
    #[test]
    fn pieces_make_no_difference(phrase in "[a-d ]{3,12}", times in 0usize..400, step in 1usize..9) {
        let text = format!("begin {}", phrase.repeat(times));
        let mut watch = RepeatWatch::new();
        let chars: Vec<char> = text.chars().collect();
        let pieces = chars.chunks(step).map(|piece| piece.iter().collect::<String>());
        let by_pieces = pieces.into_iter().any(|piece| watch.feed(&piece));
        prop_assert_eq!(by_pieces, stopped(&text).is_some());
    }

    /// Words in no order are no loop.
    #[test]
    fn words_drawn_at_random_are_no_loop(drawn in prop::collection::vec(0usize..40, 0..2000)) {
        let text: String = drawn.iter().map(|n| format!("{} ", word(*n))).collect();
        prop_assert_eq!(stopped(&text), None);
    }

    /// JSON lists of random small objects are no loop.
    #[test]
    fn lists_of_few_kinds_of_objects_are_no_loop(drawn in prop::collection::vec(0usize..3, 0..400)) {
        let text: String = drawn.iter().map(|n| format!("{{\"kind\": \"the kind {}\", \"of\": [1, 2]}},\n", word(*n))).collect();
        prop_assert_eq!(stopped(&text), None);
    }
}
