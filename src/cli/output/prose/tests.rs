use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

use super::super::style::Hue;
use super::*;

/// Characters and how they look.
type Shown = Vec<(char, TextStyle)>;

/// What a text leaves that comes in these pieces.
fn shown(pieces: &[&str], form: ProseForm, width: usize) -> Shown {
    let mut prose = Prose::new(form, TextStyle::PLAIN);
    let mut column = 0;
    let mut all = Vec::new();
    let mut write = |written: Vec<StyledText>| {
        for piece in &written {
            column = advance(column, piece.text(), width);
            all.extend(piece.text().chars().map(|c| (c, piece.style())));
        }
        column
    };
    let mut at = 0;
    for piece in pieces {
        at = write(prose.more(piece, at, width));
    }
    write(prose.end(at, width));
    all
}

fn text(shown: &Shown) -> String {
    shown.iter().map(|(c, _)| *c).collect()
}

/// The rows of a text in Markdown.
fn lines(given: &str, width: usize) -> Vec<String> {
    let rows = rows(given, ProseForm::Markdown, TextStyle::PLAIN, width);
    let text = |row: &Vec<StyledText>| row.iter().map(StyledText::text).collect::<String>();
    rows.iter().map(text).collect()
}

/// How a word of a text looks.
fn look(given: &str, word: &str) -> TextStyle {
    let shown = shown(&[given], ProseForm::Markdown, 80);
    let all = text(&shown);
    let at = all
        .find(word)
        .unwrap_or_else(|| panic!("{word} in {all:?}"));
    shown[all[..at].chars().count()].1
}

const ANSWER: &str = "\
# Sorting

Use **`sorted`** for a *new* list and `list.sort` in place, as in this rather long line.

- one item that is longer than forty columns, so it wraps
  - two
1. first

```python
def f(xs):
    return sorted(xs)  # a copy
```

| call | cost |
|---|---:|
| sort | 10 |

> said before

---
[docs](https://example.org/sorting)
";

#[test]
fn an_answer_reads_well_at_forty_columns() {
    assert_eq!(
        lines(ANSWER, 40),
        [
            "Sorting",
            "",
            "Use sorted for a new list and list.sort",
            "in place, as in this rather long line.",
            "",
            "• one item that is longer than forty",
            "  columns, so it wraps",
            "  • two",
            "1. first",
            "",
            "```python",
            "def f(xs):",
            "    return sorted(xs)  # a copy",
            "```",
            "",
            "call │ cost",
            "─────┼─────",
            "sort │   10",
            "",
            "│ said before",
            "",
            "───────────────────────────────────────",
            "docs (https://example.org/sorting)",
        ]
    );
}

#[test]
fn marks_become_styles() {
    let bold = TextStyle::BOLD;
    let heading = TextStyle {
        underline: true,
        ..bold
    };
    assert_eq!(look(ANSWER, "Sorting"), heading);
    assert_eq!(look(ANSWER, "sorted"), bold.with(Hue::Cyan));
    assert_eq!(look("### Three **x**", "Three"), bold);
    assert_eq!(look(ANSWER, "return"), TextStyle::PLAIN.with(Hue::Magenta));
    assert_eq!(look(ANSWER, "# a copy"), TextStyle::DIM);
    assert_eq!(look(ANSWER, "call"), bold);
    assert_eq!(look(ANSWER, "```"), TextStyle::DIM);
}

#[test]
fn without_styles_the_text_stays_as_it_was_written() {
    let form = ProseForm::Plain;
    let plain = text(&shown(&[ANSWER], form, 200));
    assert_eq!(plain, ANSWER);
    let narrow = text(&shown(
        &["# A\n- one two three four five\n```\nlet a_long_line = 1;\n```"],
        form,
        20,
    ));
    assert_eq!(
        narrow,
        "# A\n- one two three\n  four five\n```\nlet a_long_line = 1;\n```\n"
    );
}

#[test]
fn words_are_shown_as_they_come_and_marks_when_they_are_closed() {
    let mut prose = Prose::new(ProseForm::Markdown, TextStyle::PLAIN);
    let mut column = 0;
    let mut more = |piece: &str| {
        let written = prose.more(piece, column, 80);
        let text: String = written.iter().map(StyledText::text).collect();
        column = advance(column, &text, 80);
        text
    };
    assert_eq!(more("The ans"), "The");
    assert_eq!(more("wer is **fo"), " answer is");
    assert_eq!(more("rty** tw"), " forty");
    assert_eq!(more("o.\n"), " two.\n");
    assert_eq!(more("```\nlet"), "```\n", "the line is not complete");
    assert_eq!(more(" x\n"), "let x\n");
    assert_eq!(
        more("```\n|a|\n|-|\n|1|\n"),
        "```\n",
        "a table waits for its end"
    );
    assert_eq!(more("\n"), "a\n─\n1\n");
}

#[test]
fn what_was_shown_is_never_written_again() {
    let mut prose = Prose::new(ProseForm::Markdown, TextStyle::PLAIN);
    let text = "word **bold** `code` and\n\n- item\n".repeat(500);
    let mut column = 0;
    let mut written = 0;
    for c in text.chars() {
        let out = prose.more(c.encode_utf8(&mut [0; 4]), column, 80);
        for piece in &out {
            column = advance(column, piece.text(), 80);
            written += piece.text().len();
        }
    }
    written += prose
        .end(column, 80)
        .iter()
        .map(|p| p.text().len())
        .sum::<usize>();
    assert!(
        written <= text.len() + 2 * 500,
        "{written} of {}",
        text.len()
    );
}

#[test]
fn code_keeps_its_lines_whatever_is_in_them() {
    let code = "```rust\nlet   a = \"x * y * z\";\n\n\n\tindented();\n# no heading\n- no item\n| a |\n``\n";
    assert_eq!(
        lines(code, 40),
        [
            "```rust",
            "let   a = \"x * y * z\";",
            "",
            "",
            "    indented();",
            "# no heading",
            "- no item",
            "| a |",
            "``"
        ],
        "and its end is missing"
    );
    let listed = "1. run\n\n   ```sh\n   ls\n   ```\n   then\n";
    assert_eq!(
        lines(listed, 40),
        ["1. run", "", "   ```sh", "   ls", "   ```", "   then"]
    );
    let quoted = "> ```\n> a\n> ```\n> b\n\n> ```\nc\n";
    assert_eq!(
        lines(quoted, 40),
        ["│ ```", "│ a", "│ ```", "│ b", "", "│ ```", "c"]
    );
    assert_eq!(
        lines("a\n\n    x = *y*\n    ```\nb *c*\n", 40),
        ["a", "", "    x = *y*", "    ```", "b c"]
    );
}

#[test]
fn lists_a_hundred_deep_and_quotes_stay_readable() {
    let mut deep = String::new();
    for level in 0..100 {
        deep.push_str(&format!("{}- word{level} and more\n", "  ".repeat(level)));
    }
    deep.push_str(&format!("{} end\n", ">".repeat(100)));
    for width in [10, 40, 100] {
        let lines = lines(&deep, width);
        let all = lines.join(" ");
        assert!((0..100).all(|level| all.contains(&format!("word{level}"))));
        assert!(
            lines.iter().all(|line| line.width() < width.max(14)),
            "{lines:?}"
        );
    }
}

#[test]
fn what_a_terminal_obeys_is_not_obeyed_in_any_form() {
    let hostile = "\u{1b}]52;c;x\u{7} **\u{1b}[2J** `\u{9b}2J` &#27;[2J [a\u{1b}](b\u{7}c) \r x\r\n\
        ```\n\u{1b}[2J\u{202e}\n```\n| \u{1b}c | &#x9b; |\n|---|---|\n| a\u{7}\u{8} | \u{0} |\n# \u{1b}\n";
    for form in [ProseForm::Markdown, ProseForm::Plain] {
        let shown = text(&shown(&[hostile], form, 40));
        let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!shown.contains(obeyed), "{shown:?}");
        assert!(shown.contains("␛[2J") && shown.contains('␍'), "{shown:?}");
    }
}

#[test]
fn a_line_of_five_megabytes_is_shown_while_it_comes() {
    for line in [
        "x".repeat(5 << 20),
        "word ".repeat(1 << 17),
        "日本".repeat(1 << 16),
        // Marks of quotes alone.
        ">".repeat(1 << 17),
        "> ".repeat(1 << 16),
    ] {
        let mut prose = Prose::new(ProseForm::Markdown, TextStyle::PLAIN);
        let mut column = 0;
        let mut shown = 0;
        for piece in line.as_bytes().chunks(3 * 4096) {
            let piece = std::str::from_utf8(piece).expect("whole characters");
            let written = prose.more(piece, column, 80);
            for piece in &written {
                column = advance(column, piece.text(), 80);
                shown += piece.text().matches(|c: char| !c.is_whitespace()).count();
            }
        }
        let all = line.matches(|c: char| !c.is_whitespace()).count();
        // The bars of quotes are shown too.
        let held = all.saturating_sub(shown);
        assert!(held < 2048, "{held} are held");
    }
}

#[test]
fn a_notice_in_a_reply_leaves_the_rest_of_it_as_it_is() {
    let mut prose = Prose::new(ProseForm::Markdown, TextStyle::PLAIN);
    let text = |pieces: Vec<StyledText>| pieces.iter().map(|p| p.text()).collect::<String>();
    assert_eq!(text(prose.more("- one tw", 0, 40)), "• one");
    assert_eq!(text(prose.pause(5, 40)), " tw");
    // The notice ended the row.
    assert_eq!(text(prose.more("o three ", 0, 40)), "  o three");
    let fence = text(prose.more("\n```\nlet a", 9, 40));
    assert_eq!(fence, "\n```\n");
    assert_eq!(text(prose.pause(0, 40)), "");
    assert_eq!(text(prose.more("\n```\n", 0, 40)), "let a\n```\n");
}

/// Text with everything that Markdown gives a meaning.
fn markdown() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[a-c]{1,6} ",
        2 => "[日本語。é👍]{1,3}",
        1 => Just("👩\u{200d}👩\u{200d}👧".to_owned()),
        1 => Just("e\u{301} ".to_owned()),
        1 => Just("\t".to_owned()),
        3 => "\n{1,3}",
        1 => Just("\r\n".to_owned()),
        3 => "(\\*{1,3}|_|`{1,4}|~{1,3}|\\[|\\]|\\(|\\)|!|<|>|\\\\|\\|)",
        1 => "\n {0,6}[-*+] ",
        1 => "\n {0,6}[0-9]{1,3}[.)] ",
        1 => "\n#{1,7} ",
        1 => "\n> ?",
        1 => "\n {0,4}(```|~~~)(rust|py|sh|)\n",
        1 => Just("\n| a | b |\n|---|:-:|\n| **c** | d | e |\n".to_owned()),
        1 => Just("\n---\n".to_owned()),
        1 => Just("[a b](http://c.d \"e\") ".to_owned()),
        1 => "[\\x00-\\x1f\\x7f\u{9b}\u{202e}]",
    ];
    proptest::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

fn cut<'t>(text: &'t str, places: &[prop::sample::Index]) -> Vec<&'t str> {
    let ends: Vec<usize> = text
        .char_indices()
        .map(|(at, _)| at)
        .chain([text.len()])
        .collect();
    let mut at: Vec<usize> = places
        .iter()
        .map(|place| ends[place.index(ends.len())])
        .collect();
    at.extend([0, text.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

proptest! {
    /// However a text is cut into pieces, the terminal shows the same.
    #[test]
    fn pieces_make_no_difference(
        given in markdown(),
        places in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        width in 1usize..200,
        plain in any::<bool>(),
    ) {
        let form = if plain { ProseForm::Plain } else { ProseForm::Markdown };
        let whole = shown(&[&given], form, width);
        let pieces = cut(&given, &places);
        prop_assert_eq!(&shown(&pieces, form, width), &whole);
        let chars: Vec<String> = given.chars().map(String::from).collect();
        let chars: Vec<&str> = chars.iter().map(String::as_str).collect();
        prop_assert_eq!(&shown(&chars, form, width), &whole);
    }

    /// Every letter of the text is there, and nothing is obeyed.
    #[test]
    fn nothing_is_lost(given in markdown(), width in 1usize..200, plain in any::<bool>()) {
        let form = if plain { ProseForm::Plain } else { ProseForm::Markdown };
        let seen = text(&shown(&[&given], form, width));
        let letters = |text: &str| {
            let mut all: Vec<char> = text.chars().filter(|c| c.is_alphanumeric()).collect();
            all.sort_unstable();
            all
        };
        let (want, have) = (letters(&given), letters(&seen));
        let mut left = have.iter().peekable();
        for c in &want {
            while left.peek().is_some_and(|l| *l < c) {
                left.next();
            }
            prop_assert_eq!(left.next(), Some(c), "in {:?} of {:?}", seen, given);
        }
        let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        prop_assert!(!seen.contains(obeyed), "{seen:?}");
    }

    /// Words of text are whole in a row that has room for them.
    #[test]
    fn rows_fit(given in "([a-h]{1,9} |日本|\\*\\*[a-c]{1,4}\\*\\* |\n- |\n){0,60}", width in 40usize..200) {
        for line in lines(&given, width) {
            prop_assert!(line.width() < width, "{line:?}");
        }
    }

    /// A terminal that obeys shows the same rows.
    #[test]
    fn a_terminal_shows_these_rows(given in markdown(), width in 12usize..100) {
        use super::super::screen::tests::Vt;
        let rows = rows(&given, ProseForm::Markdown, TextStyle::PLAIN, width);
        let plain: Vec<String> = rows
            .iter()
            .map(|row| row.iter().map(StyledText::text).collect::<String>())
            .collect();
        let painted: Vec<String> = rows
            .iter()
            .map(|row| row.iter().map(|piece| piece.style().painted(piece.text())).collect())
            .collect();
        let columns = u16::try_from(width).unwrap();
        let (painted, plain) = (painted.join("\n"), plain.join("\n"));
        prop_assert_eq!(Vt::of(&painted, columns).lines(), Vt::of(&plain, columns).lines());
    }
}
